import type { Command } from "commander";
import { ensureOutputFile } from "../image/atomic-write.js";
import { exportOnnx } from "../onnx/export.js";
import {
  addSourceFlags,
  deviationList,
  interruptible,
  meanList,
  note,
  printJson,
  type SourceFlags,
  sourceOptions,
} from "./shared.js";

interface ExportFlags extends SourceFlags {
  onnx: string;
  half?: boolean;
  mean?: number[];
  std?: number[];
}

async function exportModel(flags: ExportFlags, signal: AbortSignal): Promise<void> {
  await ensureOutputFile(flags.onnx);
  const { half = false, mean, std } = flags;
  const report = await exportOnnx(flags.model, flags.onnx, { ...sourceOptions(flags), half, mean, std, signal });
  note(
    `${report.model} as ONNX (opset ${report.opset}, ${report.precision}), ${(report.bytes / 1e6).toFixed(1)} MB: ${report.file}`,
  );
  if (flags.json) printJson(report);
}

export function addExport(program: Command): void {
  addSourceFlags(
    program
      .command("export")
      .description("write a model for other runtimes")
      .requiredOption("--model <name>", "a published name, a folder, a .safetensors file, demo, or hashed:SEED")
      .requiredOption("--onnx <file>", "ONNX to write: content and style in, stylized out, normalised, any batch")
      .option("--half", "parameters and arithmetic in 16-bit floats")
      .option("--mean <r,g,b>", "mean of the model's training images, to be noted in the file", meanList)
      .option("--std <r,g,b>", "their standard deviation", deviationList),
  ).action((flags: ExportFlags) =>
    interruptible((signal) => exportModel(flags, signal), {
      after: "this tensor",
      before: "the file was whole; nothing is left of it",
    }),
  );
}
