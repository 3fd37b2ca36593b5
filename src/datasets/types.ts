import type { PixelImage } from "../image/types.js";

export type DataFormat = "folder" | "csv" | "npz" | "wds" | "parquet" | "hf";

/** What identifies a sample. */
export interface SampleKey {
  /** Unique in the data set: a path below it without its ending, a shard's key, an array's index. "/" on every system. */
  readonly key: string;
  /** Where it is from, for people: a file below the data set, `SHARD.tar/KEY`, `FILE.parquet#ROW`. */
  readonly source: string;
  /** Scanner, hospital or centre, where that was asked for. */
  readonly domain?: string | undefined;
  /** Class, as it is written there. */
  readonly label?: string | number | readonly number[] | undefined;
}

/** An image with its labels, as the data set has it. */
export interface Sample extends SampleKey {
  /** The image's file, byte for byte, and its ending without the dot; or its pixels, where the format stores those. */
  readonly image: { readonly bytes: Uint8Array; readonly ending: string } | PixelImage;
  /** Everything else of it (masks, columns, members of a shard), for the writer alone: it passes through byte for byte. */
  readonly rest?: unknown;
}

/** A sample that cannot be had: its key, and why. */
export interface LostSample extends SampleKey {
  readonly error: unknown;
}

export interface OpenDataSetOptions {
  /** Where it cannot be told from the path. */
  format?: DataFormat | undefined;
  /** A column or field, or for folders which folder below the data set counted from 1: what a sample's domain is. */
  domain?: string | undefined;
  /**
   * Of npz, of folders and files that are named so (`train`, `train_images`, `data/train-00000-of-00004.parquet`), and of rows by their
   * column `split`; default `train` where there is one. Others are not read as samples; `all` takes every one, but of an npz.
   */
  split?: string | undefined;
  /** The column or field that is the class; by default one of those that are called so. */
  label?: string | undefined;
  /** What a mask's name ends with before its ending, `_mask` by default: `a_mask.png` belongs to `a.png` and is no sample. */
  maskSuffix?: string | undefined;
  /** A folder that is passed over, such as the one for results. */
  except?: string | undefined;
  onNote?: ((note: string) => void) | undefined;
}

/** Samples in the data set's own order, however often; a sample's bytes are in memory only while it is looked at. */
export interface DataSet extends AsyncDisposable {
  readonly format: DataFormat;
  readonly path: string;
  /** Samples, lost ones too; found without reading images. */
  readonly count: number;
  /** In order, without images. */
  keys(signal?: AbortSignal): AsyncIterable<SampleKey | LostSample>;
  /** In order, from the `from`-th on. */
  samples(options?: { from?: number | undefined; signal?: AbortSignal | undefined }): AsyncIterable<Sample | LostSample>;
}

/** One image that is written: a copy of a sample in another style, or the sample itself. */
export interface Output {
  readonly sample: Sample;
  /** Counted from 1; 0 is the original, byte for byte. */
  readonly copy: number;
  /** Missing for the original. PNG where it is encoded. */
  readonly image?: Sample["image"] | undefined;
}

export interface WriterOptions {
  /** What is read: its labels, columns and schema are kept. */
  like: DataSet;
  onNote?: ((note: string) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** One of several writers into a folder that another one has made ready and will finish: it writes groups, in any order. */
  joins?: boolean | undefined;
}

/**
 * Writes a data set by groups of outputs. A group is there as a whole when `write` has resolved, or not at all; one that is written
 * again, after a process was killed, replaces what there is of it. Groups come in order, each once or again from some one on.
 */
export interface DataSetWriter extends AsyncDisposable {
  readonly format: DataFormat;
  /** Where an output goes, below the folder, as manifests name it: `CLASS/STEM__1.png`, `shard-000003.tar/KEY__1`. `group` counts from 0. */
  place(output: Output, group: number): string;
  write(group: number, outputs: readonly Output[]): Promise<void>;
  /** Makes ready what writers that join need; one that comes too late for `finish` then leaves nothing behind. */
  open?(): Promise<void>;
  /** What can be written only when all groups are there: an npz of its parts, tables of labels. May be repeated. */
  finish(groups: number): Promise<void>;
}
