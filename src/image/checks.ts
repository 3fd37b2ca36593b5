import { StylizingError } from "../errors.js";

/** Levels 0–255 or floats 0–1. */
export type Samples = Uint8Array | Uint8ClampedArray | Float32Array;

/** Rounding may leave [0, 1] by this much. */
const HAIR = 1e-6;

export const isSamples = (data: unknown): data is Samples =>
  data instanceof Uint8Array || data instanceof Uint8ClampedArray || data instanceof Float32Array;

/** "Array of 3", "null", "string": what was found in the place of something else. */
export function describeValue(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== "object") return typeof value;
  const { length } = value as { length?: number };
  return `${value.constructor?.name ?? "object"}${typeof length === "number" ? ` of ${length}` : ""}`;
}

/** What became of samples that are too few: memory that was handed to another thread leaves an array of no length behind. */
export const describeLength = (data: Samples): string =>
  data.length === 0 ? "0 values (were they transferred to another thread?)" : `${data.length} values`;

/** The cure for floats outside [0, 1], by their range. */
function cureOf(data: Float32Array): string {
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of data) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  const known = Number.isFinite(least) && Number.isFinite(most);
  if (known && least >= -HAIR && most > 2 && most <= 255) return "Divide by 255, or give a Uint8Array.";
  if (known && least >= -1 - HAIR && most <= 1 + HAIR) return "Map −1..1 to 0..1: (x + 1) / 2.";
  if (known && least >= -HAIR && most > 255 && most <= 65535) return "Divide by the value that is white, 65535 for 16 bits.";
  if (known && least < 0) return "Undo the normalisation, x · std + mean: the model normalises by itself.";
  return "Give values in [0, 1].";
}

/**
 * Holds floats to [0, 1], a hair of rounding apart: one pass, nothing allocated.
 * @param nameOf what messages call the image of a sample, by the sample's position
 * @throws StylizingError `ARGUMENT` with the first value that is none, and the likely cure
 */
export function checkFloats(data: Float32Array, nameOf: (at: number) => string): void {
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    if (value >= -HAIR && value <= 1 + HAIR) continue;
    const problem = `${nameOf(i)} has the value ${value}, and floats are in [0, 1].`;
    throw new StylizingError(
      "ARGUMENT",
      problem,
      Number.isFinite(value) ? cureOf(data) : "Look for a division by zero, or a mask, where it was made.",
    );
  }
}

/**
 * Holds normalised planes to numbers.
 * @throws StylizingError `ARGUMENT` for another type, NaN or an infinity
 */
export function checkPlanes(data: unknown, what: string): asserts data is Float32Array {
  if (!(data instanceof Float32Array))
    throw new StylizingError("ARGUMENT", `${what} is ${describeValue(data)}.`, "Give a Float32Array.");
  for (let i = 0; i < data.length; i++)
    if (!Number.isFinite(data[i]!))
      throw new StylizingError(
        "ARGUMENT",
        `${what} has the value ${data[i]} at position ${i}.`,
        "Give finite numbers; a standard deviation of 0 may have made it.",
      );
}

/** An image as sharp's raw output gives it: [height, width, channels]. */
export interface SampledImage {
  readonly data: Samples;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/**
 * Refuses what is no image: other types, sides that are no positive whole numbers, data that does not fill them, floats outside
 * [0, 1]. `what` names it.
 * @throws StylizingError `ARGUMENT`
 */
export function checkImage(image: unknown, what: string): asserts image is SampledImage {
  const fix = "Give { data, width, height, channels }, data a Uint8Array or Float32Array of that size.";
  if (typeof image !== "object" || image === null)
    throw new StylizingError("ARGUMENT", `${what} is ${describeValue(image)}.`, fix);
  const { data, width, height, channels } = image as SampledImage;
  const sides = [width, height, channels].every((side) => Number.isSafeInteger(side) && side > 0);
  if (!isSamples(data) || !sides || data.length !== width * height * channels) {
    const found = isSamples(data) ? describeLength(data) : `data of type ${describeValue(data)}`;
    throw new StylizingError("ARGUMENT", `${what} says ${width} × ${height} × ${channels} and has ${found}.`, fix);
  }
  if (data instanceof Float32Array) checkFloats(data, () => what);
}
