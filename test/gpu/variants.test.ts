import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import type { Plan } from "../../src/gpu/call.js";
import type { Gpu } from "../../src/gpu/gpu.js";
import { composeKernel, interfaceOf, type Variant, variantLabel } from "../../src/gpu/kernel.js";
import type { Profile, Tier } from "../../src/gpu/profile.js";
import { view } from "../../src/gpu/view.js";
import { dimensions, type ModelConfig, presetConfig } from "../../src/models/stylizing-vit/config.js";
import { planAttention } from "../../src/ops/attention.js";
import { type PixelFormat, planConvolution, planPatchify, planPatchProduct, planQuantize } from "../../src/ops/images.js";
import { planLayerNorm } from "../../src/ops/layer-norm.js";
import { type Epilogue, linear, planLinear } from "../../src/ops/linear.js";
import { ALL_OPS, allCandidates, defaultPlans } from "../ops/all.js";
import { layerNormOp } from "../ops/layer-norm.case.js";
import { linearOp } from "../ops/linear.case.js";
import { sizesOf } from "../ops/published.js";
import { nullGpu } from "../support/gpu.js";
import type { Op } from "../support/op.js";
import { runOp } from "../support/run-op.js";
import { kernelNames, kernelText } from "../support/wgsl.js";

// Everything here is compiled by Dawn's null backend and never run, so it needs no GPU and covers 16-bit shaders too.
const gpus = {} as Record<Tier, Gpu>;
beforeAll(async () => {
  gpus.f32 = await nullGpu("f32");
  gpus.f16 = await nullGpu("f16");
  gpus.matrix = await nullGpu("matrix");
});
afterAll(() => {
  for (const gpu of Object.values(gpus)) gpu.dispose();
});

const nano = { ...presetConfig("tiny"), image_size: 32, patch_size: 8, embed_dim: 96, depth: 2, num_heads: 3 };
const mini = { ...presetConfig("tiny"), image_size: 64, depth: 3, num_heads: 4, mlp_ratio: 2, qkv_bias: false };
/** Every size needs padding: heads of 10, one channel, patches of 7, a ratio that gives an odd count of units. */
const odd = {
  ...presetConfig("tiny"),
  image_size: 42,
  in_channels: 1,
  patch_size: 7,
  embed_dim: 70,
  num_heads: 7,
  mlp_ratio: 2.33,
};
const MODELS: Record<string, ModelConfig> = {
  tiny: presetConfig("tiny"),
  small: presetConfig("small"),
  base: presetConfig("base"),
  nano,
  mini,
  odd,
};

/** Every op of a forward pass over `images` pairs, in each of the formats. */
function plansOfModel(config: ModelConfig, images: number, profile: Profile): Plan[] {
  const { tokens, width, heads, head, hidden, bottleneck, patch, rank } = sizesOf(config);
  const attention = heads * head;
  const rows = images * tokens;
  const linear = (streams: number, depth: number, cols: number, epilogue: Epilogue, result: "f32" | "elem") =>
    planLinear({ rows: streams * rows, depth, cols, epilogue, result }, profile);
  const image = { images, channels: config.in_channels, imageSize: config.image_size };
  const square = { height: config.image_size, width: config.image_size };
  const formats: PixelFormat[] = ["bytes", "floats", "planes"];
  return [
    ...formats.map((format) =>
      planPatchify({ ...image, ...square, patchSize: config.patch_size, depth: patch, format }, profile),
    ),
    linear(1, patch, width, "table", "f32"),
    ...[1, 2, 3].flatMap((streams) => [
      planLayerNorm({ rows: streams * rows, width: config.embed_dim, affine: false, result: "elem" }, profile),
      ...[1, 2, 3].map((parts) => linear(streams, width, parts * attention, "none", "elem")),
      planAttention({ sequences: streams * images, tokens, heads, headSize: head }, profile),
      linear(streams, attention, width, "residual", "f32"),
      linear(streams, attention, width, "table", "f32"),
      linear(streams, width, hidden, "gelu", "elem"),
      linear(streams, hidden, width, "residual", "f32"),
    ]),
    planLayerNorm({ rows, width: config.embed_dim, affine: true, result: "f32" }, profile),
    linear(1, width, bottleneck, "gelu", "elem"),
    linear(1, bottleneck, width, "none", "elem"),
    planPatchProduct({ ...image, patchSize: config.patch_size, rank, stride: width }, profile),
    planConvolution({ ...image, kernelSize: config.post_process_conv_kernel_size }, profile),
    planQuantize({ ...image, format: "bytes" }, profile),
    planQuantize({ ...image, format: "floats" }, profile),
  ];
}

