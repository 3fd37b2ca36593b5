import { createHash } from "node:crypto";
import { StylizingError } from "../errors.js";
import { MomentAccumulator } from "../image/moments.js";
import type { ImagePool } from "../image/pool.js";
import { cropPlacement } from "../image/tasks.js";
import type { PixelImage, Placement } from "../image/types.js";
import type { DataFile } from "../models/task.js";
import { fraction, permutation } from "../random.js";

/** A hash of the names and labels, and of how many they are. */
export function fingerprint(files: readonly DataFile[]): string {
  const names = files.map(({ name, label }) => (label === undefined ? name : [name, label]));
  return createHash("sha256").update(JSON.stringify(names)).digest("hex").slice(0, 16);
}

export interface DatasetOptions {
  /** Side of the squares, the model's image size. */
  size: number;
  channels: 1 | 3;
  pool: ImagePool;
  seed: number;
  /**
   * `whole`: the image scaled to the square, as the recipe has it. `random`: a square of it at its own resolution, anew in
   * every epoch; images with a side shorter than the square's are scaled to it.
   */
  crop: "whole" | "random";
  /** How many times each image stands in an epoch. */
  cropsPerImage: number;
  /** Mirrors squares at random, left and right and top and bottom. */
  flips: boolean;
  /** Decoded images are kept in memory up to so many bytes; those that came first. */
  cacheBytes: number;
  /** Receives an image that could not be read, once. */
  onUnreadable: (file: DataFile, error: StylizingError) => void;
}

export interface BatchOptions {
  /** Squares a batch. */
  batch: number;
  /** The sequence ends before this epoch. */
  epochs: number;
  /** The first batch; by default that of the first epoch. */
  from?: { epoch: number; step: number };
  /** Batches that are prepared while one is in use. Default 2. */
  ahead?: number;
  signal?: AbortSignal | undefined;
}

export interface TrainingBatch {
  /** Both from 0. */
  epoch: number;
  step: number;
  /** [batch, size, size, channels]. */
  images: Uint8Array;
  /** [batch], where images have labels. */
  labels: Uint32Array | undefined;
}

/**
 * Whole batches of an epoch.
 * @throws StylizingError `ARGUMENT` where there is not even one.
 */
export function stepsOf(images: number, crops: number, batch: number): number {
  const steps = Math.floor((images * crops) / batch);
  if (steps > 0) return steps;
  throw new StylizingError(
    "ARGUMENT",
    `An epoch of ${images} images × ${crops} crops does not fill a batch of ${batch}.`,
    "Give more images, a smaller --batch, or more --crops of each.",
  );
}

/** Images that are read at a time where all are. */
export const AT_ONCE = 64;

/**
 * Training images as batches of squares. What is in a batch is a pure function of the seed, the epoch, the step and the
 * list of files; a file that could not be read when the dataset was opened is no part of it, and one that cannot be read any
 * more later on gives way to the next one that can.
 */
export class Dataset {
  readonly files: readonly DataFile[];
  readonly #options: DatasetOptions;
  readonly #kept = new Map<number, PixelImage>();
  #keptBytes = 0;
  /** Files that could be read once and cannot any more. */
  readonly #gone = new Set<number>();

  private constructor(files: readonly DataFile[], options: DatasetOptions) {
    this.files = files;
    this.#options = options;
  }

  /** Of files that an earlier run read: `unreadable` are the places in the list of those that it could not. */
  static reopen(files: readonly DataFile[], unreadable: readonly number[], options: DatasetOptions): Dataset {
    const skipped = new Set(unreadable);
    return new Dataset(
      files.filter((_, index) => !skipped.has(index)),
      options,
    );
  }

