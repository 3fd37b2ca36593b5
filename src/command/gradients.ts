import type { Command } from "commander";
import type { ClassifierOptions } from "../classifier/types.js";
import { StylizingError } from "../errors.js";
import { adapterReport, type Gpu } from "../gpu/gpu.js";
import type { TensorToWrite } from "../hub/safetensors-writer.js";
import type { WeightSource } from "../hub/weight-source.js";
import { ensureOutputFile } from "../image/atomic-write.js";
import { openDevice } from "../models/device.js";
import { findModel, findModelOf, kindOf } from "../models/open.js";
import { type BatchShape, separate } from "../models/stylizing-vit/batch-shape.js";
import type { ModelConfig } from "../models/stylizing-vit/config.js";
import { LOSS_NAMES, LOSS_WEIGHTS, type Losses } from "../models/stylizing-vit/losses.js";
import { parameterShapes } from "../models/stylizing-vit/parameters.js";
import { StylizingTask } from "../models/stylizing-vit/task.js";
import { openVgg } from "../models/vgg/weights.js";
import { classifying } from "../models/vit/classify.js";
import type { VitConfig } from "../models/vit/config.js";
import { vit } from "../models/vit/kind.js";
import { vitShapes } from "../models/vit/parameters.js";
import { VitTask } from "../models/vit/task.js";
import type { LoadOptions } from "../painter/types.js";
import { computeGradients, type Gradients } from "../train/gradients.js";
import { totalLoss } from "../train/types.js";
import { addModelFlags, loadOptions, type ModelFlags, note, positiveInteger, printJson } from "./shared.js";
import { readLabelled, readPairs, writeTensors } from "./tensors.js";

