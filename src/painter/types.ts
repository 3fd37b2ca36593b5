import type { Choice } from "../gpu/tuner.js";
import type { GpuOptions } from "../models/device.js";
import type { LoadProgress } from "../models/load.js";
import type { OpenOptions } from "../models/open.js";
import type { SizeOptions } from "./sizing.js";
import type { StreamTiming } from "./stream.js";
import type { StyleBank } from "./style-bank.js";

export interface LoadOptions extends Omit<OpenOptions, "onProgress">, GpuOptions {
  /** Images a submission; by default 64 on a GPU and 4 on a software adapter, and never more than the device holds. */
  batchSize?: number;
  onProgress?: (progress: LoadProgress) => void;
  /** Threads that read image files for `stream`: by default as many as there are cores, at most 8; 0 for none. */
  workers?: number | undefined;
  /** Receives notices, which are no errors: a second device after a lost one, a batch that had to be halved. */
  onNote?: (note: string) => void;
}

export interface StylizeOptions extends SizeOptions {
  signal?: AbortSignal | undefined;
  /** For each content its style's number in the bank. Without it contents and styles go in pairs, or one goes with all. */
  styles?: readonly number[];
  /** Called after every submission. */
  onProgress?: (done: number, total: number) => void;
}

export interface StreamOptions<P> extends SizeOptions {
  /** Pairs a batch; by default the model's `batchSize`. */
  batchSize?: number;
  signal?: AbortSignal | undefined;
  /** Styles to paint in; each pair's `style` is then the number of one. */
  bank?: StyleBank | undefined;
  /** Receives a pair that names a file which cannot be read; it is left out. Without this the stream fails there. */
  onUnreadable?: ((pair: P, error: unknown) => void) | undefined;
  /** Receives where the time went, once, when the stream has ended, however it ended. */
  onTiming?: ((timing: StreamTiming) => void) | undefined;
}

export interface TuneReport {
  /** By op and shape: the candidate that was chosen, its milliseconds and the default's. */
  choices: (Choice & { op: string })[];
  /** Difference between tuned and default results, of the largest value. */
  error: number;
}
