import { describe, expect, it } from "vitest";
import { erf, gelu } from "./oracles.js";

// An oracle that is wrong would only be found together with a kernel that is wrong in the same way.
describe("erf", () => {
  // Abramowitz and Stegun, table 7.1, to more digits than printed there.
  it.each([
    [0, 0],
    [0.1, 0.1124629160182849],
    [0.5, 0.5204998778130465],
    [1, 0.8427007929497149],
    [1.5, 0.9661051464753108],
    [2, 0.9953222650189527],
    [3, 0.9999779095030014],
    [4, 0.9999999845827421],
    [5.9, 0.9999999999999999],
  ])("erf(%d) = %d, and odd", (x, expected) => {
    expect(Math.abs(erf(x) - expected)).toBeLessThan(1e-15 + 1e-14 * expected);
    expect(erf(-x)).toBe(-erf(x));
  });

  it("has the derivative 2/√π · e^(-x²)", () => {
    for (let x = -5; x <= 5; x += 0.37) {
      const slope = (erf(x + 1e-4) - erf(x - 1e-4)) / 2e-4;
      expect(slope).toBeCloseTo((2 / Math.sqrt(Math.PI)) * Math.exp(-x * x), 7);
    }
  });

  it("gives the exact GELU", () => {
    expect(gelu(1)).toBeCloseTo(0.8413447460685429, 12);
    expect(gelu(-1)).toBeCloseTo(-0.15865525393145707, 12);
    expect(gelu(0)).toBe(0);
  });
});
