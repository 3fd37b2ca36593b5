import { describe, expect, it } from "vitest";
import { pick } from "../../src/gpu/call.js";
import type { Profile } from "../../src/gpu/profile.js";
import { attentionCandidates, planAttention } from "../../src/ops/attention.js";
import { gpuOfThisFile, hardwareProfile, inTier } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check, checkParts } from "../support/run-op.js";
import { type AttentionCase, attentionCases, attentionOp } from "./attention.case.js";

const gpu = gpuOfThisFile();

async function run(family: string, one: AttentionCase, profile: Profile, on = gpu(), choice?: string) {
  const setup = attentionOp.setup(one, profile);
  await check(on, setup, `${family} attention, ${one.name}`, pick(setup.call.candidates, choice));
}

describe("attention in registers, for software", () => {
  it.each(tested(attentionCases))("%s", async (_, one) => {
    await run("quad", one, gpu().profile);
  });
});

describe("attention in workgroup memory, for hardware", () => {
  it.each(tested(attentionCases))("%s", async (_, one) => {
    await run("workgroup", one, hardwareProfile(gpu().profile));
  });
});

describe("attention in float16", () => {
  it.each(tested(attentionCases))("%s", async (_, one) => {
    const float16 = inTier(gpu(), "f16");
    await run("quad, float16", one, float16.profile, float16);
  });

  it.each(tested(attentionCases).filter(([, { headSize }]) => headSize === 64))("in workgroup memory: %s", async (_, one) => {
    const float16 = inTier(gpu(), "f16");
    await run("workgroup, float16", one, hardwareProfile(float16.profile), float16);
  });
});

describe("attention on matrix units", () => {
  it.each(tested(attentionCases))("%s", async (_, one) => {
    const matrix = inTier(gpu(), "matrix");
    await run("matrix", one, matrix.profile, matrix);
  });

  it.each([1, 2, 3, 4])("with %i subgroups a workgroup", async (subgroups) => {
    const matrix = inTier(gpu(), "matrix");
    const one: AttentionCase = { name: "subgroups", sequences: 2, tokens: 37, heads: 2, headSize: 48, kind: "cross" };
    const choice = `matrix ${subgroups}`;
    expect(attentionCandidates(one, matrix.profile).map(({ name }) => name)).toContain(choice);
    await run("matrix", one, matrix.profile, matrix, choice);
  });

  it("is what heads of 16, 32, 48 and 64 take, where all scores fit", () => {
    const { profile } = inTier(gpu(), "matrix");
    const kernel = (tokens: number, headSize: number) =>
      planAttention({ sequences: 1, tokens, heads: 1, headSize }, profile).variant.kernel;
    expect([16, 32, 48, 64].map((size) => kernel(197, size))).toEqual(Array(4).fill("attention_matrix"));
    for (const other of [kernel(197, 20), kernel(197, 80), kernel(2000, 64)]) expect(other).not.toBe("attention_matrix");
  });
});

/** The profile of a GPU whose workgroup memory lacks room for half of a case's keys, however narrow the workgroup. */
function withRoomForHalf(one: AttentionCase, profile: Profile): Profile {
  const withBytes = (bytes: number) => ({ ...profile, limits: { ...profile.limits, maxComputeWorkgroupStorageSize: bytes } });
  let bytes = planAttention(one, withBytes(2 ** 24)).workgroupBytes;
  while (planAttention(one, withBytes(bytes)).variant.overrides.KEYS! > one.tokens / 2) bytes -= 64;
  return withBytes(bytes);
}

/** Heads of every kind of size; each costs a pipeline. */
const STREAMED_HEADS = [4, 20, 64, 80, 192];

describe("attention over tiles of keys, for hardware", () => {
  it.each(
    tested(attentionCases).filter(([, one]) => STREAMED_HEADS.includes(one.headSize) && one.tokens > 8 && one.tokens < 600),
  )("%s", async (_, one) => {
    const profile = withRoomForHalf(one, hardwareProfile(gpu().profile));
    expect(planAttention(one, profile).variant.overrides.KEYS).toBeLessThan(one.tokens);
    await run("streaming", one, profile);
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