  /**
   * Reads every file once, and measures mean and deviation over the squares (the crops of the first epoch, or the images
   * without the padding around them), to four digits.
   * @throws StylizingError `IMAGE` where none can be read; the signal's reason when aborted.
   */
  static async open(
    files: readonly DataFile[],
    options: DatasetOptions,
    { signal, onProgress }: { signal?: AbortSignal | undefined; onProgress?: (done: number, total: number) => void } = {},
  ): Promise<{ dataset: Dataset; unreadable: number[]; mean: number[]; std: number[] }> {
    const { pool, size, channels, crop, onUnreadable } = options;
    const moments = new MomentAccumulator(channels);
    const readable: DataFile[] = [];
    const unreadable: number[] = [];
    const kept: PixelImage[] = [];
    let bytes = 0;
    for (let first = 0; first < files.length; first += AT_ONCE) {
      const some = files.slice(first, first + AT_ONCE);
      const images = await Promise.all(
        some.map(({ path }) =>
          pool
            .load({ file: path, size, channels, crop: crop === "random" ? "original" : undefined }, signal)
            .catch((error: unknown) => asUnreadable(error)),
        ),
      );
      for (const [i, image] of images.entries()) {
        const file = some[i]!;
        if (image instanceof StylizingError) {
          unreadable.push(first + i);
          onUnreadable(file, image);
          continue;
        }
        const index = readable.push(file) - 1;
        const where = crop === "random" ? cropPlacement(image, size, place(options.seed, 0, index, 0)) : image.placement;
        moments.add(image, where);
        // Only without a gap: which images are kept must not depend on anything but their order.
        if (kept.length === index && bytes + image.data.length <= options.cacheBytes) {
          kept.push(image);
          bytes += image.data.length;
        }
      }
      onProgress?.(Math.min(first + AT_ONCE, files.length), files.length);
    }
    if (readable.length === 0) {
      const problem = `None of ${files.length} training images can be read, ${files[0]?.path} for one.`;
      throw new StylizingError("IMAGE", problem, "Check the files.");
    }
    const dataset = new Dataset(readable, options);
    for (const [index, image] of kept.entries()) dataset.#keep(index, image);
    const { mean, std } = moments.statistics();
    return { dataset, unreadable, mean: mean.map(fourDigits), std: std.map(fourDigits) };
  }

  /** Squares of an epoch. */
  get length(): number {
    return this.files.length * this.#options.cropsPerImage;
  }

  /**
   * Whole batches of an epoch; what does not fill one is left out.
   * @throws StylizingError `ARGUMENT` where there is not even one.
   */
  steps(batch: number): number {
    return stepsOf(this.files.length, this.#options.cropsPerImage, batch);
  }

  /**
   * Batches of all epochs in order, prepared ahead of their use and no further.
   * @throws StylizingError as `steps` does, or `IMAGE` where no image can be read any more; the signal's reason.
   */
  async *batches(options: BatchOptions): AsyncGenerator<TrainingBatch, void> {
    const { from = { epoch: 0, step: 0 }, ahead = 2, signal } = options;
    const ended = new AbortController();
    const stop = signal ? AbortSignal.any([signal, ended.signal]) : ended.signal;
    const positions = this.#positions({ ...options, from });
    const underWay: Promise<TrainingBatch>[] = [];
    try {
      for (;;) {
        stop.throwIfAborted();
        while (underWay.length <= ahead) {
          const next = positions.next();
          if (next.done) break;
          const work = this.#batch(next.value, stop);
          // Its turn may never come.
          work.catch(() => {});
          underWay.push(work);
        }
        const first = underWay.shift();
        if (!first) return;
        yield await first;
      }
    } finally {
      ended.abort(new Error("No more batches are wanted."));
    }
  }

  *#positions({ batch, epochs, from }: Required<Pick<BatchOptions, "batch" | "epochs" | "from">>) {
    const steps = this.steps(batch);
    for (let { epoch, step } = from; epoch < epochs; epoch++, step = 0) {
      if (step >= steps) continue;
      const order = permutation(this.length, this.#options.seed, 0, epoch);
      for (; step < steps; step++) yield { epoch, step, squares: order.subarray(step * batch, (step + 1) * batch) };
    }
  }

  async #batch(
    { epoch, step, squares }: { epoch: number; step: number; squares: Uint32Array },
    signal: AbortSignal,
  ): Promise<TrainingBatch> {
    const { size, channels, seed, flips } = this.#options;
    const images = new Uint8Array(squares.length * size * size * channels);
    const labels = this.files.some(({ label }) => label !== undefined) ? new Uint32Array(squares.length) : undefined;
    await Promise.all(
      Array.from(squares, async (square, i) => {
        const index = square % this.files.length;
        const crop = Math.floor(square / this.files.length);
        const where = place(seed, epoch, index, crop);
        const { image, file } = await this.#read(index, where, signal);
        if (labels) labels[i] = file.label!;
        const flipped = (axis: number) => flips && fraction(seed, 2 + axis, epoch, index, crop) < 0.5;
        const target = images.subarray(i * size * size * channels, (i + 1) * size * size * channels);
        copySquare(image, cropPlacement(image, size, where), flipped(0), flipped(1), target);
      }),
    );
    return { epoch, step, images, labels };
  }

