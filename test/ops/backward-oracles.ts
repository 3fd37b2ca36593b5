import { erf } from "./oracles.js";

/** Gradients as calculus gives them: float64, one loop per index; backward-oracles.test.ts proves them by finite differences. */

/** d/dx x·Φ(x). */
export const geluDerivative = (x: number): number =>
  0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
