import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { Random } from "../support/random.js";
import { check } from "../support/run-op.js";
import { dot, expectSlopes, normals, slopes } from "../support/slopes.js";
import {
  type FeatureBackwardCase,
  featureBackwardAt,
  featureBackwardCases,
  featureBackwardOp,
  MASK_AND_POOLED,
} from "./feature-backward.case.js";
import { stylizedGradientOf, stylizedTotal, testMaps } from "./losses.js";
import { countOf, firstMaximum, NARROW, pooled } from "./maps.js";

const gpu = gpuOfThisFile();

describe.each(["f32", "f16"] as const)("in %s", (tier) => {
  describe.each(MASK_AND_POOLED)("feature backward, mask %s, pooled %s", (mask, pooled) => {
    const run = (one: FeatureBackwardCase, on: Gpu, profile: Profile) =>
      check(on, featureBackwardOp.setup({ ...one, mask, pooled }, profile), `feature backward, ${one.name}`);

    it.each(tested(featureBackwardCases))("%s", async (_, one) => {
      const on = inTier(gpu(), tier);
      await run(one, on, on.profile);
    });

    it("spreads over both sides of the grid", async () => {
      const on = inTier(gpu(), tier);
      await run({ name: "a narrow grid", images: 2, side: 33, channels: 64 }, on, narrow(on.profile, NARROW));
    });
  });
});

describe("the oracle", () => {
  const shape = { images: 2, side: 5, channels: 3 };

  it("is the slope of ReLU, tap and pooling together", () => {
    const before = normals(new Random("before the ReLU"), countOf(shape), 1, 0.2);
    const next = normals(new Random("next"), countOf(pooled(shape)));
    const relu = (x: Float64Array) => x.map((value) => Math.max(0, value));
    const maxima = (x: Float64Array) => next.map((_, at) => x[firstMaximum(shape, x, at)]!);
    const value = (x: Float64Array) => stylizedTotal(shape, relu(x)) + dot(maxima(relu(x)), next);
    const f = relu(before);
    const tap = stylizedGradientOf(shape, f);
    const gradient = f.map((_, at) => featureBackwardAt(shape, f, (at) => tap[at]!, true, next, at));
    expectSlopes(gradient, slopes(before, value, 1e-6), 1e-5);
    // An odd last row and column are in no window.
    expect(gradient.some((d, at) => d !== 0 && Math.floor(at / 3) % 5 === 4)).toBe(true);
  });

  it("gives the tap alone, of maps that are not masked", () => {
    const f = testMaps(shape, "f");
    const tap = stylizedGradientOf(shape, f);
    expect(f.map((_, at) => featureBackwardAt(shape, f, (at) => tap[at]!, false, undefined, at))).toEqual(tap);
  });

  it("gives the gradient to the first of equal maxima", () => {
    const window = { images: 1, side: 2, channels: 1 };
    const gradient = (f: number[]) => f.map((_, at) => featureBackwardAt(window, f, () => 0, true, [3], at));
    expect(gradient([1, 1, 1, 1])).toEqual([3, 0, 0, 0]);
    expect(gradient([0, 2, 2, 1])).toEqual([0, 3, 0, 0]);
    expect(gradient([0, 0, 2, 2])).toEqual([0, 0, 3, 0]);
    expect(gradient([0, 0, 0, 0])).toEqual([0, 0, 0, 0]);
  });
});
