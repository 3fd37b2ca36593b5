import { describe, expect, it } from "vitest";
import { Random } from "../support/random.js";
import { geluDerivative, layerNormBackward } from "./backward-oracles.js";
import { gelu, layerNorm } from "./oracles.js";

// The oracles of the backward ops against finite differences of the forward ones, all in float64: a gradient that is wrong here
// would only be found together with a kernel that is wrong in the same way.

/** Central difference of `f` around 0: the error is of order step², here near 1e-10 beside rounding of 1e-16 / step. */
const slope = (f: (step: number) => number, step = 1e-5): number => (f(step) - f(-step)) / (2 * step);

describe("GELU's derivative", () => {
  it("is the slope of GELU", () => {
    for (let x = -8; x <= 8; x += 0.173) {
      expect(Math.abs(geluDerivative(x) - slope((step) => gelu(x + step)))).toBeLessThan(1e-9);
    }
  });
});

/** The largest difference between `gradient` and slopes of `loss` along every number of `at`, relative to the largest slope. */
function gradientError(at: Float64Array, gradient: ArrayLike<number>, loss: () => number): number {
  let error = 0;
  let largest = 0;
  for (let i = 0; i < at.length; i++) {
    const value = at[i]!;
    const expected = slope((step) => {
      at[i] = value + step;
      const result = loss();
      at[i] = value;
      return result;
    });
    error = Math.max(error, Math.abs(gradient[i]! - expected));
    largest = Math.max(largest, Math.abs(expected));
  }
  return error / largest;
}

const normals = (random: Random, count: number, scale = 1): Float64Array => Float64Array.from(random.normals(count, scale));
const dot = (a: ArrayLike<number>, b: Float64Array): number => b.reduce((sum, value, at) => sum + value * a[at]!, 0);

describe("the gradient of layer norm", () => {
  it.each([
    [1, 2, 1],
    [2, 7, 1],
    [3, 12, 5],
    [2, 5, 0.01],
  ])("%i rows of %i with a deviation of %d", (rows, width, deviation) => {
    const random = new Random(`${rows} ${width}`);
    const x = normals(random, rows * width, deviation);
    const d = normals(random, rows * width);
    const gradient = layerNormBackward(rows, width, x, d);
    expect(gradientError(x, gradient, () => dot(d, layerNorm(rows, width, x)))).toBeLessThan(1e-5);
  });
});
