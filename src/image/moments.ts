import type { SampledImage } from "./checks.js";
import type { Placement } from "./types.js";

/** Mean and population standard deviation by channel, in units of [0, 1]. */
export interface ChannelMoments {
  mean: number[];
  deviation: number[];
}

/**
 * Mean and deviation by channel over any number of images. Of 8-bit images it keeps the exact sums of levels and of their
 * squares, so that neither order nor number of images matters, and a constant channel has a deviation of exactly 0. Floats are
 * summed by rows around each image's own mean, in two passes, and images are then merged; both as in Chan, Golub and LeVeque,
 * "Algorithms for computing the sample variance" (1983).
 */
export class MomentAccumulator {
  readonly #channels: number;
  /** Whole numbers of any size: a data set of a few million tiles would leave 53 bits. */
  readonly #sums: bigint[];
  readonly #squares: bigint[];
  #bytePixels = 0;
  readonly #floats: Part[];

  constructor(channels: number) {
    this.#channels = channels;
    this.#sums = new Array<bigint>(channels).fill(0n);
    this.#squares = new Array<bigint>(channels).fill(0n);
    this.#floats = Array.from({ length: channels }, () => ({ count: 0, mean: 0, squares: 0 }));
  }

  /** Adds an image of as many channels, or the part of it that `where` says. */
  add(image: SampledImage, where: Placement = { left: 0, top: 0, width: image.width, height: image.height }): void {
    const { data } = image;
    if (data instanceof Float32Array) {
      for (let c = 0; c < this.#channels; c++) this.#floats[c] = merge(this.#floats[c]!, floatPart({ ...image, data }, where, c));
      return;
    }
    for (let c = 0; c < this.#channels; c++) this.#addLevels({ ...image, data }, where, c);
    this.#bytePixels += where.width * where.height;
  }

  #addLevels(image: SampledImage & { data: Uint8Array | Uint8ClampedArray }, where: Placement, c: number): void {
    const { data, width, channels } = image;
    let [sum, squares] = [0, 0];
    for (let y = where.top; y < where.top + where.height; y++) {
      const end = (y * width + where.left + where.width) * channels;
      for (let i = (y * width + where.left) * channels + c; i < end; i += channels) {
        const level = data[i]!;
        sum += level;
        squares += level * level;
      }
    }
    // Exact in 53 bits up to 2³⁷ pixels, more than an array holds.
    this.#sums[c]! += BigInt(sum);
    this.#squares[c]! += BigInt(squares);
  }

  /** NaN where no pixel was added. */
  moments(): ChannelMoments {
    const parts = this.#floats.map((floats, c) => merge(this.#bytePart(c), floats));
    return {
      mean: parts.map(({ count, mean }) => (count === 0 ? Number.NaN : mean)),
      deviation: parts.map(({ count, squares }) => Math.sqrt(squares / count)),
    };
  }

  /** What a model normalises by. A flat image has no spread to divide by: one level is the least that 8 bits can show. */
  statistics(): { mean: number[]; std: number[] } {
    const { mean, deviation } = this.moments();
    return { mean, std: deviation.map((value) => Math.max(value, 1 / 255)) };
  }

  #bytePart(c: number): Part {
    const count = this.#bytePixels;
    if (count === 0) return { count, mean: 0, squares: 0 };
    const sum = this.#sums[c]!;
    // Σ(x − μ)² = (nΣx² − (Σx)²) / n: the difference of two nearly equal numbers, and exact.
    const spread = BigInt(count) * this.#squares[c]! - sum * sum;
    return { count, mean: Number(sum) / count / 255, squares: Number(spread) / count / 255 ** 2 };
  }
}

/** Mean and deviation by channel of one image, or of the part of it that `where` says. */
export function channelMoments(image: SampledImage, where?: Placement): ChannelMoments {
  const accumulator = new MomentAccumulator(image.channels);
  accumulator.add(image, where);
  return accumulator.moments();
}

/** Mean of some values, and the sum of their squared distances from it. */
interface Part {
  readonly count: number;
  readonly mean: number;
  readonly squares: number;
}

function merge(a: Part, b: Part): Part {
  if (a.count === 0) return b;
  if (b.count === 0) return a;
  const count = a.count + b.count;
  const apart = b.mean - a.mean;
  return {
    count,
    mean: a.mean + (apart * b.count) / count,
    squares: a.squares + b.squares + (apart * apart * a.count * b.count) / count,
  };
}

function floatPart({ data, width, channels }: SampledImage & { data: Float32Array }, where: Placement, c: number): Part {
  const count = where.width * where.height;
  let guess = 0;
  let [sum, squares] = [0, 0];
  for (const pass of [1, 2]) {
    if (pass === 2) guess = sum / count;
    [sum, squares] = [0, 0];
    for (let y = where.top; y < where.top + where.height; y++) {
      const end = (y * width + where.left + where.width) * channels;
      let [rowSum, rowSquares] = [0, 0];
      for (let i = (y * width + where.left) * channels + c; i < end; i += channels) {
        const distance = data[i]! - guess;
        rowSum += distance;
        rowSquares += distance * distance;
      }
      sum += rowSum;
      squares += rowSquares;
    }
  }
  // The second pass's sum would be 0 if the first one's mean were exact: it corrects both results.
  return { count, mean: guess + sum / count, squares: Math.max(squares - (sum * sum) / count, 0) };
}
