import { erf } from "./oracles.js";

/** Gradients as calculus gives them: float64, one loop per index; backward-oracles.test.ts proves them by finite differences. */

/** d/dx x·Φ(x). */
export const geluDerivative = (x: number): number =>
  0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);

type Numbers = ArrayLike<number>;

/** dL/dx of LayerNorm without scale and shift, eps 1e-6: x and d = dL/dx̂ are [rows, width]. */
export function layerNormBackward(rows: number, width: number, x: Numbers, d: Numbers): Float64Array {
  const gradient = new Float64Array(rows * width);
  for (let m = 0; m < rows; m++) {
    let mean = 0;
    for (let i = 0; i < width; i++) mean += x[m * width + i]! / width;
    let variance = 0;
    for (let i = 0; i < width; i++) variance += (x[m * width + i]! - mean) ** 2 / width;
    const s = Math.sqrt(variance + 1e-6);
    // The Jacobian itself, ∂x̂_j / ∂x_i = (δ_ij - 1/n - x̂_i x̂_j / n) / s, column by column.
    for (let i = 0; i < width; i++) {
      for (let j = 0; j < width; j++) {
        const product = ((x[m * width + i]! - mean) / s) * ((x[m * width + j]! - mean) / s);
        gradient[m * width + i]! += (d[m * width + j]! * ((i === j ? 1 : 0) - 1 / width - product / width)) / s;
      }
    }
  }
  return gradient;
}

export interface AttentionGradients {
  query: Float64Array;
  key: Float64Array;
  value: Float64Array;
  /** log Σ exp of every query's scores. */
  logSum: Float64Array;
  /** do · o of every query. */
  product: Float64Array;
}

/** Gradients of one head of one sequence that reads one context: query, key, value, output and dL/do are [tokens, size]. */
export function attendBackward(
  tokens: number,
  size: number,
  query: Numbers,
  key: Numbers,
  value: Numbers,
  output: Numbers,
  outputGradient: Numbers,
): AttentionGradients {
  const inner = (a: Numbers, i: number, b: Numbers, j: number) => {
    let sum = 0;
    for (let c = 0; c < size; c++) sum += a[i * size + c]! * b[j * size + c]!;
    return sum;
  };
  const gradients: AttentionGradients = {
    query: new Float64Array(tokens * size),
    key: new Float64Array(tokens * size),
    value: new Float64Array(tokens * size),
    logSum: new Float64Array(tokens),
    product: new Float64Array(tokens),
  };
  for (let i = 0; i < tokens; i++) {
    const scores = Float64Array.from({ length: tokens }, (_, j) => inner(query, i, key, j));
    const highest = scores.reduce((a, b) => Math.max(a, b));
    gradients.logSum[i] = highest + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - highest), 0));
    gradients.product[i] = inner(outputGradient, i, output, i);
    for (let j = 0; j < tokens; j++) {
      const weight = Math.exp(scores[j]! - gradients.logSum[i]!);
      const scoreGradient = weight * (inner(outputGradient, i, value, j) - gradients.product[i]!);
      for (let c = 0; c < size; c++) {
        gradients.query[i * size + c]! += scoreGradient * key[j * size + c]!;
        gradients.key[j * size + c]! += scoreGradient * query[i * size + c]!;
        gradients.value[j * size + c]! += weight * outputGradient[i * size + c]!;
      }
    }
  }
  return gradients;
}
