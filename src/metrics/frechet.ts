import type { Matrix } from "ml-matrix";
import { StylizingError } from "../errors.js";

function refuse(problem: string, fix: string): never {
  throw new StylizingError("ARGUMENT", problem, fix);
}

/**
 * Mean and covariance of features, image by image in float64 (Welford's update, so that a mean far from zero costs no digits): as large
 * for a million images as for one.
 */
export class FeatureMoments {
  readonly #mean: Float64Array;
  /** [d, d], of which the part on and below the diagonal is kept: Σ (x − μ)(x − μ)ᵀ. */
  readonly #scatter: Float64Array;
  #count = 0;

  /** @param size numbers of a feature vector, d */
  constructor(size: number) {
    if (!(Number.isSafeInteger(size) && size > 0)) refuse(`Features have ${size} numbers.`, "Give a positive whole number.");
    this.#mean = new Float64Array(size);
    this.#scatter = new Float64Array(size * size);
  }

  /** Numbers of a feature vector, d. */
  get size(): number {
    return this.#mean.length;
  }

  /** Images so far. */
  get count(): number {
    return this.#count;
  }

  /** [d]. */
  get mean(): Float64Array {
    return this.#mean.slice();
  }

  /**
   * Adds the features of an image, [d].
   * @throws StylizingError `ARGUMENT` where they are not d finite numbers
   */
  add(features: ArrayLike<number>): void {
    const d = this.size;
    if (features.length !== d)
      refuse(`Features of ${features.length} numbers follow some of ${d}.`, "Take both from one network.");
    for (let i = 0; i < d; i++)
      if (!Number.isFinite(features[i])) refuse(`Feature ${i} is ${features[i]}.`, "Look for the layer whose numbers overflow.");
    this.#count++;
    const before = Float64Array.from({ length: d }, (_, i) => features[i]! - this.#mean[i]!);
    for (let i = 0; i < d; i++) this.#mean[i]! += before[i]! / this.#count;
    for (let i = 0; i < d; i++) {
      const behind = features[i]! - this.#mean[i]!;
      for (let j = 0; j <= i; j++) this.#scatter[i * d + j]! += behind * before[j]!;
    }
  }

  /** [d, d] row-major, unbiased: divided by n − 1. */
  covariance(): Float64Array {
    const d = this.size;
    const covariance = new Float64Array(d * d);
    for (let i = 0; i < d; i++)
      for (let j = 0; j <= i; j++) covariance[i * d + j] = covariance[j * d + i] = this.#scatter[i * d + j]! / (this.#count - 1);
    return covariance;
  }
}

function momentsOf(features: FeatureMoments | readonly ArrayLike<number>[], what: string): FeatureMoments {
  const made = features instanceof FeatureMoments;
  const moments = made ? features : new FeatureMoments(features[0]?.length ?? 1);
  if (!made) for (const one of features) moments.add(one);
  if (moments.count < 2) refuse(`The ${what} set has features of ${moments.count} images.`, "A covariance takes at least two.");
  return moments;
}

/** When it is first needed: the library would take twice as long to import. */
const algebra = () => import("ml-matrix");

const trace = (values: Float64Array, d: number): number => {
  let sum = 0;
  for (let i = 0; i < d; i++) sum += values[i * d + i]!;
  return sum;
};

/** Eigenvalues of a symmetric matrix, the largest first, and the eigenvectors in that order as columns. */
async function eigenOf(matrix: Matrix): Promise<{ values: number[]; vectors: Matrix; order: number[] }> {
  const { EigenvalueDecomposition } = await algebra();
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(matrix, { assumeSymmetric: true });
  const order = realEigenvalues.map((_, i) => i).sort((a, b) => realEigenvalues[b]! - realEigenvalues[a]!);
  return { values: order.map((i) => realEigenvalues[i]!), vectors: eigenvectorMatrix, order };
}

/**
 * Fréchet distance of the normal distributions that fit two sets of features (Dowson and Landau 1982; of Inception-v3's features it is
 * the FID of Heusel et al., arXiv 1706.08500, and of any other network it must not be called so):
 * |μ_a − μ_b|² + tr(S_a + S_b − 2 (S_a S_b)^½), S unbiased, in float64.
 *
 * The last trace is Σ √eig(Rᵀ S_b R), R Rᵀ = S_a. n images leave n − 1 eigenvalues that are not zero, so that R has no more columns and
 * no more roots are drawn: the roots of what rounding makes of a zero are no small numbers.
 * @param a moments, or the features themselves, [n][d]
 * @returns at least 0; of 512 numbers in a few seconds
 * @throws StylizingError `ARGUMENT` where a set has less than two images, or the sets' features differ in length
 */
export async function frechetDistance(
  a: FeatureMoments | readonly ArrayLike<number>[],
  b: FeatureMoments | readonly ArrayLike<number>[],
): Promise<number> {
  // Symmetric in both: the set of fewer images has the smaller rank.
  const [one, other] = [momentsOf(a, "first"), momentsOf(b, "second")].sort((p, q) => p.count - q.count) as [
    FeatureMoments,
    FeatureMoments,
  ];
  const d = one.size;
  if (other.size !== d) refuse(`The sets have features of ${d} and ${other.size} numbers.`, "Take both from one network.");
  const { Matrix } = await algebra();
  const [covariance, otherCovariance] = [one.covariance(), other.covariance()];
  const { values, vectors, order } = await eigenOf(Matrix.from1DArray(d, d, covariance));
  const rank = Math.min(one.count - 1, d);
  const root = new Matrix(d, rank);
  for (let column = 0; column < rank; column++) {
    const scale = Math.sqrt(Math.max(0, values[column]!));
    for (let row = 0; row < d; row++) root.set(row, column, scale * vectors.get(row, order[column]!));
  }
  const cross = root.transpose().mmul(Matrix.from1DArray(d, d, otherCovariance).mmul(root));
  // Rounding leaves it not quite symmetric.
  const { values: shared } = await eigenOf(cross.add(cross.transpose()).mul(0.5));
  const means = other.mean;
  const shift = one.mean.reduce((sum, mean, i) => sum + (mean - means[i]!) ** 2, 0);
  const roots = shared.slice(0, other.count - 1).reduce((sum, value) => sum + Math.sqrt(Math.max(0, value)), 0);
  return Math.max(0, shift + trace(covariance, d) + trace(otherCovariance, d) - 2 * roots);
}
