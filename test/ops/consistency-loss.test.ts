import { describe, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { Random } from "../support/random.js";
import { check } from "../support/run-op.js";
import { expectSlopes, normals, slopes } from "../support/slopes.js";
import { consistencyLossCases, consistencyLossOp } from "./consistency-loss.case.js";
import { consistencyAt, consistencyGradientAt } from "./losses.js";
import { type MapsCase, NARROW } from "./maps.js";

const gpu = gpuOfThisFile();

describe.each(["f32", "f16"] as const)("in %s", (tier) => {
  describe.each(FAMILIES)("consistency, workgroups for %s", (_family, of) => {
    const run = (one: MapsCase, on: Gpu, profile: Profile) =>
      check(on, consistencyLossOp.setup(one, of(profile)), `consistency, ${one.name}`);

    it.each(tested(consistencyLossCases))("%s", async (_, one) => {
      const on = inTier(gpu(), tier);
      await run(one, on, on.profile);
    });

    it("spreads over both sides of the grid", async () => {
      const on = inTier(gpu(), tier);
      await run({ name: "a narrow grid", images: 10, side: 3, channels: 112 }, on, narrow(on.profile, NARROW));
    });
  });
});

it("the oracle's gradient is the slope of its loss", () => {
  const shape = { images: 2, side: 5, channels: 3 };
  const [f, g] = ["f", "g"].map((seed) => normals(new Random(seed), 2 * 25 * 3, 1, 0.5)) as [Float64Array, Float64Array];
  const counts = [2, 1];
  const loss = (x: Float64Array) => {
    let sum = 0;
    for (let image = 0; image < 2; image++) for (let c = 0; c < 3; c++) sum += consistencyAt(shape, 3, x, g, counts, [image, c]);
    return sum;
  };
  expectSlopes(
    f.map((_, at) => consistencyGradientAt(shape, 3, f, g, counts, at)),
    slopes(f, loss, 1e-4),
  );
});
