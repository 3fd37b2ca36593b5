import { beforeEach, describe, expect, it } from "vitest";
import { VitEngine } from "../../src/classifier/engine.js";
import type { Gpu } from "../../src/gpu/gpu.js";
import { parseVitConfig, type VitConfig } from "../../src/models/vit/config.js";
import { vitShapes } from "../../src/models/vit/parameters.js";
import { VitTask } from "../../src/models/vit/task.js";
import { TrainingDevice } from "../../src/train/device.js";
import { ADAMW } from "../../src/train/types.js";
import { nullGpuAs } from "../support/gpu.js";
import { type Capture, capture } from "./capture.js";
import { FEW_FLOPS, PROFILES, Recording, zeros } from "./recording.js";

/** The classifier's programs: see recording.ts. */
const recording = new Recording("vit-fingerprints");

const statistics = { mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2] };
const SHAPES: [string, VitConfig][] = [
  [
    "nano",
    parseVitConfig({ image_size: 32, patch_size: 8, embed_dim: 96, depth: 2, num_heads: 3, num_classes: 5, ...statistics }, ""),
  ],
  [
    "grey",
    parseVitConfig(
      {
        ...{ image_size: 42, patch_size: 7, in_channels: 1, embed_dim: 60, depth: 2, num_heads: 4, mlp_ratio: 3, num_classes: 3 },
        ...{ qkv_bias: false, mean: [0.5], std: [0.2], label_smoothing: 0.1, class_weights: [0.5, 1, 2] },
      },
      "",
    ),
  ],
  [
    "one layer",
    parseVitConfig({ image_size: 16, patch_size: 16, embed_dim: 48, depth: 1, num_heads: 3, num_classes: 2, ...statistics }, ""),
  ],
];

async function classify(gpu: Gpu, seen: Capture, name: string, config: VitConfig): Promise<void> {
  const engine = await VitEngine.create(gpu, config, zeros(vitShapes(config)));
  seen.take();
  const { image_size: side, patch_size: patch, in_channels: channels } = config;
  const jobs = {
    classes: { input: "bytes", height: side, width: side },
    attention: { input: "floats", height: side, width: side, attention: true },
    everything: { input: "planes", height: side, width: side + patch, attention: true, tokens: true },
  } as const;
  try {
    for (const [what, job] of Object.entries(jobs)) {
      const count = 3 * channels * job.height * job.width;
      await engine.run({ ...job, images: 3, pixels: job.input === "bytes" ? new Uint8Array(count) : new Float32Array(count) });
      recording.check(`${name} ${what}`, seen);
    }
  } finally {
    engine.dispose();
  }
}

async function train(gpu: Gpu, seen: Capture, name: string, config: VitConfig, recompute: boolean): Promise<void> {
  const recipe = { decay: "timm", dropPath: 0.1, seed: 1 } as const;
  const terms = [{ name: "crossEntropy", weight: 1 }];
  const task = new VitTask(gpu, config, { terms, batch: 3, recompute, recipe });
  const device = await TrainingDevice.create(gpu, task, {
    ...{ largest: { images: 3 }, constants: { ...ADAMW, weightDecay: 0.1, decoupled: false }, clip: 1, tune: "off" as const },
  });
  try {
    const weights = new Map<string, Float32Array>();
    for (const [key, shape] of vitShapes(config)) weights.set(key, new Float32Array(shape.reduce((a, b) => a * b, 1)));
    device.writeWeights(weights);
    seen.take();
    const bytes = new Uint8Array(3 * config.in_channels * config.image_size ** 2);
    for (const { shape, images, beside } of task.split(bytes, 3, { labels: Uint32Array.of(0, 1, 1), step: 0 }))
      await device.run(shape, images, true, beside);
    recording.check(`${name} step`, seen);
    await device.unfold();
    recording.check(`${name} unfold`, seen);
    await device.update(1e-3);
    recording.check(`${name} update`, seen);
    for (const { shape, images, beside } of task.split(bytes, 3, { labels: Uint32Array.of(0, 1, 1) }))
      await device.run(shape, images, false, beside);
    recording.check(`${name} judged`, seen);
  } finally {
    device.dispose();
  }
}

describe.each(PROFILES)("the programs of a classifier, %s", (profile, tier, software) => {
  let gpu: Gpu;
  let seen: Capture;
  beforeEach(async () => {
    gpu = await nullGpuAs(tier, software, true);
    seen = capture(gpu.device);
    return () => gpu.dispose();
  });

  it.each(SHAPES)("%s, forward", (shape, config) => classify(gpu, seen, `${profile}, ${shape}`, config));

  it.each(SHAPES)("%s, trained", async (shape, config) => {
    await train(gpu, seen, `${profile}, training ${shape}`, config, false);
    await train(gpu, seen, `${profile}, training ${shape} recomputed`, config, true);
  });

  it("cut where dispatches would run for long", async () => {
    gpu.flopsPerDispatch = FEW_FLOPS;
    await classify(gpu, seen, `${profile}, nano, cut`, SHAPES[0]![1]);
    await train(gpu, seen, `${profile}, training nano, cut`, SHAPES[0]![1], false);
    expect(gpu.flopsPerDispatch).toBe(FEW_FLOPS);
  });
});

it("every recorded program was met", () => recording.end());
