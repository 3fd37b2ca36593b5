import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Plan, spread } from "../../src/gpu/call.js";
import type { Profile } from "../../src/gpu/profile.js";
import { attentionCandidates, attentionFlops, planAttention } from "../../src/ops/attention.js";
import { imageBytes, planConvolution, planPatchify, planPatchProduct, planQuantize } from "../../src/ops/images.js";
import { planLayerNorm } from "../../src/ops/layer-norm.js";
import { linearCandidates, linearFlops, planLinear } from "../../src/ops/linear.js";
import { declaredWorkgroupBytes, wholeText, workgroupSize } from "../support/wgsl.js";

/** Limits from WebGPU's smallest (a caller's device may have just those) to those of large GPUs. */
const profiles: fc.Arbitrary<Profile> = fc
  .record({
    software: fc.boolean(),
    subgroups: fc.boolean(),
    elementBytes: fc.constantFrom<2 | 4>(2, 4),
    units: fc.boolean(),
    storage: fc.constantFrom(16_384, 32_768, 49_152, 65_536, 232_448),
    invocations: fc.constantFrom(256, 512, 1024),
    side: fc.constantFrom(65_535, 2 ** 31 - 1),
  })
  .map(({ storage, invocations, side, units, ...rest }) => ({
    ...rest,
    tier: rest.elementBytes === 4 ? "f32" : units ? "matrix" : "f16",
    matrix: rest.elementBytes === 2 && units ? "units" : undefined,
    timestamps: false,
    features: [],
    notes: [],
    limits: {
      maxBufferSize: 2 ** 28,
      maxStorageBufferBindingSize: 2 ** 27,
      maxComputeWorkgroupStorageSize: storage,
      maxComputeInvocationsPerWorkgroup: invocations,
      maxComputeWorkgroupSizeX: invocations,
      maxComputeWorkgroupSizeY: invocations,
      maxComputeWorkgroupsPerDimension: side,
    },
  }));

const multiplesOf4 = (max: number) => fc.integer({ min: 1, max: max / 4 }).map((n) => 4 * n);
const linearShapes = fc.record({
  rows: fc.integer({ min: 1, max: 200_000 }),
  depth: multiplesOf4(4096),
  cols: multiplesOf4(4096),
  epilogue: fc.constantFrom("none", "gelu", "residual", "table"),
  result: fc.constantFrom("f32", "elem"),
});
const layerNormShapes = fc.record({
  rows: fc.integer({ min: 1, max: 10_000_000 }),
  width: fc.integer({ min: 1, max: 4096 }),
  affine: fc.boolean(),
  result: fc.constantFrom("f32", "elem"),
});
const attentionShapes = (largestHead: number) =>
  fc.record({
    sequences: fc.integer({ min: 1, max: 300 }),
    tokens: fc.integer({ min: 1, max: 4000 }),
    heads: fc.integer({ min: 1, max: 16 }),
    headSize: multiplesOf4(largestHead),
  });
const imageShapes = fc.record({
  images: fc.integer({ min: 1, max: 300 }),
  channels: fc.integer({ min: 1, max: 4 }),
  imageSize: fc.integer({ min: 1, max: 512 }),
});

/** What holds of every plan: it fits the profile, says the truth about its memory, and needs nothing that is not there. */
function expectToFit(plan: Plan, profile: Profile): void {
  const { limits } = profile;
  const { variant } = plan;
  const text = wholeText(variant);
  const settings = { ...variant.constants, ...variant.overrides };
  const [width, height] = workgroupSize(text, variant.entryPoint, settings);
  expect(width).toBeLessThanOrEqual(limits.maxComputeWorkgroupSizeX);
  expect(height).toBeLessThanOrEqual(limits.maxComputeWorkgroupSizeY);
  expect(width * height).toBeLessThanOrEqual(limits.maxComputeInvocationsPerWorkgroup);
  expect(plan.workgroupBytes).toBeLessThanOrEqual(limits.maxComputeWorkgroupStorageSize);
  expect(plan.workgroupBytes).toBe(declaredWorkgroupBytes(text, settings, profile.elementBytes));
  if (/^enable subgroups;/m.test(text)) expect(profile.subgroups).toBe(true);
  for (const count of plan.workgroups) expect(Number.isInteger(count) && count >= 1).toBe(true);
}

/** `tiles` tiles of `each` cover `count` things, and none of them is idle. */
function expectToCover(count: number, each: number, tiles: number): void {
  expect(tiles * each).toBeGreaterThanOrEqual(count);
  expect((tiles - 1) * each).toBeLessThan(count);
}

/** The same over two sides of a grid: what is idle is less than one row of it. */
function expectToCoverSpread(count: number, each: number, [x, y, z]: readonly number[], limit: number): void {
  const needed = Math.ceil(count / each);
  expect(z).toBe(1);
  expect(x! * y!).toBeGreaterThanOrEqual(needed);
  expect(x! * y! - needed).toBeLessThan(y!);
  expect(Math.max(x!, y!)).toBeLessThanOrEqual(limit);
}

