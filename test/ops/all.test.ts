import { describe, expect, it } from "vitest";
import { buffersOf, parameterBlock } from "../../src/gpu/call.js";
import { interfaceOf } from "../../src/gpu/kernel.js";
import { makeProfile, type Profile } from "../../src/gpu/profile.js";
import { UNIFORM_SLOT } from "../../src/gpu/program.js";
import { mapsElements, statisticsElements } from "../../src/ops/features.js";
import { coefficientsElements, featurePartials } from "../../src/ops/losses.js";
import type { OpCase } from "../support/op.js";
import { declaredWorkgroupBytes, wholeText, workgroupSize } from "../support/wgsl.js";
import { ALL_OPS } from "./all.js";
import { levelCases, type MapsCase } from "./maps.js";

/** WebGPU's smallest. */
const limits = {
  maxBufferSize: 2 ** 28,
  maxStorageBufferBindingSize: 2 ** 27,
  maxComputeWorkgroupStorageSize: 16_384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupsPerDimension: 65_535,
};
const facts = { vendor: "", architecture: "", device: "", description: "", isFallbackAdapter: false, matrixShapes: [] };

/** Profiles of every tier on either kind of host. */
const PROFILES: Profile[] = (["f32", "f16", "matrix"] as const).flatMap((tier) =>
  [true, false].map((software) => ({
    ...makeProfile({ ...facts, features: new Set(["subgroups"]), limits, subgroupSize: undefined }, tier, undefined, true),
    software,
  })),
);

/** Batches of training images, beyond those that are benched. */
const batchesOf = (one: OpCase): OpCase[] =>
  levelCases.some(({ name }) => name === one.name) ? [one, { ...one, images: 128 } as MapsCase] : [one];

it.each(ALL_OPS.map((op) => [op.name, op] as const))(
  "the calls of %s give what its kernels ask for, in grids that fit",
  (_, op) => {
    for (const profile of PROFILES) {
      for (const one of op.cases.flatMap(batchesOf)) {
        const { call, outputs, results } = op.setup(one, profile);
        expect(results.length).toBeGreaterThan(0);
        for (const { plan } of call.candidates) {
          const { variant } = plan;
          const settings = { ...variant.constants, ...variant.overrides };
          const text = wholeText(variant);
          // No value and no operand is missing, and no value is given that nothing asks for.
          expect(parameterBlock(variant, call, UNIFORM_SLOT).byteLength).toBe(UNIFORM_SLOT);
          const buffers = buffersOf(variant, call);
          const { bindings } = interfaceOf(variant);
          const written = new Set(buffers.filter((_, at) => bindings[at]!.access === "write"));
          expect(written).toEqual(new Set(outputs.map(({ buffer }) => buffer)));
          for (const [at, buffer] of buffers.entries())
            if (bindings[at]!.access === "read") expect(written.has(buffer), `${variant.kernel}: binding ${at}`).toBe(false);

          expect(plan.workgroupBytes).toBe(declaredWorkgroupBytes(text, settings, profile.elementBytes));
          expect(plan.workgroupBytes).toBeLessThanOrEqual(limits.maxComputeWorkgroupStorageSize);
          const [width, height] = workgroupSize(text, variant.entryPoint, settings);
          expect(width * height).toBeLessThanOrEqual(limits.maxComputeInvocationsPerWorkgroup);
          for (const count of plan.workgroups) expect(Number.isInteger(count) && count >= 1).toBe(true);
          expect(Math.max(...plan.workgroups)).toBeLessThanOrEqual(limits.maxComputeWorkgroupsPerDimension);
        }
      }
    }
  },
);

it("ops have names of their own, and no case stands in a table twice", () => {
  expect(new Set(ALL_OPS.map(({ name }) => name)).size).toBe(ALL_OPS.length);
  for (const { cases } of ALL_OPS) {
    const titles = cases.map((one) => JSON.stringify(one));
    expect(new Set(titles).size).toBe(titles.length);
  }
});

it("every op has a size that models run, for benches, and one that is tested", () => {
  for (const { name, cases } of ALL_OPS) {
    expect(
      cases.some(({ bench }) => bench),
      name,
    ).toBe(true);
    expect(
      cases.some(({ bench }) => !bench),
      name,
    ).toBe(true);
  }
});

describe.each([true, false])("kernels that reduce feature maps and images, on a CPU: %s", (software) => {
  it("sum in trees: their lanes are powers of two", () => {
    const kernels = new Set<string>();
    for (const op of ALL_OPS.filter(({ name }) => /^(feature_statistics|.*_loss)$/.test(name))) {
      for (const one of op.cases.flatMap(batchesOf)) {
        const { variant } = op.setup(one, { ...PROFILES[0]!, software }).call.candidates[0]!.plan;
        const settings = { ...variant.constants, ...variant.overrides };
        const [width, height] = workgroupSize(wholeText(variant), variant.entryPoint, settings);
        expect(Number.isInteger(Math.log2(width * height))).toBe(true);
        kernels.add(variant.kernel);
      }
    }
    expect(kernels.size).toBe(4);
  });
});

it("sizes of buffers count padding and borders", () => {
  const maps = { images: 2, side: 5, channels: 6 };
  expect(mapsElements(maps)).toBe(2 * 7 * 7 * 8);
  expect(statisticsElements(maps)).toBe(2 * 2 * 8);
  expect(coefficientsElements(maps)).toBe(2 * 5 * 8);
  expect(featurePartials(maps)).toBe(2 * 8);
});
