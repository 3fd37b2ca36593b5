import { describe, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { type MapsCase, NARROW } from "./maps.js";
import { maxPoolCases, maxPoolOp } from "./max-pool.case.js";

const gpu = gpuOfThisFile();

describe.each(["f32", "f16"] as const)("max pool in %s", (tier) => {
  const run = (one: MapsCase, on: Gpu, profile: Profile) => check(on, maxPoolOp.setup(one, profile), `max pool, ${one.name}`);

  it.each(tested(maxPoolCases))("%s", async (_, one) => {
    const on = inTier(gpu(), tier);
    await run(one, on, on.profile);
  });

  it("spreads over both sides of the grid", async () => {
    const on = inTier(gpu(), tier);
    await run({ name: "a narrow grid", images: 2, side: 33, channels: 64 }, on, narrow(on.profile, NARROW));
  });
});
