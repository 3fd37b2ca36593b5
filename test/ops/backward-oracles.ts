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
