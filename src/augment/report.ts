import type { OutputFormat } from "../image/encode.js";
import type { SlideCompression } from "../image/slide-writer.js";
import type { ModelReport } from "../models/load.js";
import type { SizeOptions } from "../painter/sizing.js";
import type { StreamTiming } from "../painter/stream.js";
import type { LoadOptions } from "../painter/types.js";
import type { Params } from "../restyle/types.js";
import type { ErrorReport } from "./failures.js";
import type { Pairing } from "./inputs.js";
import type { ReadOptions } from "./load.js";

/** Files in, files out. */
export interface FilesOptions extends ReadOptions {
  /** Files, and folders that are read at any depth. */
  content: readonly string[];
  style: readonly string[];
  /** Whether there must be one. */
  needsStyle?: boolean | undefined;
  /** Where results go. */
  out: string;
  pair: Pairing;
  batch?: number | undefined;
  seed: number;
  format: OutputFormat;
  /** What becomes of results that exist already; by default the run is refused. */
  existing?: "refuse" | "replace" | "skip" | undefined;
  /** Where a labelled contact sheet goes. */
  sheet?: string | undefined;
  workers?: number | undefined;
  /** Where the model comes from and where it runs. */
  load: LoadOptions;
  /** Receives notices, and of what fails one line a reason, at once. */
  onNote?: ((note: string) => void) | undefined;
  /** Images done, of all; called once with none before the first. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface PaintFilesOptions extends FilesOptions, SizeOptions {
  /** A published name, a folder, a `.safetensors` file, or `demo`. */
  model: string;
  mean?: readonly number[] | undefined;
  std?: readonly number[] | undefined;
  /** Of results of whole slides, which are TIFF files; default JPEG. */
  compression?: SlideCompression | undefined;
  /** Rows of a whole slide that are done, of all, and the slide's file. */
  onSlide?: ((file: string, done: number, total: number) => void) | undefined;
}

/** What became of one image. */
export interface ImageReport {
  content: string;
  /** Missing where the method needs none. */
  style?: string;
  /** Of a file with several, where all were asked for. */
  contentPage?: number;
  stylePage?: number;
  output: string;
  /** `skipped`: its result was there already. */
  status: "done" | "failed" | "stopped" | "skipped";
  /** Its share of the time from the files of the batch before to those of its own batch. */
  milliseconds?: number;
  /** Of a whole slide: its windows, and how many of them were left as they are. */
  windows?: number;
  blank?: number;
  /** Of a method: whether it was applied or declined, and its numbers. */
  applied?: boolean;
  params?: Params;
  error?: ErrorReport;
}

/** Where the time went, in milliseconds; stages overlap, so they do not add up to what passed. */
export interface TimingReport extends Omit<StreamTiming, "milliseconds"> {
  /** Encoding and writing results, summed over the threads that did it. */
  save: number;
  hostPerBatch: number;
  /** Threads for reading and writing images; 0: the main thread did it. */
  workers: number;
}

/** All that there is to say where nothing was left to do. */
export interface ImagesReport {
  images: ImageReport[];
  done: number;
  failed: number;
  stopped: number;
  skipped: number;
  /** Why the rest was not begun, where nobody stopped it. */
  stopReason?: ErrorReport;
  sheet?: string;
  /** Why the sheet is missing. */
  sheetError?: ErrorReport;
  /** From the first decoded image to the last file, without loading the model. */
  milliseconds: number;
  imagesPerSecond: number;
  /** Missing where nothing was painted. */
  timing?: TimingReport;
}

export interface StylizeReport extends ModelReport, ImagesReport {
  statistics: { mean: readonly number[]; std: readonly number[]; source: "given" | "model" | "measured from these images" };
}
