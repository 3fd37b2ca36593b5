import { StylizingError } from "../errors.js";

/**
 * Images of each class.
 * @returns [classes]
 */
export function classCounts(files: readonly { label: number }[], classes: number): number[] {
  const counts = new Array<number>(classes).fill(0);
  for (const { label } of files) counts[label]!++;
  return counts;
}

/**
 * Weights by which every class has the same share in a loss: n / (K · n_c) of n images in K classes, as scikit-learn's
 * `class_weight="balanced"`. Weighted by images their mean is 1.
 * @param counts [K], images of each class
 * @throws StylizingError `ARGUMENT` where a class has no image.
 */
export function inverseFrequencyWeights(counts: readonly number[]): number[] {
  const empty = counts.findIndex((count) => !(count > 0));
  if (counts.length === 0 || empty >= 0) {
    const problem = counts.length === 0 ? "There are no classes to weight." : `Class ${empty} has no image, so it has no weight.`;
    throw new StylizingError("ARGUMENT", problem, "Give every class at least one image, or leave the class out.");
  }
  const images = counts.reduce((a, b) => a + b);
  return counts.map((count) => images / (counts.length * count));
}
