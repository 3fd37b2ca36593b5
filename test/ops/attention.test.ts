import { describe, expect, it } from "vitest";
import { planAttention } from "../../src/ops/attention.js";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { checkParts } from "../support/run-op.js";
import { attentionCases, attentionOp } from "./attention.case.js";
import { describeAttention, isCostly } from "./attention-families.js";

const gpu = gpuOfThisFile();

// Large and costly ones are in attention.slow.test.ts.
describeAttention(gpu, (one, tier) => !isCostly(one, tier), [2]);

describe("attention on matrix units", () => {
  it("is what heads of 16, 32, 48 and 64 take, where all scores fit", () => {
    const { profile } = inTier(gpu(), "matrix");
    const kernel = (tokens: number, headSize: number) =>
      planAttention({ sequences: 1, tokens, heads: 1, headSize }, profile).variant.kernel;
    expect([16, 32, 48, 64].map((size) => kernel(197, size))).toEqual(Array(4).fill("attention_matrix"));
    for (const other of [kernel(197, 20), kernel(197, 80), kernel(2000, 64)]) expect(other).not.toBe("attention_matrix");
  });
});

describe("attention in bands of sequences", () => {
  it.each(tested(attentionCases).filter(([, { sequences, headSize }]) => sequences > 1 && headSize === 32))(
    "%s",
    async (name, one) => {
      const setup = attentionOp.setup(one, gpu().profile);
      const { count, unit, of } = setup.call.bands!;
      expect([count, unit]).toEqual([one.sequences, 1]);
      await checkParts(gpu(), setup, `${name}, in bands`, [of(0, 1), of(1, count - 2), of(count - 1, 1)]);
    },
  );
});