  /** A file's image or the part of it that is wanted, or, where it cannot be read any more, the next one's. */
  async #read(
    index: number,
    where: { x: number; y: number },
    signal: AbortSignal,
  ): Promise<{ image: PixelImage; file: DataFile }> {
    const { size, channels, crop, pool, cacheBytes, onUnreadable } = this.#options;
    for (let tried = 0; tried < this.files.length; tried++) {
      const at = (index + tried) % this.files.length;
      const file = this.files[at]!;
      const kept = this.#kept.get(at);
      if (kept) return { image: kept, file };
      if (this.#gone.has(at)) continue;
      const room = this.#keptBytes < cacheBytes;
      const part = crop === "whole" ? undefined : room ? "original" : where;
      const image = await pool.load({ file: file.path, size, channels, crop: part }, signal).catch(asUnreadable);
      if (!(image instanceof StylizingError)) {
        if (room && this.#keptBytes + image.data.length <= cacheBytes) this.#keep(at, image);
        return { image, file };
      }
      // Several squares of a batch may have asked for it.
      if (!this.#gone.has(at)) onUnreadable(file, image);
      this.#gone.add(at);
    }
    throw new StylizingError("IMAGE", "None of the training images can be read any more.", "Check the disk they are on.");
  }

  #keep(index: number, image: PixelImage): void {
    if (this.#kept.has(index)) return;
    this.#kept.set(index, image);
    this.#keptBytes += image.data.length;
  }
}

const fourDigits = (value: number) => Math.round(value * 1e4) / 1e4;

/** Where a random square lies: fractions of the way across and down. */
const place = (seed: number, epoch: number, index: number, crop: number) => ({
  x: fraction(seed, 1, epoch, index, crop, 0),
  y: fraction(seed, 1, epoch, index, crop, 1),
});

/** An image that cannot be read; whatever else was thrown goes on. */
export function asUnreadable(error: unknown): StylizingError {
  if (error instanceof StylizingError && error.code === "IMAGE") return error;
  throw error;
}

/** Copies a rectangle of an image into `target`, mirrored left to right or top to bottom where asked. */
function copySquare(image: PixelImage, where: Placement, mirrored: boolean, upended: boolean, target: Uint8Array): void {
  const { data, width, channels } = image;
  const row = where.width * channels;
  for (let y = 0; y < where.height; y++) {
    const from = ((where.top + (upended ? where.height - 1 - y : y)) * width + where.left) * channels;
    if (!mirrored) {
      target.set(data.subarray(from, from + row), y * row);
      continue;
    }
    for (let x = 0, at = y * row; x < where.width; x++) {
      const pixel = from + (where.width - 1 - x) * channels;
      for (let c = 0; c < channels; c++) target[at++] = data[pixel + c]!;
    }
  }
}
