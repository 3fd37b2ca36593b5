import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { Random } from "../support/random.js";
import { check } from "../support/run-op.js";
import { expectSlopes, normals, slopes } from "../support/slopes.js";
import { stylizedGradientOf, stylizedTotal, testMaps } from "./losses.js";
import { EPSILON, NARROW, statisticsOf } from "./maps.js";
import { type StylizedLossCase, stylizedLossCases, stylizedLossOp } from "./stylized-loss.case.js";

const gpu = gpuOfThisFile();

describe.each(["f32", "f16"] as const)("in %s", (tier) => {
  describe.each(FAMILIES)("stylized, workgroups for %s", (_family, of) => {
    const run = (one: StylizedLossCase, on: Gpu, profile: Profile) =>
      check(on, stylizedLossOp.setup(one, of(profile)), `stylized, ${one.name}`);

    it.each(tested(stylizedLossCases))("%s", async (_, one) => {
      const on = inTier(gpu(), tier);
      await run(one, on, on.profile);
    });

    it("channels that are dead, hardly vary, or lie on both sides of the clamp", async () => {
      const on = inTier(gpu(), tier);
      const scales = [0, 1e-3, 2e-3, 1e-2, 1, 30];
      await run({ name: "channels of many scales", images: 2, side: 9, channels: 6, scales }, on, on.profile);
    });

    it("spreads over both sides of the grid", async () => {
      const on = inTier(gpu(), tier);
      await run({ name: "a narrow grid", images: 10, side: 3, channels: 112 }, on, narrow(on.profile, NARROW));
    });
  });
});

describe("the oracle's gradients are the slopes of its losses", () => {
  const shape = { images: 2, side: 5, channels: 3 };

  it("anatomical and style, also where the deviation is clamped", () => {
    const f = testMaps(shape, "f");
    const gradient = stylizedGradientOf(shape, f);
    const numeric = slopes(f, (x) => stylizedTotal(shape, x), 1e-6);
    // By channel, so that the steep one does not hide the others.
    for (let c = 0; c < 3; c++) {
      const of = (values: Float64Array) => values.filter((_, at) => at % 3 === c);
      expectSlopes(of(gradient), of(numeric), 1e-5);
    }
    const variance = (c: number) => statisticsOf(shape, f)[3 + c]! ** 2;
    expect(variance(2)).toBeCloseTo(EPSILON, 12);
    expect(variance(0)).toBeGreaterThan(0.1);
  });

  it("maps of one pixel", () => {
    const one = { images: 2, side: 1, channels: 3 };
    const [f, g] = ["f", "g"].map((seed) => normals(new Random(seed), 6)) as [Float64Array, Float64Array];
    expectSlopes(
      stylizedGradientOf(one, f, g),
      slopes(f, (x) => stylizedTotal(one, x, g), 1e-5),
    );
  });
});
