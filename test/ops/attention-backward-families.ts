/** Gradients of attention by both families of kernels; which cases are fast, and which are not. */
import { describe, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { FAMILIES, hardwareProfile, inTier } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check, runOp } from "../support/run-op.js";
import {
  type AttentionBackwardCase,
  attentionBackwardCases,
  attentionBackwardContextOp,
  attentionBackwardQueryOp,
  setUpContext,
} from "./attention-backward.case.js";

/** Whether a case takes a software adapter long. */
export const isCostly = ({ reads, tokens }: AttentionBackwardCase): boolean => tokens > 128 || reads.length > 8;

export async function run(one: AttentionBackwardCase, on: Gpu, profile: Profile): Promise<void> {
  await check(on, attentionBackwardQueryOp.setup(one, profile), one.name);
  await check(on, attentionBackwardContextOp.setup(one, profile), one.name);
}

export const withMemory = (profile: Profile, bytes: number): Profile => ({
  ...profile,
  limits: { ...profile.limits, maxComputeWorkgroupStorageSize: bytes },
});

/** Tests of the cases that are wanted. */
export function describeGradients(gpu: () => Gpu, wanted: (one: AttentionBackwardCase) => boolean): void {
  const cases = tested(attentionBackwardCases).filter(([, one]) => wanted(one));

  describe.each(FAMILIES)("gradients of attention, tiles for %s", (_, of) => {
    it.each(cases)("%s", (_, one) => run(one, gpu(), of(gpu().profile)));

    // Heads of 32 have a case of every kind; those of other sizes would cost pipelines and show nothing new.
    it.each(cases.filter(([, { headSize }]) => headSize === 32))("in float16: %s", async (_, one) => {
      const float16 = inTier(gpu(), "f16");
      await run(one, float16, of(float16.profile));
    });
  });

  describe("gradients of attention where workgroup memory is scarce", () => {
    it.each(cases.filter(([, { headSize, tokens }]) => headSize === 192 || (headSize === 64 && tokens < 400)))(
      "16 KB: %s",
      (_, one) => run(one, gpu(), withMemory(hardwareProfile(gpu().profile), 16_384)),
    );
  });

  describe("both dispatches on one buffer of gradients", () => {
    it.each(cases.filter(([, { together }]) => together))("%s", async (name, one) => {
      const [gradients, statistics] = await runOp(gpu(), attentionBackwardQueryOp.setup(one, gpu().profile));
      const given = { statistics: statistics!.after, gradients: gradients!.after };
      await check(gpu(), setUpContext(one, gpu().profile, given), `after the queries', ${name}`);
    });
  });
}
