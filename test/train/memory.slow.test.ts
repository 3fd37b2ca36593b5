import { afterAll, beforeAll, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import { presetConfig } from "../../src/models/stylizing-vit/config.js";
import { modelParameters } from "../../src/models/stylizing-vit/parameters.js";
import { createTrainingEngine } from "../../src/train/engine.js";
import { nullGpu } from "../support/gpu.js";
import { openTask, terms } from "./thin.js";

// On Dawn's null backend, which takes everything and executes nothing: what grows without bound is on the host's side of a step.
let gpu: Gpu;
beforeAll(async () => {
  gpu = await nullGpu("f32");
});
afterAll(() => gpu.dispose());

it("five hundred steps take no more memory than the first fifty", async () => {
  const config = {
    ...presetConfig("tiny"),
    image_size: 32,
    patch_size: 8,
    embed_dim: 48,
    depth: 2,
    num_heads: 3,
    mean: [0.5, 0.5, 0.5],
    std: [0.2, 0.2, 0.2],
  };
  await using engine = await createTrainingEngine(gpu, config, openTask(), {
    batch: 5,
    microBatch: 2,
    initial: modelParameters(config).parameters.initial(1),
    terms,
    clip: 1,
    weightDecay: 1e-2,
    recompute: true,
  });
  const images = new Uint8Array(5 * 32 * 32 * 3);
  let bytes = 0;
  let resident = 0;
  for (let step = 1; step <= 500; step++) {
    await engine.step(images, 1e-4);
    if (step % 50 === 0) await engine.evaluate(images);
    if (step !== 50) continue;
    bytes = gpu.allocatedBytes;
    resident = process.memoryUsage.rss();
  }
  expect(gpu.allocatedBytes).toBe(bytes);
  expect(process.memoryUsage.rss() - resident).toBeLessThan(40e6);
});
