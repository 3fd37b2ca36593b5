import { describe, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { type FeatureStatisticsCase, featureStatisticsCases, featureStatisticsOp } from "./feature-statistics.case.js";
import { NARROW } from "./maps.js";

const gpu = gpuOfThisFile();

describe.each(["f32", "f16"] as const)("in %s", (tier) => {
  describe.each(FAMILIES)("feature statistics, workgroups for %s", (family, of) => {
    const run = (one: FeatureStatisticsCase, on: Gpu, profile: Profile) =>
      check(on, featureStatisticsOp.setup(one, of(profile)), `${family} feature statistics, ${one.name}`);

    it.each(tested(featureStatisticsCases))("%s", async (_, one) => {
      const on = inTier(gpu(), tier);
      await run(one, on, on.profile);
    });

    it("constant channels have the deviation of the clamp, also far from zero", async () => {
      const on = inTier(gpu(), tier);
      const one = { name: "constants", images: 2, side: 9, channels: 6, constants: [0, 0.5, 3, 100, 0, 7] };
      await run(one, on, on.profile);
    });

    it("spreads over both sides of the grid", async () => {
      const on = inTier(gpu(), tier);
      await run({ name: "a narrow grid", images: 10, side: 3, channels: 112 }, on, narrow(on.profile, NARROW));
    });
  });
});