/** The ops that write results of either width, in one of them. */
const withResult = (result: "f32" | "elem"): Op[] => [
  { ...linearOp, cases: linearOp.cases.map((one) => ({ ...one, result })) },
  { ...layerNormOp, cases: layerNormOp.cases.map((one) => ({ ...one, result })) },
];

/** The plans of all models and of all cases of the ops' tables. */
function allPlans(profile: Profile): Plan[] {
  return [
    ...Object.values(MODELS).flatMap((config) => [1, 8, 64].flatMap((images) => plansOfModel(config, images, profile))),
    // Results of either width.
    ...(["f32", "elem"] as const).flatMap((result) => defaultPlans(profile, withResult(result))),
    ...defaultPlans(profile),
  ];
}

const PRECISIONS = ["f32", "f16", "matrix"] as const;
const HOSTS = ["software", "hardware"] as const;

/**
 * Where subgroups may have up to 128 lanes, as this backend claims, Dawn wants workgroups with matrix units to be a multiple of
 * that. Those of fewer are compiled as modules below.
 */
const takenByNull = ({ variant }: Plan): boolean =>
  !variant.matrix || variant.kernel !== "attention_matrix" || variant.constants.SUBGROUPS! % 4 === 0;

/** What the compiler has against a variant, its pipeline's limits aside. */
async function errorsOf({ device, profile }: Gpu, variant: Variant): Promise<string[]> {
  const module = device.createShaderModule({ code: composeKernel(variant, profile).code });
  return (await module.getCompilationInfo()).messages.filter(({ type }) => type === "error").map(({ message }) => message);
}

const roomy = (profile: Profile): Profile => ({
  ...profile,
  software: false,
  limits: { ...profile.limits, maxComputeWorkgroupStorageSize: 65_536, maxComputeInvocationsPerWorkgroup: 1024 },
});

it("every candidate of every op for matrix units is valid WGSL, with units and with their emulation", async () => {
  for (const matrix of ["units", "emulation"] as const) {
    const gpu = { ...gpus.matrix, device: gpus.matrix.device, profile: { ...roomy(gpus.matrix.profile), matrix } } as Gpu;
    const ops = [...ALL_OPS, ...withResult("f32"), ...withResult("elem")];
    const candidates = allCandidates(gpu.profile, ops).filter(({ variant }) => variant.matrix);
    const variants = new Map(candidates.map(({ variant }) => [variantLabel(variant, gpu.profile), variant]));
    expect(variants.size).toBeGreaterThan(20);
    const kernels = new Set([...variants.values()].map(({ kernel }) => kernel));
    expect([...kernels].sort()).toEqual(["attention_matrix", "linear_matrix"]);
    for (const [label, variant] of variants) expect(await errorsOf(gpu, variant), label).toEqual([]);
  }
});

describe.each(PRECISIONS)("in %s", (precision) => {
  it.each(HOSTS)("every variant for %s makes a pipeline", async (host) => {
    const gpu = gpus[precision];
    expect(gpu.profile.elementBytes).toBe(precision === "f32" ? 4 : 2);
    const plans = allPlans({ ...gpu.profile, software: host === "software" }).filter(takenByNull);
    const pipelines = await Promise.all(plans.map(({ variant }) => gpu.pipelines.get(variant)));
    const labels = new Set(pipelines.map(({ label }) => label));
    expect(labels.size).toBeGreaterThan(10);
    for (const { pipeline } of pipelines) expect(pipeline).toBeDefined();
  });

  it("attention with more resident keys than this device has room for is valid WGSL", async () => {
    const gpu = gpus[precision];
    const profile = { ...roomy(gpu.profile), matrix: undefined };
    const { variant } = planAttention({ sequences: 3, tokens: 197, heads: 3, headSize: 64 }, profile);
    expect(variant.overrides.KEYS).toBeGreaterThanOrEqual(197);
    expect(await errorsOf(gpu, variant)).toEqual([]);
  });
});

it("variants of one label are one pipeline: same text, settings and bindings", () => {
  const seen = new Map<string, string>();
  for (const host of HOSTS) {
    for (const { variant } of allPlans({ ...gpus.f16.profile, software: host === "software" })) {
      const label = variantLabel(variant, gpus.f16.profile);
      const essence = JSON.stringify([
        composeKernel(variant, gpus.f16.profile).code,
        variant.entryPoint,
        variant.overrides,
        interfaceOf(variant),
      ]);
      expect(seen.get(label) ?? essence).toBe(essence);
      seen.set(label, essence);
    }
  }
});

