import type { Command } from "commander";
import { type TensorToWrite, writeSafetensors } from "../hub/safetensors.js";
import { StylizingViT } from "../painter/stylizing-vit.js";
import { readPairs } from "./pairs.js";
import { addModelFlags, checkOutput, loadOptions, type ModelFlags, note, printJson } from "./shared.js";

interface ForwardFlags extends ModelFlags {
  input: string;
  output: string;
  streams?: boolean;
}

async function forward(flags: ForwardFlags): Promise<void> {
  await checkOutput(flags.output);
  const started = performance.now();
  await using model = await StylizingViT.load(flags.model, loadOptions(flags));
  const { config, report } = model;
  const { batch, content, style } = await readPairs(flags.input, config);
  const loaded = performance.now();
  const image = [batch, config.in_channels, config.image_size, config.image_size];
  const outputs: [string, TensorToWrite][] = [];
  if (flags.streams) {
    const trace = await model.trace(content, style);
    const tokens = [batch, (config.image_size / config.patch_size) ** 2 + 1, config.embed_dim];
    for (const [name, data] of Object.entries(trace))
      outputs.push([name, { shape: name.startsWith("encoded") ? tokens : image, data }]);
  } else {
    outputs.push(["stylized", { shape: image, data: await model.forward(content, style) }]);
  }
  const finished = performance.now();
  await writeSafetensors(flags.output, outputs, { dtype: "F32" });
  note(
    `${batch} pairs in ${((finished - loaded) / 1000).toFixed(2)} s on ${report.adapter.name}, ${report.tier}: ${flags.output}`,
  );
  if (flags.json) {
    printJson({
      ...report,
      config,
      input: flags.input,
      output: flags.output,
      tensors: outputs.map(([name, { shape }]) => ({ name, shape })),
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
      .requiredOption("--input <file>", "safetensors with content and style, [B, C, S, S], normalised, F32")
      .requiredOption("--output <file>", "safetensors to write: stylized")
      .option("--streams", "also write encoded_anatomy, encoded_style, encoded_stylized and reconstruction"),
  ).action(forward);
}
