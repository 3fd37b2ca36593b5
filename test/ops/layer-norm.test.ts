import { describe, it } from "vitest";
import { assertClose } from "../support/compare.js";
import { FAMILIES, gpuOfThisFile } from "../support/gpu.js";
import { asFloats, runOp } from "../support/run-op.js";
import { layerNormCases, tested } from "./cases.js";
import { setUpLayerNorm } from "./setups.js";

const gpu = gpuOfThisFile();

describe.each(FAMILIES)("layer norm, workgroups for %s", (family, of) => {
  it.each(tested(layerNormCases))("%s", async (name, one) => {
    const op = setUpLayerNorm(one, of(gpu().profile));
    const result = asFloats(await runOp(gpu(), op));
    assertClose(result, op.reference(), `${family} layer norm, ${name}`, op);
  });

  it("spreads more rows than one side of the grid holds", async () => {
    const profile = of(gpu().profile);
    const narrow = { ...profile, limits: { ...profile.limits, maxComputeWorkgroupsPerDimension: 5 } };
    const op = setUpLayerNorm({ name: "a narrow grid", rows: 16 * 17 + 1, width: 20 }, narrow);
    const result = asFloats(await runOp(gpu(), op));
    assertClose(result, op.reference(), `${family} layer norm in a narrow grid`, op);
  });
});
