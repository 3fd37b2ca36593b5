import { describe, it } from "vitest";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { mapsToPlanesCases, mapsToPlanesOp } from "./maps-to-planes.case.js";

const gpu = gpuOfThisFile();

describe.each(["f32", "f16"] as const)("in %s", (tier) => {
  describe.each([false, true])("maps to planes, accumulating: %s", (accumulate) => {
    it.each(tested(mapsToPlanesCases))("%s", async (name, one) => {
      const on = inTier(gpu(), tier);
      await check(on, mapsToPlanesOp.setup({ ...one, accumulate }, on.profile), `maps to planes, ${name}`);
    });
  });
});
