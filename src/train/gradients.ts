import type { Gpu } from "../gpu/gpu.js";
import type { WeightSource } from "../hub/weight-source.js";
import { type ModelConfig, parameterShapes } from "../model/config.js";
import { separate } from "./batch-shape.js";
import { TrainingDevice } from "./device.js";
import { ADAMW, LOSS_WEIGHTS, type Losses } from "./types.js";

export interface Gradients {
  /** The four terms, unweighted. */
  losses: Losses;
  /** Of the weighted total, by published key and in published shapes. */
  gradients: Map<string, Float32Array>;
}

export interface GradientOptions {
  weights?: Losses;
  /** Pairs on the device at a time; by default as the device's kind suggests. */
  microBatch?: number | undefined;
  recompute?: boolean;
}

/** Pairs at a time where none are asked for. */
const MICRO_BATCH = 4;

/**
 * Losses and gradients of pairs of pictures, for parity.
 * @param content [pairs, C, S, S], normalised, as is `style`
 * @throws StylizingError `CONFIG`, `CHECKPOINT`, `GPU` or `DEVICE_LOST`
 */
export async function computeGradients(
  gpu: Gpu,
  config: ModelConfig,
  model: WeightSource,
  vgg: WeightSource,
  { pairs, content, style }: { pairs: number; content: Float32Array; style: Float32Array },
  { weights = LOSS_WEIGHTS, microBatch = MICRO_BATCH, recompute = false }: GradientOptions = {},
): Promise<Gradients> {
  const most = Math.min(pairs, microBatch);
  const device = await TrainingDevice.create(gpu, config, {
    uniques: 2 * most,
    pairs: most,
    recompute,
    weights,
    lossScale: 1,
    vgg,
    clip: Number.POSITIVE_INFINITY,
    adamW: { ...ADAMW, weightDecay: 0 },
  });
  try {
    const initial = new Map<string, Float32Array>();
    for (const key of parameterShapes(config).keys()) initial.set(key, await model.read(key));
    device.writeWeights(initial);
    device.clear();
    const each = config.in_channels * config.image_size ** 2;
    for (let first = 0; first < pairs; first += most) {
      const count = Math.min(most, pairs - first);
      const planes = new Float32Array(2 * count * each);
      planes.set(content.subarray(first * each, (first + count) * each));
      planes.set(style.subarray(first * each, (first + count) * each), count * each);
      await device.run(separate(count, pairs), planes, true);
    }
    const losses = await device.losses();
    device.unfold();
    return { losses, gradients: await device.gradients() };
  } finally {
    device.dispose();
  }
}
