import { setImmediate as breathe } from "node:timers/promises";
import { StylizingError } from "../errors.js";
import { checkPixelImage, type PixelImage, type RowSource, reusedBytes } from "./types.js";

export type ResizeKernel = "linear" | "cubic";

/** Half-width of each kernel and its value at distance `x` ≥ 0; cubic is Keys with a = -0.5, as in Pillow. */
const KERNELS: Record<ResizeKernel, { support: number; at: (x: number) => number }> = {
  linear: { support: 1, at: (x) => Math.max(0, 1 - x) },
  cubic: {
    support: 2,
    at: (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0),
  },
};

/** For each of `to` output samples the first input sample it reads and `count` weights, which add up to one. */
function taps(from: number, to: number, kernel: ResizeKernel): { first: Int32Array; weights: Float64Array; count: number } {
  const { support, at } = KERNELS[kernel];
  const scale = from / to;
  const widening = Math.max(1, scale); // the antialiasing: going down, the kernel covers what it replaces
  const count = Math.min(from, Math.ceil(2 * support * widening));
  const first = new Int32Array(to);
  const weights = new Float64Array(to * count);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    // Near the end the window is moved back inside; what lies beyond the kernel's reach then weighs 0.
    first[i] = Math.min(from - count, Math.max(0, Math.trunc(centre - support * widening + 0.5)));
    const own = weights.subarray(i * count, (i + 1) * count);
    let sum = 0;
    for (let k = 0; k < count; k++) sum += own[k] = at(Math.abs(first[i]! + k + 0.5 - centre) / widening);
    for (let k = 0; k < count; k++) own[k]! /= sum;
  }
  return { first, weights, count };
}

const toByte = (x: number): number => (x <= 0 ? 0 : x >= 255 ? 255 : (x + 0.5) | 0);

/** After this many milliseconds of work the event loop gets its turn. */
const SLICE = 15;

/**
 * Scales an 8-bit image as Pillow does, and torchvision's `resize(..., antialias=True)` on 8-bit images: separable,
 * pixel centres aligned, kernel widened by the reduction factor and renormalised at the edges, rows first,
 * rounded to 8 bits after each direction.
 *
 * sharp is not used for this on purpose. Its `linear` kernel differs from the above by up to 14 levels at the edges,
 * it averages boxes first for large reductions (11 levels in the interior), and it moves an enlarged image by half
 * a pixel, which would put a result beside the anatomy it belongs to.
 *
 * An image of the right size already keeps its data, uncopied.
 * Throws `ARGUMENT` for impossible sizes and the signal's reason when it is aborted.
 */
export async function resize(
  image: PixelImage,
  width: number,
  height: number,
  options: { kernel?: ResizeKernel; signal?: AbortSignal | undefined } = {},
): Promise<PixelImage> {
  const { kernel = "linear", signal } = options;
  checkPixelImage(image);
  checkSides(width, height);
  const { channels } = image;
  const pause = pauses(signal);

  let { data } = image;
  if (width !== image.width) {
    const source = data;
    const { first, weights, count } = taps(image.width, width, kernel);
    data = new Uint8Array(width * image.height * channels);
    for (let y = 0, out = 0; y < image.height; y++) {
      if (y % 16 === 0) await pause();
      out = filterRow(source, y * image.width, channels, first, weights, count, data, out);
    }
  }
  if (height !== image.height) {
    const source = data;
    const { first, weights, count } = taps(image.height, height, kernel);
    const stride = width * channels;
    const sums = new Float64Array(stride);
    data = new Uint8Array(height * stride);
    for (let y = 0; y < height; y++) {
      await pause();
      filterColumns(source, first[y]!, weights.subarray(y * count, (y + 1) * count), sums, data, y * stride);
    }
  }
  return { data, width, height, channels };
}

/** Rows that are read at a time where an image is scaled by rows. */
const STEP = 8;

/**
 * {@link resize} of an image that is read by rows, from top to bottom, with the same bytes as a result. In memory are as many of its rows,
 * at the width that is wanted, as the kernel is high.
 * Throws `ARGUMENT` for impossible sizes; the rows' own errors, and the signal's reason, where rows are asked for.
 */
