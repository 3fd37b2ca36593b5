import { describe, it } from "vitest";
import type { Profile } from "../../src/gpu/profile.js";
import { FAMILIES, gpuOfThisFile } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { type MapsCase, NARROW } from "./maps.js";
import { pixelLossCases, pixelLossOp } from "./pixel-loss.case.js";

const gpu = gpuOfThisFile();

describe.each(FAMILIES)("pixel loss, workgroups for %s", (_family, of) => {
  const run = (one: MapsCase, profile: Profile) => check(gpu(), pixelLossOp.setup(one, of(profile)), `pixel loss, ${one.name}`);

  it.each(tested(pixelLossCases))("%s", (_, one) => run(one, gpu().profile));

  it("spreads over both sides of the grid", () =>
    run({ name: "a narrow grid", images: 5, side: 21, channels: 3 }, narrow(gpu().profile, NARROW)));
});