interface GradientFlags extends ModelFlags {
  vgg?: string;
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

/**
 * Loss and gradients of labelled images.
 * @param images normalised, [batch, C, S, S], of the size that the configuration says
 * @throws StylizingError as `pairGradients` does
 */
export async function imageGradients(
  gpu: Gpu,
  config: VitConfig,
  model: WeightSource,
  { batch, data, labels }: { batch: number; data: Float32Array; labels: readonly number[] },
  options: { microBatch?: number | undefined; recompute?: boolean | undefined } = {},
): Promise<Gradients> {
  const { microBatch = MICRO_BATCH, recompute = false } = options;
  const most = Math.min(batch, microBatch);
  const initial = new Map<string, Float32Array>();
  for (const key of vitShapes(config).keys()) initial.set(key, await model.read(key));
  const each = data.length / batch;
  const { terms } = classifying;
  const task = new VitTask(gpu, config, { terms, batch, recompute, lossScale: 1 });
  function* parts() {
    for (let first = 0; first < batch; first += most) {
      const shape = { images: Math.min(most, batch - first) };
      const planes = data.subarray(first * each, (first + shape.images) * each);
      yield { shape, planes, beside: task.beside(labels, { ...shape, first }) };
    }
  }
  return computeGradients(gpu, task, initial, { images: most }, parts());
}

interface Computed extends Gradients {
  batch: number;
  total: number;
  /** Losses, by the names that they have in the file. */
  named: readonly (readonly [string, number])[];
  shapes: ReadonlyMap<string, readonly number[]>;
  report: Record<string, unknown>;
}

async function ofPairs(flags: GradientFlags, options: LoadOptions, gpu: () => Promise<Gpu>): Promise<Computed> {
  if (flags.vgg === undefined)
    throw new StylizingError(
      "ARGUMENT",
      "--vgg is missing.",
      "Name the VGG-19 that losses look through: a file, hub, or hashed:SEED.",
    );
  const { kind: _, label, config, open } = await findModel(flags.model, options);
  const { batch, content, style } = await readPairs(flags.input, config);
  await using vgg = await openVgg(flags.vgg, config.in_channels, options);
  await using model = await open();
  const settings = { microBatch: flags.microBatch, recompute: flags.recompute };
  const results = await pairGradients(await gpu(), config, model, vgg, { pairs: batch, content, style }, settings);
  return {
    ...{ ...results, batch, total: totalLoss(results.losses, LOSS_WEIGHTS), shapes: parameterShapes(config) },
    named: LOSS_NAMES.map((term) => [`loss.${term}`, results.losses[term]!]),
    report: { model: label, vgg: vgg.label, config },
  };
}

async function ofImages(flags: GradientFlags, options: ClassifierOptions, gpu: () => Promise<Gpu>): Promise<Computed> {
  if (flags.vgg !== undefined)
    throw new StylizingError("ARGUMENT", "--vgg is for Stylizing ViT, and this is a classifier.", "Leave it away.");
  const { label, config, open } = await findModelOf(vit, flags.model, options);
  if (config.num_classes === 0)
    throw new StylizingError("ARGUMENT", "This model has no head, so it has no loss.", "Give a classifier with num_classes.");
  const images = await readLabelled(flags.input, config);
  if (images.height !== config.image_size || images.width !== config.image_size)
    throw new StylizingError(
      "ARGUMENT",
      `${flags.input}: images are ${images.width} × ${images.height}, and this model is trained at ${config.image_size}.`,
      "Gradients are of a model's own grid of positions: give images of its size, or a configuration with theirs.",
    );
  await using model = await open();
  const settings = { microBatch: flags.microBatch, recompute: flags.recompute };
  const results = await imageGradients(await gpu(), config, model, images, settings);
  const total = results.losses.crossEntropy!;
  return {
    ...{ ...results, batch: images.batch, total, shapes: vitShapes(config) },
    named: [["loss", total]],
    report: { model: label, config },
  };
}

async function gradients(flags: GradientFlags): Promise<void> {
  await ensureOutputFile(flags.output);
  const kind = await kindOf(flags.model, flags);
  const options = loadOptions(flags);
  let device: Gpu | undefined;
  let started = 0;
  const open = async () => {
    device = await openDevice({ ...options, precision: flags.precision === "auto" ? "f32" : flags.precision });
    started = performance.now();
    return device;
  };
  try {
    const computed = kind === "vit" ? await ofImages(flags, options, open) : await ofPairs(flags, options, open);
    const milliseconds = Math.round(performance.now() - started);
    const { batch, total, losses, named, shapes, report } = computed;
    const outputs: [string, TensorToWrite][] = [
      ...named.map(([name, value]): [string, TensorToWrite] => [name, { shape: [1], data: Float32Array.of(value) }]),
      ...[...computed.gradients].map(([key, data]): [string, TensorToWrite] => [
        `gradient.${key}`,
        { shape: shapes.get(key)!, data },
      ]),
    ];
    const tensors = await writeTensors(flags.output, outputs);
    const adapter = adapterReport(device!);
    const what = kind === "vit" ? "images" : "pairs";
    note(
      `loss ${total.toPrecision(6)} of ${batch} ${what} in ${(milliseconds / 1000).toFixed(2)} s on ${adapter.name}: ${flags.output}`,
    );
    if (flags.json) {
      const { input, output } = flags;
      printJson({ ...report, adapter, tier: device!.profile.tier, input, output, batch, losses, total, tensors, milliseconds });
    }
  } finally {
    device?.dispose();
  }
}

export function addGradients(program: Command): void {
  addModelFlags(
    program
      .command("gradients")
      .description("losses and gradients of training, for parity: normalised planes in, one gradient a parameter out")
      .requiredOption("--model <name>", "a folder, a .safetensors file, a published name, or hashed:SEED")
      .option("--vgg <source>", "of Stylizing ViT: VGG-19, a .safetensors file, hub, or hashed:SEED")
      .requiredOption(
        "--input <file>",
        "safetensors, normalised, F32: content and style, [B, C, S, S]; for a ViT classifier pixels and labels (I64 [B])",
      )
      .requiredOption(
        "--output <file>",
        "safetensors to write: loss.TERM, unweighted, and gradient.KEY of the weighted total; for a classifier loss",
      )
      .option("--micro-batch <n>", "pairs or images on the device at a time (default: 4)", positiveInteger)
      .option("--recompute", "activation checkpointing: recompute activations instead of keeping them"),
    { tune: false },
  ).action(gradients);
}
