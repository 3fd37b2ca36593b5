import type { Command } from "commander";
import { adapterReport, openGpu } from "../gpu/gpu.js";
import { type TensorToWrite, writeSafetensors } from "../hub/safetensors.js";
import { parameterShapes } from "../model/config.js";
import { findModel } from "../model/open.js";
import { computeGradients } from "../train/gradients.js";
import { LOSS_TERMS, LOSS_WEIGHTS, totalLoss } from "../train/types.js";
import { openVgg } from "../train/vgg-weights.js";
import { readPairs } from "./pairs.js";
import { addModelFlags, checkOutput, loadOptions, type ModelFlags, note, positiveInteger, printJson } from "./shared.js";

interface GradientFlags extends ModelFlags {
  vgg: string;
  input: string;
  output: string;
  microBatch?: number;
  recompute?: boolean;
}

async function gradients(flags: GradientFlags): Promise<void> {
  await checkOutput(flags.output);
  const options = loadOptions(flags);
  const found = await findModel(flags.model, options);
  const { config } = found;
  const { batch, content, style } = await readPairs(flags.input, config);
  await using vgg = await openVgg(flags.vgg, config.in_channels, options);
  await using model = await found.open();
  using gpu = await openGpu({ ...options, precision: flags.precision === "auto" ? "f32" : flags.precision });
  const started = performance.now();
  const { losses, gradients } = await computeGradients(
    gpu,
    config,
    model,
    vgg,
    { pairs: batch, content, style },
    { ...(flags.microBatch === undefined ? {} : { microBatch: flags.microBatch }), recompute: flags.recompute === true },
  );
  const milliseconds = Math.round(performance.now() - started);
  const shapes = parameterShapes(config);
  const outputs: [string, TensorToWrite][] = [
    ...LOSS_TERMS.map((term): [string, TensorToWrite] => [`loss.${term}`, { shape: [1], data: Float32Array.of(losses[term]) }]),
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
      .option("--recompute", "compute activations again instead of keeping them"),
    { tune: false },
  ).action(gradients);
}
