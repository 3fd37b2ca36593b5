import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { Gpu } from "../../src/gpu/gpu.js";
import { HashedWeights } from "../../src/hub/hashed.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { type BatchShape, rolled, separate } from "../../src/models/stylizing-vit/batch-shape.js";
import { type ModelConfig, parseConfig } from "../../src/models/stylizing-vit/config.js";
import { LOSS_NAMES as LOSS_TERMS, type Losses } from "../../src/models/stylizing-vit/losses.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { StylizingTask } from "../../src/models/stylizing-vit/task.js";
import { openVgg, VGG_STAGES, vggShapes } from "../../src/models/vgg19/weights.js";
import { TrainingDevice } from "../../src/train/device.js";
import { ADAMW, type LossSums } from "../../src/train/types.js";
import { gpuOfThisFile, hardwareProfile, inTier } from "../support/gpu.js";
import { hashedImages } from "./images.js";
import { THIN, terms } from "./thin.js";

/**
 * Losses, gradients and steps against PyTorch. `nano` is the reference's own case; `grey` is made with the reference in float64: one
 * channel, no biases for query, key and value, heads of ten, 93 hidden units, another kernel size.
 */
interface Case {
  config: ModelConfig;
  batch: number;
  vgg: string;
  lr: number;
  steps: (Losses & { total: number; gradient_norm: number })[];
  weights: Map<string, Float32Array>;
  /** `gradient.KEY` of the first step, `after.KEY` of four. */
  tensors: Map<string, Float32Array>;
  images: (step: number) => Float32Array;
}

const FIXTURES = fileURLToPath(new URL("../fixtures/", import.meta.url));

async function readAll(path: string): Promise<Map<string, Float32Array>> {
  await using file = await SafetensorsFile.open(path);
  const tensors = new Map<string, Float32Array>();
  for (const key of file.tensors.keys()) tensors.set(key, await file.read(key));
  return tensors;
}

async function loadCase(name: string): Promise<Case> {
  const info = JSON.parse(readFileSync(join(FIXTURES, name, "training.json"), "utf8"));
  const config = parseConfig(info.config, name);
  let weights: Map<string, Float32Array>;
  if (name === "nano") weights = await readAll(join(FIXTURES, name, "weights.safetensors"));
  else {
    const hashed = new HashedWeights(parameterShapes(config), info.seed);
    weights = new Map();
    for (const key of hashed.shapes.keys()) weights.set(key, await hashed.read(key));
  }
  return {
    config,
    batch: info.batch,
    vgg: `hashed:${info.seed}`,
    lr: info.lr ?? 1e-3,
    steps: info.steps,
    weights,
    tensors: await readAll(join(FIXTURES, name, "training.safetensors")),
    images: (step) => hashedImages(`train.${step}`, info.batch, config.in_channels, config.image_size, info.seed),
  };
}

const gpu = gpuOfThisFile();
const cases = {} as Record<"nano" | "grey", Case>;
beforeAll(async () => {
  cases.nano = await loadCase("nano");
  cases.grey = await loadCase("grey");
});

async function open(one: Case, on: Gpu = gpu(), options: Partial<{ recompute: boolean; lossScale: number; thin: boolean }> = {}) {
  const { recompute = false, lossScale = 1, thin = false } = options;
  const channels = one.config.in_channels;
  const vgg = thin ? new HashedWeights(vggShapes(channels, THIN), 1) : await openVgg(one.vgg, channels);
  const task = await StylizingTask.create(on, one.config, vgg, {
    ...{ terms, batch: one.batch, recompute, lossScale, stages: thin ? THIN : VGG_STAGES },
  });
  const constants = { ...ADAMW, weightDecay: 1e-2 };
  const device = await TrainingDevice.create(on, task, { largest: separate(one.batch), clip: 1, constants });
  device.writeWeights(one.weights);
  return device;
}

/** |a - b| / |b| over a tensor. */
function normError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, x) => sum + x * x, 0));

/**
 * A bias of the keys moves all scores of a query alike, which softmax does not see: its true gradient is zero, and what either
 * side gets is rounding. It is held to be small, beside the gradients' norm.
 */
