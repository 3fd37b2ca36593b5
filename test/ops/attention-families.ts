/** Attention by every family of kernels; which cases are fast, and which are not. */
import { describe, expect, it } from "vitest";
import { pick } from "../../src/gpu/call.js";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile, Tier } from "../../src/gpu/profile.js";
import { attentionCandidates, planAttention } from "../../src/ops/attention.js";
import { hardwareProfile, inTier } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { type AttentionCase, attentionCases, attentionOp } from "./attention.case.js";

/** Whether a case takes a software adapter long: by what it computes, or by pipelines that show nothing new. */
export function isCostly({ tokens, heads, headSize }: AttentionCase, tier: Tier): boolean {
  if (tokens > 128 || heads * headSize > 400) return true;
  if (tier === "matrix") return tokens > 65 || headSize > 64;
  return tier === "f16" && (headSize === 12 || headSize > 64);
}

/** The profile of a GPU whose workgroup memory lacks room for half of a case's keys, however narrow the workgroup. */
function withRoomForHalf(one: AttentionCase, profile: Profile): Profile {
  const withBytes = (bytes: number) => ({ ...profile, limits: { ...profile.limits, maxComputeWorkgroupStorageSize: bytes } });
  let bytes = planAttention(one, withBytes(2 ** 24)).workgroupBytes;
  while (planAttention(one, withBytes(bytes)).variant.overrides.KEYS! > one.tokens / 2) bytes -= 64;
  return withBytes(bytes);
}

/** Heads of every kind of size; each costs a pipeline. */
const STREAMED_HEADS = [4, 20, 64, 80, 192];

/** Tests of the cases that are wanted; `subgroupCounts`: how many of them a workgroup of matrix units may have. */
export function describeAttention(
  gpu: () => Gpu,
  wanted: (one: AttentionCase, tier: Tier) => boolean,
  subgroupCounts: readonly number[],
): void {
  const cases = (tier: Tier) => tested(attentionCases).filter(([, one]) => wanted(one, tier));

  async function run(family: string, one: AttentionCase, profile: Profile, on = gpu(), choice?: string) {
    const setup = attentionOp.setup(one, profile);
    await check(on, setup, `${family} attention, ${one.name}`, pick(setup.call.candidates, choice));
  }

  describe("attention in registers, for software", () => {
    it.each(cases("f32"))("%s", async (_, one) => {
      await run("quad", one, gpu().profile);
    });
  });

  describe("attention in workgroup memory, for hardware", () => {
    it.each(cases("f32"))("%s", async (_, one) => {
      await run("workgroup", one, hardwareProfile(gpu().profile));
    });
  });

  describe("attention in float16", () => {
    it.each(cases("f16"))("%s", async (_, one) => {
      const float16 = inTier(gpu(), "f16");
      await run("quad, float16", one, float16.profile, float16);
    });

    it.each(cases("f16").filter(([, { headSize }]) => headSize === 64))("in workgroup memory: %s", async (_, one) => {
      const float16 = inTier(gpu(), "f16");
      await run("workgroup, float16", one, hardwareProfile(float16.profile), float16);
    });
  });

  describe("attention on matrix units", () => {
    it.each(cases("matrix"))("%s", async (_, one) => {
      const matrix = inTier(gpu(), "matrix");
      await run("matrix", one, matrix.profile, matrix);
    });

    it.each(subgroupCounts)("with %i subgroups a workgroup", async (subgroups) => {
      const matrix = inTier(gpu(), "matrix");
      const one: AttentionCase = { name: "subgroups", sequences: 2, tokens: 37, heads: 2, headSize: 48, kind: "cross" };
      const choice = `matrix ${subgroups}`;
      expect(attentionCandidates(one, matrix.profile).map(({ name }) => name)).toContain(choice);
      await run("matrix", one, matrix.profile, matrix, choice);
    });
  });

  describe("attention over tiles of keys, for hardware", () => {
    it.each(cases("f32").filter(([, one]) => STREAMED_HEADS.includes(one.headSize) && one.tokens > 8 && one.tokens < 600))(
      "%s",
      async (_, one) => {
        const profile = withRoomForHalf(one, hardwareProfile(gpu().profile));
        expect(planAttention(one, profile).variant.overrides.KEYS).toBeLessThan(one.tokens);
        await run("streaming", one, profile);
      },
    );
  });
}
