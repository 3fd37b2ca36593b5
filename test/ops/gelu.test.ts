import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { erf, type GeluCase, geluCases, geluDerivative, geluOp, geluOracle } from "./gelu.case.js";

const gpu = gpuOfThisFile();

describe.each([
  ["GELU", false],
  ["GELU's derivative", true],
])("%s", (what, derivative) => {
  const run = (one: GeluCase, on: Gpu, profile: Profile) =>
    check(on, geluOp.setup({ ...one, derivative }, profile), `${what}, ${one.name}`);

  it.each(tested(geluCases))("%s", (_, one) => run(one, gpu(), gpu().profile));

  it.each(tested(geluCases))("in float16: %s", async (_, one) => {
    const float16 = inTier(gpu(), "f16");
    await run(one, float16, float16.profile);
  });

  it("spreads over a narrow grid", () => run({ name: "a narrow grid", rows: 7, cols: 260 }, gpu(), narrow(gpu().profile, 3)));
});

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
    expect(geluOracle(1)).toBeCloseTo(0.8413447460685429, 12);
    expect(geluOracle(-1)).toBeCloseTo(-0.15865525393145707, 12);
    expect(geluOracle(0)).toBe(0);
  });
});

it("the oracle's derivative of GELU is the slope of its GELU", () => {
  const slope = (x: number, step = 1e-5) => (geluOracle(x + step) - geluOracle(x - step)) / (2 * step);
  for (let x = -8; x <= 8; x += 0.173) expect(Math.abs(geluDerivative(x) - slope(x))).toBeLessThan(1e-9);
  for (const x of [-9, -3, -1.5, -0.7, -0.1, 0, 0.1, 0.5, 1, 2.5, 6]) expect(geluDerivative(x)).toBeCloseTo(slope(x), 8);
});
