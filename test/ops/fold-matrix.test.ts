import { describe, it } from "vitest";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { foldSizes } from "./flat-weights.js";
import { foldMatrixOp } from "./fold-matrix.case.js";

const gpu = gpuOfThisFile();

describe.each(FAMILIES)("folding a matrix, kernels for %s", (_family, of) => {
  describe.each(["f32", "f16"] as const)("in %s", (tier) => {
    it.each(tested(foldSizes))("%s, with a LayerNorm in front and without", async (name, one) => {
      const on = inTier(gpu(), tier);
      for (const bare of [false, true])
        await check(on, foldMatrixOp.setup({ ...one, bare }, of(on.profile)), `${name}, without a norm: ${bare}`);
    });
  });
});
