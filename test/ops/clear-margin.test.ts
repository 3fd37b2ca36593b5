import { describe, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { type ClearMarginCase, clearMarginCases, clearMarginOp } from "./clear-margin.case.js";
import { NARROW } from "./maps.js";

const gpu = gpuOfThisFile();

describe.each(["f32", "f16"] as const)("clearing margins in %s", (tier) => {
  const run = (one: ClearMarginCase, on: Gpu, profile: Profile) =>
    check(on, clearMarginOp.setup(one, profile), `clear margin, ${one.name}`);

  it.each(tested(clearMarginCases))("%s", async (_, one) => {
    const on = inTier(gpu(), tier);
    await run(one, on, on.profile);
  });

  it("spreads over both sides of the grid", async () => {
    const on = inTier(gpu(), tier);
    await run(
      { name: "a narrow grid", images: 2, side: 33, channels: 64, height: 20, width: 33 },
      on,
      narrow(on.profile, NARROW),
    );
  });
});
