import { describe, expect, it } from "vitest";
import type { Profile } from "../../src/gpu/profile.js";
import { planAttention } from "../../src/ops/attention.js";
import { assertClose } from "../support/compare.js";
import { gpuOfThisFile, hardwareProfile } from "../support/gpu.js";
import { asFloats, runOp } from "../support/run-op.js";
import { type AttentionCase, attentionCases, tested } from "./cases.js";
import { setUpAttention } from "./setups.js";

const gpu = gpuOfThisFile();

async function check(family: string, one: AttentionCase, profile: Profile) {
  const op = setUpAttention(one, profile);
  const result = asFloats(await runOp(gpu(), op));
  assertClose(result, op.reference(), `${family} attention, ${one.name}`, op);
}

describe("attention in registers, for software", () => {
  it.each(tested(attentionCases))("%s", async (_, one) => {
    await check("quad", one, gpu().profile);
  });
});

describe("attention in workgroup memory, for hardware", () => {
  it.each(tested(attentionCases))("%s", async (_, one) => {
    await check("workgroup", one, hardwareProfile(gpu().profile));
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
    await check("streaming", one, profile);
  });
});
