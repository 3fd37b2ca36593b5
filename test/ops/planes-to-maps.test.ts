import { describe, it } from "vitest";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { planesToMapsCases, planesToMapsOp } from "./planes-to-maps.case.js";

const gpu = gpuOfThisFile();

describe.each(["f32", "f16"] as const)("planes to maps in %s", (tier) => {
  it.each(tested(planesToMapsCases))("%s", async (name, one) => {
    const on = inTier(gpu(), tier);
    await check(on, planesToMapsOp.setup(one, on.profile), `planes to maps, ${name}`);
  });
});
