import type { Command } from "commander";
import { adapterReport, type Gpu } from "../gpu/gpu.js";
import { type TensorToWrite, writeSafetensors } from "../hub/safetensors-writer.js";
import type { WeightSource } from "../hub/weight-source.js";
import { openDevice } from "../models/device.js";
import { findModel } from "../models/open.js";
import { type BatchShape, separate } from "../models/stylizing-vit/batch-shape.js";
import type { ModelConfig } from "../models/stylizing-vit/config.js";
import { LOSS_NAMES, LOSS_WEIGHTS, type Losses } from "../models/stylizing-vit/losses.js";
import { parameterShapes } from "../models/stylizing-vit/parameters.js";
import { StylizingTask } from "../models/stylizing-vit/task.js";
import { openVgg } from "../models/vgg19/weights.js";
import { computeGradients, type Gradients } from "../train/gradients.js";
import { totalLoss } from "../train/types.js";

import { addModelFlags, checkOutput, loadOptions, type ModelFlags, note, positiveInteger, printJson } from "./shared.js";
import { readPairs } from "./tensors.js";

interface GradientFlags extends ModelFlags {
  vgg: string;
  input: string;
  output: string;
  microBatch?: number;
  recompute?: boolean;
}

/** Pairs at a time where none are asked for. */
const MICRO_BATCH = 4;

/**
 * Losses and gradients of pairs of images that share nothing.
 * @param pairs contents and styles [pairs, C, S, S], normalised
 * @throws StylizingError `CONFIG`, `CHECKPOINT`, `GPU` or `DEVICE_LOST`
 */
export async function pairGradients(
  gpu: Gpu,
  config: ModelConfig,
  model: WeightSource,
  vgg: WeightSource,
  { pairs, content, style }: { pairs: number; content: Float32Array; style: Float32Array },
  options: { weights?: Losses; microBatch?: number | undefined; recompute?: boolean | undefined } = {},
): Promise<Gradients> {
  const { weights = LOSS_WEIGHTS, microBatch = MICRO_BATCH, recompute = false } = options;
  const most = Math.min(pairs, microBatch);
  const terms = LOSS_NAMES.map((name) => ({ name, weight: weights[name] }));
  const initial = new Map<string, Float32Array>();
  for (const key of parameterShapes(config).keys()) initial.set(key, await model.read(key));
  const each = config.in_channels * config.image_size ** 2;
  function* parts(): Generator<{ shape: BatchShape; planes: Float32Array }> {
    for (let first = 0; first < pairs; first += most) {
      const count = Math.min(most, pairs - first);
      const planes = new Float32Array(2 * count * each);
      planes.set(content.subarray(first * each, (first + count) * each));
      planes.set(style.subarray(first * each, (first + count) * each), count * each);
      yield { shape: separate(count, pairs), planes };
    }
  }
  const task = await StylizingTask.create(gpu, config, vgg, { terms, batch: pairs, recompute, lossScale: 1 });
  return computeGradients(gpu, task, initial, separate(most, pairs), parts());
}

async function gradients(flags: GradientFlags): Promise<void> {
  await checkOutput(flags.output);
  const options = loadOptions(flags);
  const found = await findModel(flags.model, options);
  const { config } = found;
  const { batch, content, style } = await readPairs(flags.input, config);
  await using vgg = await openVgg(flags.vgg, config.in_channels, options);
  await using model = await found.open();
  using gpu = await openDevice({ ...options, precision: flags.precision === "auto" ? "f32" : flags.precision });
  const started = performance.now();
  const settings = { microBatch: flags.microBatch, recompute: flags.recompute };
  const { losses, gradients } = await pairGradients(gpu, config, model, vgg, { pairs: batch, content, style }, settings);
  const milliseconds = Math.round(performance.now() - started);
  const shapes = parameterShapes(config);
  const outputs: [string, TensorToWrite][] = [
    ...LOSS_NAMES.map((term): [string, TensorToWrite] => [`loss.${term}`, { shape: [1], data: Float32Array.of(losses[term]!) }]),
    ...[...gradients].map(([key, data]): [string, TensorToWrite] => [`gradient.${key}`, { shape: shapes.get(key)!, data }]),
  ];
  await writeSafetensors(flags.output, outputs);
  const total = totalLoss(losses, LOSS_WEIGHTS);
  const adapter = adapterReport(gpu);
  note(
    `loss ${total.toPrecision(6)} of ${batch} pairs in ${(milliseconds / 1000).toFixed(2)} s on ${adapter.name}: ${flags.output}`,
  );
  if (flags.json) {
    printJson({
      model: found.label,
      vgg: vgg.label,
      config,
      adapter,
      tier: gpu.profile.tier,
      input: flags.input,
      output: flags.output,
      batch,
      losses,
      total,
      tensors: outputs.map(([name, { shape }]) => ({ name, shape })),
      milliseconds,
    });
  }
}

export function addGradients(program: Command): void {
  addModelFlags(
    program
      .command("gradients")
      .description("losses and gradients of training, for parity: normalised planes in, one gradient a parameter out")
      .requiredOption("--model <name>", "a folder, a .safetensors file, a published name, or hashed:SEED")
      .requiredOption("--vgg <source>", "VGG-19: a .safetensors file, hub, or hashed:SEED")
      .requiredOption("--input <file>", "safetensors with content and style, [B, C, S, S], normalised, F32")
      .requiredOption("--output <file>", "safetensors to write: loss.TERM, unweighted, and gradient.KEY of the weighted total")
      .option("--micro-batch <n>", "pairs on the device at a time (default: 4)", positiveInteger)
      .option("--recompute", "activation checkpointing: recompute activations instead of keeping them"),
    { tune: false },
  ).action(gradients);
}
