import type { Gpu } from "../gpu/gpu.js";
import type { Inputs, Task } from "../models/task.js";
import { TrainingDevice } from "./device.js";
import { ADAMW, type LossSums } from "./types.js";

export interface Gradients {
  /** The loss terms, unweighted. */
  losses: LossSums;
  /** Of the weighted total, by published key and in published shapes. */
  gradients: Map<string, Float32Array>;
}

/**
 * Losses and gradients of a batch, for parity.
 * @param task disposed of in the end
 * @param weights by published key
 * @param largest a shape that is at least as large as any part
 * @param parts of the batch: planes [images, C, S, S], normalised
 * @throws StylizingError `CHECKPOINT`, `GPU` or `DEVICE_LOST`
 */
export async function computeGradients<Shape>(
  gpu: Gpu,
  task: Task<Shape>,
  weights: ReadonlyMap<string, Float32Array>,
  largest: Shape,
  parts: Iterable<{ shape: Shape; planes: Float32Array; beside?: Inputs }>,
): Promise<Gradients> {
  const options = { largest, constants: { ...ADAMW, weightDecay: 0 }, clip: Number.POSITIVE_INFINITY };
  const device = await TrainingDevice.create(gpu, task, options);
  try {
    device.writeWeights(weights);
    await device.clear();
    for (const { shape, planes, beside } of parts) await device.run(shape, planes, true, beside);
    const losses = await device.losses();
    await device.unfold();
    return { losses, gradients: await device.gradients() };
  } finally {
    device.dispose();
  }
}
