import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Gpu } from "../src/gpu/gpu.js";
import type { Tier } from "../src/gpu/profile.js";
import { SafetensorsFile } from "../src/hub/safetensors.js";
import { findModel } from "../src/models/open.js";
import { type BatchShape, rolled } from "../src/models/stylizing-vit/batch-shape.js";
import type { ModelConfig } from "../src/models/stylizing-vit/config.js";
import { LOSS_NAMES, type Losses } from "../src/models/stylizing-vit/losses.js";
import { parameterShapes } from "../src/models/stylizing-vit/parameters.js";
import { StylizingTask, stylizing } from "../src/models/stylizing-vit/task.js";
import { openVgg } from "../src/models/vgg/weights.js";
import { TrainingDevice } from "../src/train/device.js";
import { computeGradients } from "../src/train/gradients.js";
import { ADAMW } from "../src/train/types.js";
import type { Report } from "./report.js";

/** Random convolutions cost what trained ones do. */
export const VGG_SOURCE = "hashed:1";
export const LEARNING_RATE = 1e-3;

/**
 * Relative error of a loss, and of a tensor of gradients as a norm. A naive 16-bit run of PyTorch is off by up to 0.15 in such
 * a norm, and twice that is allowed.
 */
const BOUNDS: Readonly<Record<Tier, { losses: number; gradients: number }>> = {
  f32: { losses: 1e-4, gradients: 1e-3 },
  f16: { losses: 2e-2, gradients: 0.3 },
  matrix: { losses: 2e-2, gradients: 0.3 },
};
/** A key's bias moves all scores of a query alike, which softmax does not see: what is there in place of zero is rounding. */
const WITHOUT_GRADIENT = /\.attn\.k_proj\.bias$/;

/** The published recipe's terms, for whole batches of so many pairs. */
async function createTask(gpu: Gpu, config: ModelConfig, batch: number, recompute = false): Promise<StylizingTask> {
  await using vgg = await openVgg(VGG_SOURCE, config.in_channels);
  return await StylizingTask.create(gpu, config, vgg, { terms: stylizing.terms, batch, recompute });
}

/** The published recipe for whole batches of so many pairs. */
export async function createDevice(
  gpu: Gpu,
  config: ModelConfig,
  batch: number,
  recompute = false,
): Promise<TrainingDevice<BatchShape>> {
  const task = await createTask(gpu, config, batch, recompute);
  return TrainingDevice.create(gpu, task, {
    largest: rolled(batch, batch),
    clip: 1,
    constants: { ...ADAMW, weightDecay: 1e-2 },
  });
}

/** |actual - expected| / |expected| as norms; infinite where a value is not a number. */
export function normError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  const error = Math.sqrt(difference / norm);
  return Number.isNaN(error) || actual.length !== expected.length ? Number.POSITIVE_INFINITY : error;
}

/** Largest relative error of the four terms. */
export const lossError = (actual: Readonly<Record<string, number>>, expected: Losses): number =>
  Math.max(...LOSS_NAMES.map((term) => normError([actual[term] ?? Number.NaN], [expected[term]])));

/** Losses and all gradients of the small golden case against PyTorch's: without them no training is timed. */
export async function checkTraining(gpu: Gpu, report: Report, root: string): Promise<boolean> {
  const folder = join(root, "test", "fixtures", "nano");
  const { config, steps } = JSON.parse(await readFile(join(folder, "training.json"), "utf8")) as {
    config: ModelConfig;
    steps: Losses[];
  };
  const model = await findModel(join(folder, "weights.safetensors"), { config });
  await using source = await model.open();
  await using golden = await SafetensorsFile.open(join(folder, "training.safetensors"));
  const weights = new Map<string, Float32Array>();
  for (const key of parameterShapes(config).keys()) weights.set(key, await source.read(key));
  const images = await golden.read("images");
  const batch = images.length / (config.in_channels * config.image_size ** 2);
  const shape = rolled(batch, batch);
  const task = await createTask(gpu, config, batch);
  const found = await computeGradients(gpu, task, weights, shape, [{ shape, planes: images }]);
  const losses = lossError(found.losses, steps[0]!);
  let worst = { key: "", error: 0 };
  for (const [key, values] of found.gradients) {
    if (WITHOUT_GRADIENT.test(key)) continue;
    const error = normError(values, await golden.read(`gradient.${key}`));
    if (!(error <= worst.error)) worst = { key, error };
  }
  const allowed = BOUNDS[gpu.profile.tier];
  const told = `losses off by ${losses.toExponential(1)}, gradients by at most ${worst.error.toExponential(1)} (${worst.key})`;
  if (losses <= allowed.losses && worst.error <= allowed.gradients) {
    report.line(`golden case nano: ${told}`);
    return true;
  }
  report.fail("training", `golden case nano: ${told}; ${allowed.losses} and ${allowed.gradients} are allowed`);
  return false;
}
