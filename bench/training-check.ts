import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Gpu } from "../src/gpu/gpu.js";
import type { Tier } from "../src/gpu/profile.js";
import { SafetensorsFile } from "../src/hub/safetensors.js";
import { type ModelConfig, parameterShapes } from "../src/model/config.js";
import { findModel } from "../src/model/open.js";
import { rolled } from "../src/train/batch-shape.js";
import { lossScaleOf, TrainingDevice } from "../src/train/device.js";
import { ADAMW, LOSS_TERMS, LOSS_WEIGHTS, type Losses } from "../src/train/types.js";
import { openVgg } from "../src/train/vgg-weights.js";
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

/** The published recipe for whole batches of so many pairs. */
export async function createDevice(gpu: Gpu, config: ModelConfig, batch: number, recompute = false): Promise<TrainingDevice> {
  await using vgg = await openVgg(VGG_SOURCE, config.in_channels);
  return await TrainingDevice.create(gpu, config, {
    uniques: batch,
    pairs: batch,
    recompute,
    weights: LOSS_WEIGHTS,
    lossScale: lossScaleOf(gpu, batch),
    vgg,
    clip: 1,
    adamW: { ...ADAMW, weightDecay: 1e-2 },
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
export const lossError = (actual: Losses, expected: Losses): number =>
  Math.max(...LOSS_TERMS.map((term) => normError([actual[term]], [expected[term]])));

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
  const device = await createDevice(gpu, config, batch);
  try {
    device.writeWeights(weights);
    device.clear();
    await device.run(rolled(batch, batch), images, true);
    const losses = lossError(await device.losses(), steps[0]!);
    device.unfold();
    let worst = { key: "", error: 0 };
    for (const [key, values] of await device.gradients()) {
      if (WITHOUT_GRADIENT.test(key)) continue;
      const error = normError(values, await golden.read(`gradient.${key}`));
      if (!(error <= worst.error)) worst = { key, error };
    }
    const allowed = BOUNDS[gpu.profile.tier];
    const found = `losses off by ${losses.toExponential(1)}, gradients by at most ${worst.error.toExponential(1)} (${worst.key})`;
    if (losses <= allowed.losses && worst.error <= allowed.gradients) {
      report.line(`golden case nano: ${found}`);
      return true;
    }
    report.fail("training", `golden case nano: ${found}; ${allowed.losses} and ${allowed.gradients} are allowed`);
    return false;
  } finally {
    device.dispose();
  }
}