const isZero = (key: string) => key.endsWith("k_proj.bias");

async function gradientsOf(
  device: TrainingDevice<BatchShape>,
  batches: readonly (readonly [BatchShape, Float32Array])[],
): Promise<Gradients> {
  await device.clear();
  for (const [shape, planes] of batches) await device.run(shape, planes, true);
  const losses = await device.losses();
  await device.unfold();
  return { losses, gradients: await device.gradients() };
}

interface Gradients {
  losses: LossSums;
  gradients: Map<string, Float32Array>;
}

/** What PyTorch got in the first step. */
const inPyTorch = ({ steps, tensors }: Case): Gradients => ({
  losses: Object.fromEntries(LOSS_TERMS.map((term) => [term, steps[0]![term]])),
  gradients: new Map([...tensors].flatMap(([key, values]) => (key.startsWith("gradient.") ? [[key.slice(9), values]] : []))),
});

function checkGradients(one: Case, { losses, gradients }: Gradients, expected = inPyTorch(one)) {
  const whole = Math.hypot(...[...expected.gradients.values()].map(norm));
  for (const term of LOSS_TERMS) expect(Math.abs(losses[term]! / expected.losses[term]! - 1), term).toBeLessThan(1e-4);
  expect(gradients.size).toBe(parameterShapes(one.config).size);
  for (const [key, gradient] of gradients) {
    if (isZero(key)) expect(norm(gradient), key).toBeLessThan(1e-6 * whole);
    else expect(normError(gradient, expected.gradients.get(key)!), key).toBeLessThan(1e-3);
  }
}

/** Losses and gradients of the first step with a thin VGG-19, as they are for PyTorch's: what others must give whatever their way. */
async function thinGradients(one: Case): Promise<Gradients> {
  const device = await open(one, gpu(), { thin: true });
  const result = await gradientsOf(device, [[rolled(one.batch, one.batch), one.images(0)]]);
  device.dispose();
  return result;
}

describe.each(["nano", "grey"] as const)("%s", (name) => {
  it("gives PyTorch's losses and gradients, every image's stream computed once", async () => {
    const one = cases[name];
    const device = await open(one);
    checkGradients(one, await gradientsOf(device, [[rolled(one.batch, one.batch), one.images(0)]]));
    device.dispose();
  });
});

describe("grey", () => {
  it("gives the same with the kernels of GPUs, GEMMs cut into bands and split-K", async () => {
    const one = cases.grey;
    const { device: underneath, facts, profile } = gpu();
    const on = new Gpu(underneath, facts, hardwareProfile(profile), false);
    on.flopsPerDispatch = 1e6;
    const device = await open(one, on, { thin: true });
    const program = await device.bound(rolled(2, 2), true);
    const labels = program.dispatches.map(({ label }) => label);
    expect(labels.some((label) => label.startsWith("sum_slices"))).toBe(true);
    expect(labels.filter((label) => label.includes("linear_windows")).length).toBeGreaterThan(100);
    expect(labels.some((label) => label.includes("quad"))).toBe(false);
    checkGradients(one, await gradientsOf(device, [[rolled(2, 2), one.images(0)]]), await thinGradients(one));
    await device.limitDispatches(rolled(1, 1));
    expect(on.flopsPerDispatch).toBeGreaterThan(1e6);
    expect(on.flopsPerDispatch).toBeLessThan(1e12);
    device.dispose();
    on.dispose();
  });
});

