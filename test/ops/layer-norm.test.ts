import { describe, it } from "vitest";
import { FAMILIES, gpuOfThisFile } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { layerNormCases, layerNormOp } from "./layer-norm.case.js";

const gpu = gpuOfThisFile();

describe.each(FAMILIES)("layer norm, workgroups for %s", (family, of) => {
  it.each(tested(layerNormCases))("%s", async (name, one) => {
    await check(gpu(), layerNormOp.setup(one, of(gpu().profile)), `${family} layer norm, ${name}`);
  });

  it("spreads more rows than one side of the grid holds", async () => {
    const one = { name: "a narrow grid", rows: 16 * 17 + 1, width: 20 };
    await check(gpu(), layerNormOp.setup(one, narrow(of(gpu().profile), 5)), `${family} layer norm in a narrow grid`);
  });
});
