import { StylizingError } from "../errors.js";

/**
 * ArtFID (Wright and Ommer, arXiv 2207.12280), (1 + LPIPS) · (1 + FID): content that is kept times style that is met, at least 1, lower
 * is better. The published one takes LPIPS of contents and results, and the FID of results and styles.
 * @param lpips mean over pairs
 * @throws StylizingError `ARGUMENT` for what is no number from 0 on
 */
export function artFid(lpips: number, fid: number): number {
  for (const [name, value] of Object.entries({ lpips, fid })) {
    if (value >= 0) continue;
    throw new StylizingError("ARGUMENT", `${name} is ${value}.`, "Give a number from 0 on.");
  }
  return (1 + lpips) * (1 + fid);
}

/**
 * FID of N images is too large by about c / N. This is its value at 1/N = 0 on the least-squares line through (1/N, FID_N) (Chong and
 * Forsyth, arXiv 1911.07023).
 * @param sizes numbers of images, at least two different ones
 * @param values the distances that so many images gave
 * @throws StylizingError `ARGUMENT` where lengths differ, a size is no positive whole number, a value is none, or there is no line
 */
export function fidToInfinity(sizes: readonly number[], values: readonly number[]): number {
  const fix = "Give distances of at least two different numbers of images.";
  const sound = sizes.every((size) => Number.isSafeInteger(size) && size > 0) && values.every(Number.isFinite);
  if (sizes.length !== values.length || !sound || new Set(sizes).size < 2) {
    throw new StylizingError("ARGUMENT", `There is no line through sizes [${sizes}] and values [${values}].`, fix);
  }
  const mean = (list: readonly number[]) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const inverse = sizes.map((size) => 1 / size);
  const [x, y] = [mean(inverse), mean(values)];
  const slope = mean(inverse.map((at, i) => (at - x) * (values[i]! - y))) / mean(inverse.map((at) => (at - x) ** 2));
  return y - slope * x;
}
