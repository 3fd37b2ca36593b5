import { StylizingError } from "../errors.js";

/** Pixels of two masks: in both, and in one or both. */
function overlap(a: ArrayLike<unknown>, b: ArrayLike<unknown>): { both: number; either: number } {
  if (a.length !== b.length) {
    const problem = `The masks have ${a.length} and ${b.length} pixels.`;
    throw new StylizingError("ARGUMENT", problem, "Compare masks of one size.");
  }
  let [both, either] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    if (a[i] && b[i]) both++;
    if (a[i] || b[i]) either++;
  }
  return { both, either };
}

/**
 * Dice coefficient of two masks (Dice 1945), 2 |a ∩ b| / (|a| + |b|): 1 where they are alike. NaN where both are empty, so that a mean
 * leaves the class out.
 * @param a a number or a boolean a pixel, 0 or false outside
 * @throws StylizingError `ARGUMENT` where sizes differ
 */
export function dice(a: ArrayLike<unknown>, b: ArrayLike<unknown>): number {
  const { both, either } = overlap(a, b);
  return (2 * both) / (both + either);
}

/** Intersection over union of two masks (Jaccard 1912), |a ∩ b| / |a ∪ b|; otherwise as `dice`. */
export function iou(a: ArrayLike<unknown>, b: ArrayLike<unknown>): number {
  const { both, either } = overlap(a, b);
  return both / either;
}
