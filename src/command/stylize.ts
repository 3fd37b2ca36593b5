import { type Command, Option } from "commander";
import type { Pairing } from "../augment/inputs.js";
import { paintFiles } from "../augment/paint-files.js";
import type { ImagesReport, StylizeReport, TimingReport } from "../augment/report.js";
import type { OutputFormat } from "../image/encode.js";
import type { FoundModel } from "../models/open.js";
import { Progress } from "./progress.js";
import {
  addModelFlags,
  channelList,
  countFromZero,
  EXIT,
  interruptible,
  loadOptions,
  type ModelFlags,
  note,
  positiveInteger,
  printJson,
  wholeNumber,
} from "./shared.js";

export interface StylizeFlags extends ModelFlags {
  content: string[];
  style: string[];
  out: string;
  mean?: number[];
  std?: number[];
  pair: Pairing;
  batch?: number;
  seed: number;
  format: OutputFormat;
  size: "model" | "keep";
  sheet?: string;
  overwrite?: boolean;
  skipExisting?: boolean;
  workers?: number;
}

/** Paints files with notices and a bar on stderr. @throws StylizingError as `paintFiles` does. */
export async function stylizeFiles(
  flags: StylizeFlags,
  signal?: AbortSignal,
  known?: FoundModel,
): Promise<StylizeReport | ImagesReport> {
  let bar: Progress | undefined;
  const onProgress = (done: number, total: number) => {
    bar ??= new Progress("painting", total, "images");
    bar.update(done);
  };
  try {
    const existing = flags.overwrite ? "replace" : flags.skipExisting ? "skip" : "refuse";
    return await paintFiles({ ...flags, existing, load: loadOptions(flags), onNote: note, onProgress }, signal, known);
  } finally {
    bar?.stop();
  }
}

/** One line for people. */
function whereTheTimeWent(timing: TimingReport): string {
  const stages = (["decode", "upload", "compute", "download", "save", "wait"] as const).map(
    (stage) => `${stage} ${(timing[stage] / 1000).toFixed(2)} s`,
  );
  const busy =
    timing.batches > 1 ? `; the device was busy ${Math.round(100 * timing.busy)} % of the time from the second batch on` : "";
  return `time, stages overlapping: ${stages.join(", ")}${busy}`;
}

/** Says on stderr what was done; what failed was said when it did. @returns the exit code. */
export function concludeStylize(report: ImagesReport, flags: Pick<StylizeFlags, "out" | "json">): number {
  const { skipped, failed, stopped } = report;
  const rest = [skipped && `${skipped} there already`, failed && `${failed} failed`, stopped && `${stopped} not begun`]
    .filter(Boolean)
    .join(", ");
  if (skipped === report.images.length)
    note(`nothing left to do: ${skipped === 1 ? "the result is" : `all ${skipped} results are`} in ${flags.out}`);
  else
    note(
      `${report.done} of ${report.images.length} painted into ${flags.out}${rest ? ` (${rest})` : ""}, ${report.imagesPerSecond} images/s${report.sheet ? `; sheet: ${report.sheet}` : ""}`,
    );
  if (report.timing) note(whereTheTimeWent(report.timing));
  if (report.sheetError) note(`failed: ${report.sheetError.message}`);
  if (flags.json) printJson(report);
  if (stopped > 0 && !report.stopReason) return EXIT.stopped;
  return failed > 0 || report.sheetError ? EXIT.failed : EXIT.done;
}

export function addStylize(program: Command): void {
  addModelFlags(
    program
      .command("stylize")
      .description("paint content images in the style of others")
      .requiredOption("--content <path...>", "images, or folders of images, to repaint")
      .requiredOption("--style <path...>", "images, or folders of images, whose appearance to take")
      .requiredOption("--out <folder>", "where results go")
      .option("--model <name>", "a published name, a folder, a .safetensors file, or demo", "demo")
      .option("--mean <r,g,b>", "mean of the model's training images, in [0, 1]", channelList)
      .option("--std <r,g,b>", "their standard deviation", channelList)
      .addOption(
        new Option("--pair <way>", "each: i-th with i-th; all: every content in every style; random: a seeded style for each")
          .choices(["each", "all", "random"])
          .default("each"),
      )
      .option("--batch <n>", "images per submission", positiveInteger)
      .option("--seed <n>", "for --pair random", wholeNumber, 0)
      .addOption(new Option("--format <kind>", "of the results").choices(["png", "jpeg", "webp"]).default("png"))
      .addOption(
        new Option("--size <kind>", "model: the model's square; keep: the content's own size")
          .choices(["model", "keep"])
          .default("model"),
      )
      .option(
        "--workers <n>",
        "threads that read and write images; 0: none (default: the number of cores, at most 8)",
        countFromZero,
      )
      .option("--sheet <file>", "also write a labelled contact sheet (PNG)")
      .option("--overwrite", "replace results that exist already (default: refuse to begin)")
      .addOption(
        new Option("--skip-existing", "leave results that exist already as they are, and paint the others").conflicts(
          "overwrite",
        ),
      ),
  ).action(async (flags: StylizeFlags) => {
    process.exitCode = concludeStylize(await interruptible((signal) => stylizeFiles(flags, signal)), flags);
  });
}