describe("grids", () => {
  it("spread covers a count, wastes less than a row and stays within the limit", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 31 }), fc.constantFrom(65_535, 100_000), (count, limit) =>
        expectToCoverSpread(count, 1, spread(count, limit), limit),
      ),
    );
    expect(spread(65_535)).toEqual([65_535, 1, 1]);
    expect(spread(65_536)).toEqual([32_768, 2, 1]);
  });

  it("linear: every row and column once", () => {
    fc.assert(
      fc.property(linearShapes, profiles, (shape, profile) => {
        const candidates = linearCandidates(shape, profile);
        expect(planLinear(shape, profile)).toEqual(candidates[0]!.plan);
        expect(planLinear(shape, profile, "of another version")).toEqual(candidates[0]!.plan);
        expect(new Set(candidates.map(({ name }) => name)).size).toBe(candidates.length);
        for (const { plan, name } of candidates) {
          expect(planLinear(shape, profile, name)).toEqual(plan);
          expectToFit(plan, profile);
          const { kernel, constants: c, overrides } = plan.variant;
          const [columns, rows] =
            kernel === "linear_matrix"
              ? [16 * c.FN! * c.SUB_N!, 16 * c.FM! * c.SUB_M!]
              : kernel === "linear_quad"
                ? [8 * overrides.WIDTH!, 16]
                : [4 * overrides.WIDTH!, overrides.HEIGHT! * c.ROWS!];
          expectToCover(shape.cols, columns!, plan.workgroups[0]);
          expectToCover(shape.rows, rows!, plan.workgroups[1]);
          expect(plan.workgroups[2]).toBe(1);
          if (kernel === "linear_matrix") expect(shape.depth % c.DEPTH!).toBe(0);
        }
      }),
    );
  });

  it("layer norm: every row once", () => {
    fc.assert(
      fc.property(layerNormShapes, profiles, (shape, profile) => {
        const plan = planLayerNorm(shape, profile);
        expectToFit(plan, profile);
        expectToCoverSpread(
          shape.rows,
          plan.variant.overrides.ROWS!,
          plan.workgroups,
          profile.limits.maxComputeWorkgroupsPerDimension,
        );
        expect(Number.isInteger(Math.log2(plan.variant.overrides.LANES!))).toBe(true); // its sums are trees
      }),
    );
  });

  function expectAttentionToCover(
    shape: { sequences: number; tokens: number; heads: number; headSize: number },
    profile: Profile,
  ): void {
    const candidates = attentionCandidates(shape, profile);
    expect(planAttention(shape, profile)).toEqual(candidates[0]!.plan);
    for (const { plan } of candidates) expectAttentionPlanToCover(plan, shape, profile);
  }

  function expectAttentionPlanToCover(
    plan: Plan,
    shape: { sequences: number; tokens: number; heads: number; headSize: number },
    profile: Profile,
  ): void {
    expectToFit(plan, profile);
    const { kernel, constants, overrides } = plan.variant;
    const [queries, columns4] =
      kernel === "attention_quad"
        ? [8, 16]
        : kernel === "attention_matrix"
          ? [16 * constants.SUBGROUPS!, 16]
          : [16, overrides.COLS4!];
    expect(4 * constants.HEAD4!).toBe(shape.headSize);
    const slices = Math.ceil(shape.headSize / 4 / columns4);
    expectToCover(shape.tokens, queries, plan.workgroups[0] / slices);
    expect(plan.workgroups.slice(1)).toEqual([shape.heads, shape.sequences]);
    if (kernel === "attention_matrix") expectToCover(shape.tokens, 16, constants.KEY_TILES!);
    if (kernel === "attention") {
      expect(overrides.WIDTH).toBe(4 * columns4); // four blocks of queries
      expect(Number.isInteger(Math.log2(overrides.WIDTH!))).toBe(true);
    }
  }

  it("attention: every query, head and column once, for heads up to 128", () => {
    fc.assert(fc.property(attentionShapes(128), profiles, expectAttentionToCover));
  });

  it("attention: heads up to 224 fit as well, in 16 KB of workgroup memory too", () => {
    fc.assert(fc.property(attentionShapes(224), profiles, expectAttentionToCover));
  });

  it("attention refuses heads whose queries alone do not fit, by name and size", () => {
    const shape = { sequences: 1, tokens: 197, heads: 1, headSize: 768 };
    const [any] = fc.sample(profiles, 1);
    const limits = { ...any!.limits, maxComputeWorkgroupStorageSize: 16_384 };
    expect(() => planAttention(shape, { ...any!, software: false, limits })).toThrow(/heads of 768 needs \d+ bytes .* has 16384/);
  });

  it("attention keeps all keys of a published sequence resident where 32 KB are to be had", () => {
    fc.assert(
      fc.property(profiles, (profile) => {
        fc.pre(
          !(profile.software && profile.subgroups) && !profile.matrix && profile.limits.maxComputeWorkgroupStorageSize >= 32_768,
        );
        const plan = planAttention({ sequences: 3, tokens: 197, heads: 12, headSize: 64 }, profile);
        expect(plan.variant.overrides.KEYS).toBeGreaterThanOrEqual(197);
      }),
    );
  });

  it("images: every value once", () => {
    fc.assert(
      fc.property(imageShapes, profiles, fc.constantFrom("bytes", "floats"), (shape, profile, format) => {
        const limit = profile.limits.maxComputeWorkgroupsPerDimension;
        const values = shape.images * shape.channels * shape.imageSize ** 2;
        const plans: [Plan, number][] = [
          [
            planConvolution({ ...shape, kernelSize: 5 }, profile),
            shape.images * shape.channels * shape.imageSize * Math.ceil(shape.imageSize / 4),
          ],
          [planQuantize({ ...shape, format }, profile), format === "bytes" ? Math.ceil(values / 4) : values],
          [planPatchProduct({ ...shape, patchSize: 1, rank: 1, stride: 8 }, profile), values],
          [
            planPatchify(
              {
                ...{ images: shape.images, channels: shape.channels, height: shape.imageSize, width: shape.imageSize },
                ...{ patchSize: shape.imageSize, depth: 4 * shape.channels * shape.imageSize ** 2, format },
              },
              profile,
            ),
            shape.images * 2 * shape.channels * shape.imageSize ** 2,
          ],
        ];
        for (const [plan, invocations] of plans) {
          expectToFit(plan, profile);
          expectToCoverSpread(invocations, 64, plan.workgroups, limit);
        }
      }),
    );
  });
});

