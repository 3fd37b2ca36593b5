import { describe, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { type MapsCase, NARROW } from "./maps.js";
import { perceptualDistanceCases, perceptualDistanceOp } from "./perceptual-distance.case.js";

const gpu = gpuOfThisFile();

describe.each(["f32", "f16"] as const)("perceptual distance in %s", (tier) => {
  const run = (one: MapsCase, on: Gpu, profile: Profile) =>
    check(on, perceptualDistanceOp.setup(one, profile), `perceptual distance, ${one.name}`);

  it.each(tested(perceptualDistanceCases))("%s", async (_, one) => {
    const on = inTier(gpu(), tier);
    await run(one, on, on.profile);
  });

  it("spreads over both sides of the grid", async () => {
    const on = inTier(gpu(), tier);
    await run({ name: "a narrow grid", images: 70, side: 3, channels: 8 }, on, narrow(on.profile, NARROW));
  });
});
