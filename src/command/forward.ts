import type { Command } from "commander";
import { Classifier } from "../classifier/classifier.js";
import type { TensorToWrite } from "../hub/safetensors-writer.js";
import { ensureOutputFile } from "../image/atomic-write.js";
import { kindOf } from "../models/open.js";
import { StylizingViT } from "../painter/stylizing-vit.js";
import { addModelFlags, loadOptions, type ModelFlags, note, printJson } from "./shared.js";
import { readPairs, readPixels, writeTensors } from "./tensors.js";

interface ForwardFlags extends ModelFlags {
  input: string;
  output: string;
  streams?: boolean;
}

interface Result {
  batch: number;
  outputs: [string, TensorToWrite][];
  /** When the model was loaded and the input read, as `performance.now()` tells it. */
  loaded: number;
}

async function paintPairs(model: StylizingViT, flags: ForwardFlags): Promise<Result> {
  const { config } = model;
  const { batch, content, style } = await readPairs(flags.input, config);
  const loaded = performance.now();
  const image = [batch, config.in_channels, config.image_size, config.image_size];
  if (!flags.streams)
    return { batch, outputs: [["stylized", { shape: image, data: await model.forward(content, style) }]], loaded };
  const trace = await model.trace(content, style);
  const tokens = [batch, (config.image_size / config.patch_size) ** 2 + 1, config.embed_dim];
  const outputs = Object.entries(trace).map(([name, data]): [string, TensorToWrite] => [
    name,
    { shape: name.startsWith("encoded") ? tokens : image, data },
  ]);
  return { batch, outputs, loaded };
}

async function classifyPixels(model: Classifier, flags: ForwardFlags): Promise<Result> {
  const { config } = model;
  const { batch, height, width, data } = await readPixels(flags.input, config);
  const loaded = performance.now();
  const { logits, tokens, attention } = await model.forward(data, height, width);
  const patches = (height * width) / config.patch_size ** 2;
  const outputs: [string, TensorToWrite][] = [
    ["tokens", { shape: [batch, 1 + patches, config.embed_dim], data: tokens }],
    ["attention", { shape: [batch, config.num_heads, patches], data: attention }],
  ];
  if (config.num_classes > 0) outputs.unshift(["logits", { shape: [batch, config.num_classes], data: logits }]);
  return { batch, outputs, loaded };
}

async function forward(flags: ForwardFlags): Promise<void> {
  await ensureOutputFile(flags.output);
  const started = performance.now();
  const kind = await kindOf(flags.model, flags);
  const given = loadOptions(flags);
  await using model = kind === "vit" ? await Classifier.load(flags.model, given) : await StylizingViT.load(flags.model, given);
  const { batch, outputs, loaded } =
    model instanceof Classifier ? await classifyPixels(model, flags) : await paintPairs(model, flags);
  const finished = performance.now();
  const tensors = await writeTensors(flags.output, outputs);
  const { report, config } = model;
  const what = kind === "vit" ? "images" : "pairs";
  note(
    `${batch} ${what} in ${((finished - loaded) / 1000).toFixed(2)} s on ${report.adapter.name}, ${report.tier}: ${flags.output}`,
  );
  if (flags.json) {
    printJson({
      ...report,
      config,
      input: flags.input,
      output: flags.output,
      tensors,
      batch,
      milliseconds: { load: Math.round(loaded - started), forward: Math.round(finished - loaded) },
    });
  }
}

export function addForward(program: Command): void {
  addModelFlags(
    program
      .command("forward")
      .description("run the bare model on tensors, for parity: normalised planes in and out")
      .requiredOption("--model <name>", "a folder, a .safetensors file, a published name, or hashed:SEED")
      .requiredOption(
        "--input <file>",
        "safetensors, normalised, F32: content and style, [B, C, S, S]; for a ViT classifier pixels, [B, C, H, W]",
      )
      .requiredOption("--output <file>", "safetensors to write: stylized; for a classifier logits, tokens and attention")
      .option("--streams", "also write encoded_anatomy, encoded_style, encoded_stylized and reconstruction"),
  ).action(forward);
}
