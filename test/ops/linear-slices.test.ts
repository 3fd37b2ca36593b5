import { describe, it } from "vitest";
import type { Profile } from "../../src/gpu/profile.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { linearSlicesCases, linearSlicesOp } from "./linear-slices.case.js";

const gpu = gpuOfThisFile();

describe.each([...FAMILIES, ["matrix", (profile: Profile) => profile] as const])("split-K, kernels for %s", (family, of) => {
  it.each(tested(linearSlicesCases))("%s", async (name, one) => {
    const on = family === "matrix" ? inTier(gpu(), "matrix") : gpu();
    await check(on, linearSlicesOp.setup(one, of(on.profile)), `${name}, ${family}`);
  });
});
