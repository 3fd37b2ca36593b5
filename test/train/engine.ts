/** What the fast and the slow tests of the training engine share. */
import { expect } from "vitest";
import { type Gpu, openGpu } from "../../src/gpu/gpu.js";
import { presetConfig } from "../../src/models/stylizing-vit/config.js";
import { modelParameters } from "../../src/models/stylizing-vit/parameters.js";
import { createTrainingEngine, type TrainingEngineOptions } from "../../src/train/engine.js";
import { Random } from "../support/random.js";
import { openTask, terms } from "./thin.js";

export const config = {
  ...presetConfig("tiny"),
  image_size: 32,
  patch_size: 8,
  embed_dim: 48,
  depth: 2,
  num_heads: 2,
  mean: [0.6, 0.45, 0.65],
  std: [0.2, 0.21, 0.18],
};

/** Smooth images, so that rounding to bytes is all that is lost of them. */
export function smoothImages(count: number, seed = "pictures"): Uint8Array {
  const random = new Random(seed);
  return Uint8Array.from({ length: count * 32 * 32 * 3 }, (_, at) => {
    const x = Math.floor(at / 3) % 32;
    const wave = 60 * Math.sin(x / 5 + (at % 3) + Math.floor(at / 3072));
    return Math.max(0, Math.min(255, Math.round(140 + wave + random.uniform(-20, 20))));
  });
}

export async function openEngine(on: Gpu, options: Partial<TrainingEngineOptions> = {}) {
  return createTrainingEngine(on, config, openTask(), {
    batch: 3,
    initial: modelParameters(config).parameters.initial(1),
    terms,
    clip: 1,
    weightDecay: 1e-2,
    recompute: false,
    ...options,
  });
}

/** A device of its own that is destroyed while the engine is at something. */
export async function losesItsDevice(when: "a step" | "a report" | "a state"): Promise<void> {
  const own = await openGpu({ adapter: "software", precision: "f32" });
  const engine = await openEngine(own, { batch: 1 });
  await engine.step(smoothImages(1), 1e-3);
  const pending =
    when === "a report" ? engine.report() : when === "a state" ? engine.readState() : engine.step(smoothImages(1), 1e-3);
  own.device.destroy();
  await Promise.allSettled([pending]);
  await expect(engine.step(smoothImages(1), 1e-3), when).rejects.toMatchObject({ code: "DEVICE_LOST" });
  if (when !== "a step") await expect(pending, when).rejects.toMatchObject({ code: "DEVICE_LOST" });
  await engine[Symbol.asyncDispose]();
  own.dispose();
}
