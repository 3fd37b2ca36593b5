import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import { HashedWeights } from "../../src/hub/hashed.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { type BatchShape, rolled, separate } from "../../src/models/stylizing-vit/batch-shape.js";
import { type ModelConfig, parseConfig } from "../../src/models/stylizing-vit/config.js";
import { LOSS_NAMES as LOSS_TERMS, type Losses } from "../../src/models/stylizing-vit/losses.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { StylizingTask } from "../../src/models/stylizing-vit/task.js";
import { openVgg, VGG_STAGES, vggShapes } from "../../src/models/vgg/weights.js";
import { TrainingDevice } from "../../src/train/device.js";
import { ADAMW, type LossSums } from "../../src/train/types.js";
import { hashedImages } from "./images.js";
import { THIN, terms } from "./thin.js";

/**
 * Losses, gradients and steps against PyTorch. `nano` is the reference's own case; `grey` is made with the reference in float64: one
 * channel, no biases for query, key and value, heads of ten, 93 hidden units, another kernel size.
 */
export interface Case {
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

export async function loadCase(name: string): Promise<Case> {
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

export async function open(one: Case, on: Gpu, options: Partial<{ recompute: boolean; lossScale: number; thin: boolean }> = {}) {
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
export function normError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
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
export const isZero = (key: string) => key.endsWith("k_proj.bias");

export async function gradientsOf(
  device: TrainingDevice<BatchShape>,
  batches: readonly (readonly [BatchShape, Float32Array])[],
): Promise<Gradients> {
  await device.clear();
  for (const [shape, planes] of batches) await device.run(shape, planes, true);
  const losses = await device.losses();
  await device.unfold();
  return { losses, gradients: await device.gradients() };
}

export interface Gradients {
  losses: LossSums;
  gradients: Map<string, Float32Array>;
}

/** What PyTorch got in the first step. */
const inPyTorch = ({ steps, tensors }: Case): Gradients => ({
  losses: Object.fromEntries(LOSS_TERMS.map((term) => [term, steps[0]![term]])),
  gradients: new Map([...tensors].flatMap(([key, values]) => (key.startsWith("gradient.") ? [[key.slice(9), values]] : []))),
});

export function checkGradients(one: Case, { losses, gradients }: Gradients, expected = inPyTorch(one)) {
  const whole = Math.hypot(...[...expected.gradients.values()].map(norm));
  for (const term of LOSS_TERMS) expect(Math.abs(losses[term]! / expected.losses[term]! - 1), term).toBeLessThan(1e-4);
  expect(gradients.size).toBe(parameterShapes(one.config).size);
  for (const [key, gradient] of gradients) {
    if (isZero(key)) expect(norm(gradient), key).toBeLessThan(1e-6 * whole);
    else expect(normError(gradient, expected.gradients.get(key)!), key).toBeLessThan(1e-3);
  }
}

/** Four steps, of whose first the gradients are checked on the way. */
export async function fourSteps(one: Case, on: Gpu) {
  const device = await open(one, on);
  const reports = [];
  for (let step = 0; step < 4; step++) {
    await device.clear();
    await device.run(rolled(one.batch, one.batch), one.images(step), true);
    await device.unfold();
    if (step === 0) checkGradients(one, { losses: await device.losses(), gradients: await device.gradients() });
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

/** Losses and gradients of the first step with a thin VGG-19, as they are for PyTorch's: what others must give whatever their way. */
export async function thinGradients(one: Case, on: Gpu, lossScale = 1): Promise<Gradients> {
  const device = await open(one, on, { thin: true, lossScale });
  const result = await gradientsOf(device, [[rolled(one.batch, one.batch), one.images(0)]]);
  device.dispose();
  return result;
}