describe("nano", () => {
  it("gives the same whatever is computed twice: separate styles, parts of a batch, recomputed layers", async () => {
    const one = cases.nano;
    const planes = one.images(0);
    const each = planes.length / 3;
    const image = (i: number) => planes.subarray((i % 3) * each, ((i % 3) + 1) * each);
    const join = (...parts: Float32Array[]) => Float32Array.from(parts.flatMap((part) => [...part]));
    const expected = await thinGradients(one);
    const device = await open(one, gpu(), { recompute: true, thin: true });
    const styles = join(image(1), image(2), image(0));
    checkGradients(one, await gradientsOf(device, [[separate(3), join(planes, styles)]]), expected);
    // Two pairs and the style of the second, then one pair.
    checkGradients(
      one,
      await gradientsOf(device, [
        [rolled(2, 3), planes],
        [rolled(1, 3), join(image(2), image(0))],
      ]),
      expected,
    );
    device.dispose();
  });

  /**
   * What rounding to float16 costs here is mostly a matter of kinks: ReLUs and poolings of VGG-19 that choose otherwise. PyTorch with
   * operands and results of its GEMMs rounded to float16, gradients scaled alike, is off by these in the same place.
   */
  it.each([
    ["encoder.cls_token", 0.149],
    ["encoder.blocks.0.mlp.fc1.weight", 0.1316],
    ["encoder.blocks.1.mlp.fc2.weight", 0.0458],
    ["encoder.norm.weight", 0.01825],
    ["bottleneck.fc2.weight", 0.0654],
    ["post_process_conv.weight", 0.0518],
  ])("in float16 is off by no more than twice a naive run: %s", async (key, naive) => {
    inFloat16 ??= (async () => {
      const one = cases.nano;
      const device = await open(one, inTier(gpu(), "f16"), { lossScale: 3 * 1024 });
      const result = await gradientsOf(device, [[rolled(3, 3), one.images(0)]]);
      device.dispose();
      return result;
    })();
    const { losses, gradients } = await inFloat16;
    for (const term of LOSS_TERMS) expect(Math.abs(losses[term]! / cases.nano.steps[0]![term] - 1), term).toBeLessThan(2e-3);
    const error = normError(gradients.get(key)!, cases.nano.tensors.get(`gradient.${key}`)!);
    expect(error).toBeLessThan(2 * naive);
    // Were it much less, these would not be float16.
    expect(error).toBeGreaterThan(naive / 10);
  });
});

let inFloat16: Promise<Gradients> | undefined;

async function fourSteps(one: Case) {
  const device = await open(one);
  const reports = [];
  for (let step = 0; step < 4; step++) {
    await device.clear();
    await device.run(rolled(one.batch, one.batch), one.images(step), true);
    await device.unfold();
    await device.update(one.lr);
    reports.push(await device.report());
  }
  const { parameters } = await device.readState();
  device.dispose();
  const errors = reports.map(({ losses, gradientNorm }, step) => ({
    losses: Math.max(...LOSS_TERMS.map((term) => Math.abs(losses[term]! / one.steps[step]![term] - 1))),
    norm: Math.abs(gradientNorm / one.steps[step]!.gradient_norm - 1),
  }));
  const weights = Math.max(...[...parameters].map(([key, values]) => normError(values, one.tensors.get(`after.${key}`)!)));
  return { errors, weights };
}

describe("four steps of AdamW", () => {
  it("grey ends where PyTorch does", async () => {
    const { errors, weights } = await fourSteps(cases.grey);
    for (const [step, { losses, norm }] of errors.entries()) {
      expect(losses, `losses of step ${step}`).toBeLessThan(1e-3);
      expect(norm, `gradient norm of step ${step}`).toBeLessThan(1e-3);
    }
    expect(weights).toBeLessThan(1e-3);
  });

  /**
   * This case is unstable after its second step: the reference in float64 is off from its own float32 results by 3.5e-3 in losses, 9e-3 in
   * norms and 4.1e-3 in weights at the end, and with weights that differ by 1e-7 at the start by 1.7e-2, 3.3e-2 and 9.7e-3. So
   * two steps are held tightly, and the end to what float64 itself makes of a difference in the last digit.
   */
  it("nano does for two steps, and then stays as near as float64 to itself", async () => {
    const { errors, weights } = await fourSteps(cases.nano);
    for (const [step, { losses, norm }] of errors.slice(0, 2).entries()) {
      expect(losses, `losses of step ${step}`).toBeLessThan(1e-3);
      expect(norm, `gradient norm of step ${step}`).toBeLessThan(1e-3);
    }
    for (const [step, { losses, norm }] of errors.entries()) {
      expect(losses, `losses of step ${step}`).toBeLessThan(2e-2);
      expect(norm, `gradient norm of step ${step}`).toBeLessThan(6e-2);
    }
    expect(weights).toBeLessThan(1e-2);
  });
});