let planned: ReturnType<typeof allPlans> | undefined;
/** The plans of every tier on either kind of host, made once: it takes a third of a second. */
const everyPlan = () => {
  planned ??= PRECISIONS.flatMap((precision) =>
    HOSTS.flatMap((host) => allPlans({ ...gpus[precision].profile, software: host === "software" })),
  );
  return planned;
};

describe("kernels", () => {
  it("are all reached by some plan", () => {
    const reached = everyPlan().map(({ variant }) => variant.kernel);
    expect([...new Set(reached)].sort()).toEqual([...kernelNames].sort());
  });

  it.each(kernelNames)("%s opens with a comment that says what it computes, its layouts and its workgroup memory", (name) => {
    const comment = /^(\/\/.*\n)+/.exec(kernelText(name))?.[0] ?? "";
    expect(comment.split("\n").length).toBeGreaterThan(5);
    expect(comment).toMatch(/workgroup memory/i);
  });

  it.each(kernelNames)("%s has no entry point that nothing plans", (name) => {
    const planned = everyPlan()
      .filter(({ variant }) => variant.kernel === name)
      .map(({ variant }) => variant.entryPoint);
    const declared = [...kernelText(name).matchAll(/@compute[^\n]*\nfn (\w+)/g)].map(([, entry]) => entry!);
    expect([...new Set(planned)].sort()).toEqual(declared.sort());
  });
});

describe("a kernel that does not compile", () => {
  /** linear.wgsl without the constants that should stand in front of it. */
  const incomplete = (profile: Profile): Variant => ({
    ...planLinear({ rows: 1, depth: 4, cols: 4, epilogue: "none", result: "f32" }, { ...profile, software: false }).variant,
    constants: { DEPTH4: 4 },
  });

  it("is a GPU error that names the kernel and the mistake", async () => {
    const failure = gpus.f32.pipelines.get(incomplete(gpus.f32.profile));
    await expect(failure).rejects.toBeInstanceOf(StylizingError);
    await expect(failure).rejects.toMatchObject({ code: "GPU" });
    await expect(failure).rejects.toThrow(/linear\.tiled<f32, f32>/);
    await expect(failure).rejects.toThrow(/\d+:\d+ .*ROWS/);
  });

  it("is named with the line of its file, so that an editor finds it", async () => {
    const message = await gpus.f32.pipelines.get(incomplete(gpus.f32.profile)).catch((error: Error) => error.message);
    const line = Number(/(\d+):\d+ .*ROWS/.exec(String(message))?.[1]);
    expect(kernelText("linear").split("\n")[line - 1]).toContain("ROWS");
  });

  it("is a GPU error when only its pipeline fails", async () => {
    const { variant } = planLinear(
      { rows: 1, depth: 4, cols: 4, epilogue: "none", result: "f32" },
      { ...gpus.f32.profile, software: false },
    );
    const failure = gpus.f32.pipelines.get({ ...variant, overrides: { WIDTH: 4096, HEIGHT: 16 } });
    await expect(failure).rejects.toMatchObject({ code: "GPU", message: expect.stringContaining("WIDTH=4096") });
  });
});

it("a device that executes nothing is refused by numeric tests", async () => {
  const setup = linearOp.setup(linearOp.cases[0]!, gpus.f32.profile);
  await expect(runOp(gpus.f32, setup)).rejects.toThrow(/executes nothing/);
});

it("odd sizes are among the models", () => {
  expect(dimensions(odd).headDim % 4).not.toBe(0);
  expect(dimensions(odd).patchInputs % 4).not.toBe(0);
});

describe("a GEMM whose kernel is fixed", () => {
  it.each(["f32", "f16", "matrix"] as const)("%s: has one whatever the number of rows, which the default has not", (tier) => {
    const token = {} as GPUBuffer;
    const names = (rows: number) => {
      const operands = { x: view(token, "elem", rows, 192), w: view(token, "elem", 192, 576), y: view(token, "elem", rows, 576) };
      const { candidates, fixed } = linear(gpus[tier].profile, operands);
      expect(candidates.map(({ name }) => name)).toContain(fixed!());
      return { fixed: fixed!(), usual: candidates[0]!.name };
    };
    const all = [1, 17, 197, 591, 12_608, 100_000].map(names);
    expect(new Set(all.map(({ fixed }) => fixed)).size).toBe(1);
    expect(new Set(all.map(({ usual }) => usual)).size).toBeGreaterThan(1);
  });
});
