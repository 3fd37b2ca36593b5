import { StylizingError } from "../errors.js";

/** Feature maps of one level of an image, [channels, positions]. */
export type Activations = ArrayLike<number>;

/** Added to lengths, so that a position where nothing answers is 0. */
const EPSILON = 1e-10;

/**
 * LPIPS, version 0.1 (Zhang et al., arXiv 1801.03924), of any trunk's activations, in float64: the sum over levels of the mean over
 * positions of Σ_c w_c (a_c / (|a| + 1e-10) − b_c / (|b| + 1e-10))². `Vgg16` does the same for images, on the device.
 * @param a by level, [channels, positions]
 * @param weights by level, [channels], none negative
 * @returns 0 for equal activations
 * @throws StylizingError `ARGUMENT` where shapes do not fit
 */
export function lpips(a: readonly Activations[], b: readonly Activations[], weights: readonly ArrayLike<number>[]): number {
  if (a.length !== b.length || a.length !== weights.length) {
    const problem = `There are ${a.length} and ${b.length} levels, and weights of ${weights.length}.`;
    throw new StylizingError("ARGUMENT", problem, "Give as many of each.");
  }
  return weights.reduce((sum, level, at) => sum + levelDistance(a[at]!, b[at]!, level, at), 0);
}

function levelDistance(a: Activations, b: Activations, weights: ArrayLike<number>, level: number): number {
  const positions = a.length / weights.length;
  if (!Number.isSafeInteger(positions) || positions < 1 || b.length !== a.length) {
    const problem = `Level ${level} has ${a.length} and ${b.length} numbers for ${weights.length} channels.`;
    throw new StylizingError("ARGUMENT", problem, "Give [channels, positions] of both.");
  }
  let sum = 0;
  for (let position = 0; position < positions; position++) {
    let [squares, otherSquares] = [0, 0];
    for (let at = position; at < a.length; at += positions) {
      squares += a[at]! ** 2;
      otherSquares += b[at]! ** 2;
    }
    const [length, otherLength] = [Math.sqrt(squares) + EPSILON, Math.sqrt(otherSquares) + EPSILON];
    for (let c = 0, at = position; c < weights.length; c++, at += positions)
      sum += weights[c]! * (a[at]! / length - b[at]! / otherLength) ** 2;
  }
  return sum / positions;
}