export function resizeRows(
  source: RowSource,
  channels: 1 | 3,
  width: number,
  height: number,
  options: { kernel?: ResizeKernel; signal?: AbortSignal | undefined } = {},
): RowSource {
  const { kernel = "linear", signal } = options;
  checkSides(width, height);
  const [across, down] = [taps(source.width, width, kernel), taps(source.height, height, kernel)];
  const stride = width * channels;
  /** Rows [first, end) of the source, filtered along the row. */
  const filtered = new Uint8Array((down.count + STEP) * stride);
  let [first, end] = [0, 0];
  const sums = new Float64Array(stride);
  const room = reusedBytes();
  const pause = pauses(signal);

  /** Reads on to row `to`; what lies before `from` is not needed any more. */
  const reach = async (from: number, to: number): Promise<void> => {
    while (end < to) {
      filtered.copyWithin(0, (from - first) * stride, (end - first) * stride);
      first = from;
      const count = Math.min(STEP, source.height - end);
      const rows = await source.rows(end, count);
      for (let y = 0; y < count; y++, end++) {
        const out = (end - first) * stride;
        filterRow(rows, y * source.width, channels, across.first, across.weights, across.count, filtered, out);
        await pause();
      }
    }
  };
  return {
    width,
    height,
    rows: async (top, count) => {
      const target = room(count * stride);
      for (let y = 0; y < count; y++) {
        const from = down.first[top + y]!;
        await reach(from, from + down.count);
        const weights = down.weights.subarray((top + y) * down.count, (top + y + 1) * down.count);
        filterColumns(filtered, from - first, weights, sums, target, y * stride);
      }
      return target;
    },
  };
}

function checkSides(width: number, height: number): void {
  if ([width, height].every((side) => Number.isInteger(side) && side > 0)) return;
  throw new StylizingError(
    "ARGUMENT",
    `An image cannot be resized to ${width} × ${height}.`,
    "Give whole numbers of pixels above 0.",
  );
}

/** To be awaited between rows: gives the event loop its turn where work has taken its slice. */
function pauses(signal: AbortSignal | undefined): () => Promise<void> {
  let turn = performance.now() + SLICE;
  return async () => {
    signal?.throwIfAborted();
    if (performance.now() < turn) return;
    await breathe();
    turn = performance.now() + SLICE;
  };
}

/** One row of pixels from `start` on, filtered along the row into `target` from `out` on; returns where the next row goes. */
function filterRow(
  source: Uint8Array,
  start: number,
  channels: 1 | 3,
  first: Int32Array,
  weights: Float64Array,
  count: number,
  target: Uint8Array,
  out: number,
): number {
  let put = out;
  for (let x = 0, w = 0; x < first.length; x++) {
    let at = (start + first[x]!) * channels;
    let r = 0;
    let g = 0;
    let b = 0;
    if (channels === 3) {
      for (let k = 0; k < count; k++, w++, at += 3) {
        const weight = weights[w]!;
        r += weight * source[at]!;
        g += weight * source[at + 1]!;
        b += weight * source[at + 2]!;
      }
      target[put] = toByte(r);
      target[put + 1] = toByte(g);
      target[put + 2] = toByte(b);
    } else {
      for (let k = 0; k < count; k++) r += weights[w++]! * source[at++]!;
      target[put] = toByte(r);
    }
    put += channels;
  }
  return put;
}

/** One output row: the weighted sum of the rows from `first` on, as long as `sums`, which is working space. */
function filterColumns(
  source: Uint8Array,
  first: number,
  weights: Float64Array,
  sums: Float64Array,
  target: Uint8Array,
  out: number,
): void {
  const stride = sums.length;
  sums.fill(0);
  for (let k = 0, at = first * stride; k < weights.length; k++) {
    const weight = weights[k]!;
    for (let i = 0; i < stride; i++) sums[i]! += weight * source[at++]!;
  }
  for (let i = 0; i < stride; i++) target[out + i] = toByte(sums[i]!);
}
