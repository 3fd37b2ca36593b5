import assert from "node:assert/strict";
import { difference } from "./compare.js";
import type { Random } from "./random.js";

/** Gradients held against finite differences, in float64: one that is wrong would only be found together with a kernel's. */

/** Central difference of `f` around 0: the error is of order step², here near 1e-10 beside rounding of 1e-16 / step. */
const slope = (f: (step: number) => number, step = 1e-5): number => (f(step) - f(-step)) / (2 * step);

/** The largest difference between `gradient` and slopes of `loss` along every number of `at`, relative to the largest slope. */
export function slopeError(at: Float64Array, gradient: ArrayLike<number>, loss: () => number): number {
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

/** Central differences of `value` at every number of `at`. */
export function slopes(at: Float64Array, value: (x: Float64Array) => number, step: number): Float64Array {
  return at.map((x, index) => {
    const moved = (by: number) => value(at.map((other, i) => (i === index ? x + by : other)));
    return (moved(step) - moved(-step)) / (2 * step);
  });
}

export const normals = (random: Random, count: number, scale = 1, mean = 0): Float64Array =>
  Float64Array.from(random.normals(count, scale, mean));

export const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(b).reduce((sum, value, at) => sum + value * a[at]!, 0);

/** Error of a central difference: rounding of the value over the step, and the step squared. */
export function expectSlopes(gradient: ArrayLike<number>, numeric: ArrayLike<number>, bound = 1e-6): void {
  const { error, scale } = difference(gradient, numeric);
  assert.ok(scale > 0, "there is no slope");
  assert.ok(error / scale < bound, `a gradient is off by ${error / scale} of the largest slope`);
}
