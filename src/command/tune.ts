import type { Command } from "commander";
import { DEFAULT_MODEL } from "../models/open.js";
import { StylizingViT } from "../painter/stylizing-vit.js";
import { addModelFlags, loadOptions, type ModelFlags, note, positiveInteger, printJson } from "./shared.js";

interface TuneFlags extends ModelFlags {
  batch?: number[];
}

const milliseconds = (value: number): string => `${value.toPrecision(3)} ms`;

async function tune(flags: TuneFlags): Promise<void> {
  await using model = await StylizingViT.load(flags.model, { ...loadOptions(flags), tune: "measure" });
  const { report } = model;
  const { choices, error } = await model.tune(flags.batch ?? [model.batchSize]);
  const faster = choices.filter(({ milliseconds, defaultMilliseconds }) => milliseconds < defaultMilliseconds);
  note(
    `${choices.length} ops and shapes measured on ${report.adapter.name}, ${report.tier}: ${faster.length} have something faster than the default; ` +
      `results differ by ${error.toExponential(1)} of the largest value`,
  );
  if (flags.json) {
    printJson({ ...report, choices, error });
    return;
  }
  const width = Math.max(...choices.map(({ op }) => op.length));
  for (const { op, name, milliseconds: best, defaultMilliseconds: base, candidates } of choices) {
    const gain = best < base ? `${(base / best).toFixed(2)} x the default's ${milliseconds(base)}` : "the default";
    process.stdout.write(`${op.padEnd(width)}  ${milliseconds(best).padStart(9)}  ${name}: ${gain}, of ${candidates}\n`);
  }
}

export function addTune(program: Command): void {
  addModelFlags(
    program
      .command("tune")
      .description("measure the kernels' candidates on this adapter and remember the fastest")
      .option("--model <name>", "a published name, a folder or a .safetensors file", DEFAULT_MODEL)
      .option(
        "--batch <n...>",
        "batch sizes to measure at (default: the one that suits the adapter)",
        (text, list: number[] = []) => [...list, positiveInteger(text)],
      ),
    { tune: false },
  ).action(tune);
}
