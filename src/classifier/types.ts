import { StylizingError } from "../errors.js";
import { refuseConfig } from "../models/config-checks.js";
import type { GpuOptions } from "../models/device.js";
import type { LoadProgress } from "../models/load.js";
import type { OpenOptions } from "../models/open.js";
import type { VitConfig } from "../models/vit/config.js";

export interface ClassifierOptions extends Omit<OpenOptions<VitConfig>, "onProgress">, GpuOptions {
  /** Side of the square that images are scaled to, in pixels, a multiple of the patch size; positions are resized. Default: the model's. */
  imageSize?: number | undefined;
  /** Images per submission; by default 64 on a GPU and 4 on a software adapter, and never more than the device holds. */
  batchSize?: number | undefined;
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Threads that read image files: by default as many as there are cores, at most 8; 0 for none. */
  workers?: number | undefined;
  /** Receives notices that are no error. */
  onNote?: ((note: string) => void) | undefined;
}

export interface ClassifyOptions {
  /** Also what the CLS token looks at: `attention` of the results, from the same forward pass. */
  attention?: boolean | undefined;
  signal?: AbortSignal | undefined;
  /** Called after every submission. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What a classifier says of an image. */
export interface Classification {
  /** The most probable class: its number, its name (its number where names are not known), and its probability. */
  index: number;
  label: string;
  probability: number;
  /** By class. */
  logits: Float32Array;
  probabilities: Float32Array;
  /** Where it was asked for: [heads, rows, columns] of this image, as in `AttentionMaps`. */
  attention?: AttentionMap;
}

/** An image's share of `AttentionMaps`. */
export interface AttentionMap {
  data: Float32Array;
  shape: readonly [heads: number, rows: number, columns: number];
}

/** What the CLS token looks at in the last block: its row of the softmax without its own column, by head. */
export interface AttentionMaps {
  /** [images, heads, rows, columns] of patches; those of a head sum to less than 1, by CLS's own share. */
  data: Float32Array;
  shape: readonly [images: number, heads: number, rows: number, columns: number];
}

/** @throws StylizingError `ARGUMENT` where a model has no head */
export function checkHead({ num_classes: count }: Pick<VitConfig, "num_classes">): void {
  if (count > 0) return;
  throw new StylizingError(
    "ARGUMENT",
    "This model has no head, so it knows no classes.",
    "Train one on it: train --task classify --init.",
  );
}

/** @throws StylizingError `CONFIG` where the statistics of a model's training images are not known */
export function checkKnownStatistics({ mean, std }: Pick<VitConfig, "mean" | "std">): void {
  if (mean && std) return;
  refuseConfig(
    "The statistics of this model's training images are not known.",
    "Give mean and std, per channel in [0, 1]: ImageNet's are .485,.456,.406 and .229,.224,.225.",
  );
}
