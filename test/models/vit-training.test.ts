import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { Gpu } from "../../src/gpu/gpu.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { parseVitConfig, type VitConfig } from "../../src/models/vit/config.js";
import { type DecayRule, decays } from "../../src/models/vit/parameters.js";
import { VitTask } from "../../src/models/vit/task.js";
import { TrainingDevice } from "../../src/train/device.js";
import { ADAMW } from "../../src/train/types.js";
import { goldenFolder } from "../support/fixtures.js";
import { gpuOfThisFile, hardwareProfile } from "../support/gpu.js";
import { SLOW } from "../support/slow.js";

/** Loss, gradients and four steps against PyTorch: AdamW for `vit-nano`, Adam with L2 decay, smoothing and class weights for `vit-grey`. */
const gpu = gpuOfThisFile();

interface Case {
  config: VitConfig;
  batch: number;
  optimizer: { kind: "adam" | "adamw"; lr: number; weight_decay: number; decay: DecayRule; clip: number };
  steps: { loss: number; gradient_norm: number }[];
  weights: Map<string, Float32Array>;
  tensors: Map<string, Float32Array>;
  pixels: Float32Array[];
  labels: number[][];
}

async function readAll(path: string, of = (_key: string) => true): Promise<Map<string, Float32Array>> {
  await using file = await SafetensorsFile.open(path);
  const tensors = new Map<string, Float32Array>();
  for (const [key, { dtype }] of file.tensors) if (dtype === "F32" && of(key)) tensors.set(key, await file.read(key));
  return tensors;
}

async function loadCase(folder: string): Promise<Case> {
  const info = JSON.parse(readFileSync(join(folder, "training.json"), "utf8"));
  const tensors = await readAll(join(folder, "training.safetensors"));
  await using file = await SafetensorsFile.open(join(folder, "training.safetensors"));
  const names = (what: string) => [what, ...[1, 2, 3].map((step) => `${what}.${step}`)];
  const first = await readAll(join(folder, "case.safetensors"));
  const pixels = names("pixels").map((name) => tensors.get(name) ?? first.get(name)!);
  await using start = await SafetensorsFile.open(join(folder, "case.safetensors"));
  const labels: number[][] = [];
  for (const name of names("labels")) labels.push(await (file.tensors.has(name) ? file : start).readIntegers(name));
  return {
    ...info,
    config: parseVitConfig(info.config, folder),
    weights: await readAll(join(folder, info.weights)),
    tensors,
    pixels,
    labels,
  };
}

/** |actual - expected| / |expected|, as norms. */
function relative(actual: ArrayLike<number>, expected: ArrayLike<number>, of = (_: number) => true): number {
  let [error, norm] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    if (!of(i)) continue;
    error += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(error / norm);
}

const open = (one: Case, on: Gpu, { recompute = false } = {}) => {
  const { optimizer, batch, config } = one;
  const terms = [{ name: "crossEntropy", weight: 1 }];
  const task = new VitTask(on, config, { terms, batch, recompute, recipe: { decay: optimizer.decay }, lossScale: 1 });
  return TrainingDevice.create(on, task, {
    largest: { images: batch },
    constants: { ...ADAMW, weightDecay: optimizer.weight_decay, decoupled: optimizer.kind === "adamw" },
    clip: optimizer.clip,
    tune: "off",
  });
};

describe.each(["vit-nano", "vit-grey"])("%s", (name) => {
  const folder = goldenFolder(name);
  let one: Case;
  beforeAll(async () => {
    if (folder) one = await loadCase(folder);
  });

  const ways: readonly (readonly [string, boolean, boolean])[] = [
    ["software kernels", false, false],
    ["GPU kernels", true, false],
    ["activation checkpointing", false, true],
  ];
  // Each way with one of the two, the first with both.
  const fast = name === "vit-nano" ? ways.slice(0, 2) : [ways[0]!, ways[2]!];
  describe.each(SLOW ? ways : fast)("%s", (_, hardware, recompute) => {
    it.skipIf(!folder)("meets PyTorch in loss, gradients, their norm and parameters after four steps", async () => {
      const { profile, device, facts } = gpu();
      const on = new Gpu(device, facts, hardware ? hardwareProfile(profile) : profile, false);
      const training = await open(one, on, { recompute });
      const task = training.task as VitTask;
      try {
        training.writeWeights(one.weights);
        for (const [step, { loss, gradient_norm }] of one.steps.entries()) {
          await training.clear();
          const shape = { images: one.batch };
          await training.run(shape, one.pixels[step]!, true, task.beside(one.labels[step]!, { ...shape, first: 0 }));
          await training.unfold();
          if (step === 0) {
            for (const [key, values] of await training.gradients()) {
              const expected = one.tensors.get(`gradient.${key}`)!;
              // Keys' biases have no gradient but rounding: the tensor as a whole is what counts.
              expect(relative(values, expected), `gradient of ${key}`).toBeLessThanOrEqual(1e-3);
            }
          }
          await training.update(one.optimizer.lr);
          const report = await training.report();
          expect(Math.abs(report.losses.crossEntropy! / loss - 1), `loss of step ${step}`).toBeLessThanOrEqual(1e-4);
          expect(Math.abs(report.gradientNorm / gradient_norm - 1), `norm of step ${step}`).toBeLessThanOrEqual(1e-3);
        }
        const { parameters } = await training.readState();
        const third = one.config.embed_dim;
        for (const [key, values] of parameters) {
          const keys = (i: number) => !(key.endsWith("attn.qkv.bias") && i >= third && i < 2 * third);
          expect(relative(values, one.tensors.get(`after.${key}`)!, keys), `${key} after four steps`).toBeLessThanOrEqual(2e-4);
        }
      } finally {
        training.dispose();
      }
    });
  });
});

it("decay spares biases and norms, and with timm's rule CLS and positions", () => {
  const of = (key: string, shape: number[]) => (["all", "matrices", "timm"] as const).map((rule) => decays({ key, shape }, rule));
  expect(of("blocks.0.attn.qkv.weight", [9, 3])).toEqual([true, true, true]);
  expect(of("blocks.0.norm1.weight", [3])).toEqual([true, false, false]);
  expect(of("blocks.0.mlp.fc1.bias", [3])).toEqual([true, false, false]);
  expect(of("cls_token", [1, 1, 3])).toEqual([true, true, false]);
  expect(of("pos_embed", [1, 5, 3])).toEqual([true, true, false]);
  expect(of("patch_embed.proj.weight", [3, 1, 2, 2])).toEqual([true, true, true]);
});
