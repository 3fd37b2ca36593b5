import { describe, expect, it } from "vitest";
import { geluDerivative } from "./backward-oracles.js";
import { gelu } from "./oracles.js";

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
