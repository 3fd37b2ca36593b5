import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { view } from "../../src/gpu/view.js";
import { clsAttention } from "../../src/ops/classification.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { type ClsAttentionCase, clsAttentionCases, clsAttentionOp } from "./cls-attention.case.js";

const gpu = gpuOfThisFile();

const run = (one: ClsAttentionCase, on: Gpu, profile: Profile) =>
  check(on, clsAttentionOp.setup(one, profile), `attention of CLS, ${one.name}`);

describe.each(FAMILIES)("attention of CLS, workgroups for %s", (_, of) => {
  it.each(tested(clsAttentionCases))("%s", (_, one) => run(one, gpu(), of(gpu().profile)));

  it.each(tested(clsAttentionCases))("of float16: %s", async (_, one) => {
    const float16 = inTier(gpu(), "f16");
    await run(one, float16, of(float16.profile));
  });

  it("spreads more heads than one side of the grid holds", () =>
    run(
      { name: "a narrow grid", sequences: 7, tokens: 10, heads: 3, headSize: 8, together: true },
      gpu(),
      narrow(of(gpu().profile), 5),
    ));
});

it("attention of CLS refuses heads that are no whole vectors, and sequences without patches", () => {
  const buffer = {} as GPUBuffer;
  const of = (tokens: number, heads: number, cols: number, keyCols: number) => () =>
    clsAttention(gpu().profile, {
      ...{ sequences: 1, tokens, heads },
      q: view(buffer, "elem", tokens, cols),
      k: view(buffer, "elem", tokens, keyCols),
      y: view(buffer, "f32", heads, tokens - 1),
    });
  expect(of(5, 2, 12, 12)).toThrow(RangeError);
  expect(of(5, 2, 8, 16)).toThrow(RangeError);
  expect(of(1, 2, 8, 8)).toThrow(RangeError);
  expect(of(2, 2, 8, 8)).not.toThrow();
});
