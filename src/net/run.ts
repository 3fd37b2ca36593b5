import { StylizingError } from "../errors.js";
import type { Program, Tap } from "../gpu/program.js";

/** Where the time of one or several runs went, in milliseconds; a run adds to it. */
export interface RunTiming {
  /** JavaScript time of handing pixels to the queue. */
  upload: number;
  /** JavaScript time of encoding and submitting, without `upload`. */
  host: number;
  /** Device time of the compute passes where there are timestamps, else from submission (or the end of the run before) to done. */
  compute: number;
  /** Copying the mapped results into their arrays. */
  download: number;
  /** When the first run was submitted and when the host saw the last one done, as `performance.now()` tells it. */
  submitted: number;
  done: number;
}

export const noTime = (): RunTiming => ({
  upload: 0,
  host: 0,
  compute: 0,
  download: 0,
  submitted: Number.POSITIVE_INFINITY,
  done: Number.NEGATIVE_INFINITY,
});

/** Adds what runs took to what others did. */
export function addTime(total: RunTiming, part: RunTiming): void {
  for (const stage of ["upload", "host", "compute", "download"] as const) total[stage] += part[stage];
  total.submitted = Math.min(total.submitted, part.submitted);
  total.done = Math.max(total.done, part.done);
}

/** A part of a buffer that comes to the host. */
export interface Read {
  buffer: GPUBuffer;
  offset?: number;
  bytes: number;
  /** Where it goes; in an array of its own where nothing is said. */
  target?: Uint8Array | undefined;
}

/** One submission. */
export interface Run {
  label: string;
  /** Encoded one behind the other, as one pass where nothing cuts it. */
  programs?: readonly Program[];
  /** Pixels to the queue, and copies on the device in front of the programs. */
  upload?: (encoder: GPUCommandEncoder) => void;
  /** Copies where a program has a tap: the pass is cut there, since copies cannot be encoded inside one. */
  atTap?: (encoder: GPUCommandEncoder, tap: Tap) => void;
  /** Copies behind the programs. */
  after?: (encoder: GPUCommandEncoder) => void;
  reads?: readonly Read[];
  /** Whether buffers of the caller's own are in it. What the device refuses is then laid to them. */
  foreign?: boolean;
  timing?: RunTiming | undefined;
}

/** What the device's refusal of a submission means; without it results would be zeros. */
export function refusal({ label, foreign }: Run, words: string): StylizingError {
  const problem = `The device refused the submission "${label}": ${words.replace(/\s*\n[\s-]*/g, "; ").replace(/\.?$/, ".")}`;
  if (!foreign) return new StylizingError("GPU", problem, "Please report this with what `doctor` prints.");
  const fix = "Give buffers of the model's own device with COPY_SRC, neither mapped nor destroyed before the call is done.";
  return new StylizingError("ARGUMENT", problem, fix);
}