describe("plans", () => {
  it("are pure: the same for the same shape and profile, which they leave alone", () => {
    fc.assert(
      fc.property(linearShapes, layerNormShapes, attentionShapes(128), profiles, (linear, norm, attention, profile) => {
        const frozen = Object.freeze({ ...profile, limits: Object.freeze({ ...profile.limits }) });
        const plan = () => [
          planLinear(Object.freeze(linear), frozen),
          planLayerNorm(Object.freeze(norm), frozen),
          planAttention(Object.freeze(attention), frozen),
        ];
        expect(plan()).toEqual(plan());
      }),
    );
  });

  it("use registers and quads on software adapters with subgroups, and workgroup memory elsewhere", () => {
    fc.assert(
      fc.property(linearShapes, attentionShapes(128), profiles, (linear, attention, profile) => {
        fc.pre(!profile.matrix);
        const quads = profile.software && profile.subgroups;
        expect(planLinear(linear, profile).variant.kernel).toBe(quads ? "linear_quad" : "linear");
        expect(planAttention(attention, profile).variant.kernel).toBe(quads ? "attention_quad" : "attention");
      }),
    );
  });

  it("use matrix units where there are some and the shape suits, and small tiles where large ones would leave cores idle", () => {
    const units = { ...fc.sample(profiles, 1)[0]!, elementBytes: 2, tier: "matrix", matrix: "units", software: false } as Profile;
    const gpuLimits = { ...units.limits, maxComputeWorkgroupStorageSize: 49_152, maxComputeInvocationsPerWorkgroup: 1024 };
    const profile = { ...units, limits: gpuLimits };
    const of = (rows: number, depth: number, cols: number, aligned8 = true) =>
      planLinear({ rows, depth, cols, epilogue: "none", result: "elem", aligned8 }, profile).variant;
    expect(of(37_824, 768, 3072).constants).toMatchObject({ SUB_M: 2, SUB_N: 2, FM: 4, FN: 4 });
    expect(of(197, 192, 576).constants).toMatchObject({ FM: 2, FN: 2 });
    expect(of(37_824, 768, 3072, false).kernel).toBe("linear");
    expect(of(37_824, 40, 3072).kernel).toBe("linear");
    expect(of(37_824, 768, 3076).kernel).toBe("linear");
  });

  const [profile] = fc.sample(profiles, { numRuns: 1, seed: 1 }) as [Profile];
  const linear = { rows: 5, depth: 8, cols: 12, epilogue: "none", result: "f32" } as const;

  it.each([
    ["linear's cols", () => planLinear({ ...linear, cols: 10 }, profile), /cols is 10/],
    ["linear's depth", () => planLinear({ ...linear, depth: 3 }, profile), /depth is 3/],
    ["attention's heads", () => planAttention({ sequences: 1, tokens: 4, heads: 1, headSize: 6 }, profile), /headSize is 6/],
  ])("refuse %s that are not a multiple of 4", (_, plan, message) => {
    expect(plan).toThrow(RangeError);
    expect(plan).toThrow(message);
  });

  it("count the operations that an op needs", () => {
    expect(linearFlops(linear)).toBe(2 * 5 * 8 * 12);
    expect(attentionFlops({ sequences: 2, tokens: 3, heads: 5, headSize: 4 })).toBe(2 * 5 * (2 * 3 * 3 * 4 + 2 * 3 * 3 * 4));
  });

  it("count the bytes of images", () => {
    expect(imageBytes({ images: 3, channels: 1, imageSize: 7 }, "bytes")).toBe(147);
    expect(imageBytes({ images: 3, channels: 1, imageSize: 7 }, "planes")).toBe(588);
  });
});
