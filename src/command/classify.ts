import type { Command } from "commander";
import { type ClassifyFilesOptions, type ClassifyReport, classifyFiles, titleOf } from "../augment/classify-files.js";
import type { ReadOptions } from "../augment/load.js";
import type { ClassifierOptions } from "../classifier/types.js";
import { ensureOutputFile } from "../image/atomic-write.js";
import { percent } from "../labels/percent.js";
import { Progress } from "./progress.js";
import {
  addModelFlags,
  addReadFlags,
  countFromZero,
  deviationList,
  EXIT,
  interruptible,
  loadOptions,
  type ModelFlags,
  meanList,
  note,
  positiveInteger,
  printJson,
} from "./shared.js";
import { type Column, table } from "./table.js";

export interface ClassifyFlags extends ModelFlags, ReadOptions {
  top: number;
  csv?: string;
  attention?: string;
  mean?: number[];
  std?: number[];
  imageSize?: number;
  batch?: number;
  workers?: number;
  skipUnreadable?: boolean;
}

/** Classifies files with notices and a bar on stderr. @throws StylizingError as `classifyFiles` does. */
async function run(images: readonly string[], flags: ClassifyFlags, signal: AbortSignal): Promise<ClassifyReport> {
  if (flags.csv !== undefined) await ensureOutputFile(flags.csv);
  const load: ClassifierOptions = {
    ...loadOptions(flags),
    ...{ mean: flags.mean, std: flags.std, imageSize: flags.imageSize, batchSize: flags.batch },
  };
  let bar: Progress | undefined;
  const onProgress = (done: number, total: number) => {
    bar ??= new Progress("classifying", total, "images");
    bar.update(done);
  };
  const { model, top, csv, attention, workers, page, white } = flags;
  const given: ClassifyFilesOptions = {
    model,
    images,
    top,
    csv,
    attention,
    workers,
    page,
    white,
    load,
    onNote: note,
    onProgress,
  };
  try {
    return await classifyFiles(given, signal);
  } finally {
    bar?.stop();
  }
}

/** Images and their classes, a line each; `width` columns at most, where it is given. */
export function classTable({ images, classes }: Pick<ClassifyReport, "images" | "classes">, top: number, width?: number): string {
  const shown = Math.min(top, classes.length);
  const columns: Column[] = [{ head: "image", align: "left", keep: "end" }];
  for (let place = 1; place <= shown; place++)
    columns.push(
      { head: shown === 1 ? "class" : `class ${place}`, align: "left", keep: "start" },
      { head: "probability", align: "right" },
    );
  const done = images.filter(({ status }) => status === "done");
  const rows = done.map(({ top: best = [], ...image }) => [
    titleOf(image),
    ...best.flatMap(({ label, probability }) => [label, percent(probability)]),
  ]);
  return table(columns, rows, width);
}

/** Classes that a summary names. */
const NAMED = 6;

/** How many images are of which class, the most frequent first. */
function summary({ images }: ClassifyReport): string {
  const counts = new Map<string, number>();
  for (const { label } of images) if (label !== undefined) counts.set(label, (counts.get(label) ?? 0) + 1);
  const all = [...counts].sort(([, a], [, b]) => b - a);
  const named = all.slice(0, NAMED).map(([label, count]) => `${label}: ${count}`);
  const rest = all.slice(NAMED).reduce((sum, [, count]) => sum + count, 0);
  return [...named, ...(rest > 0 ? [`${all.length - NAMED} other classes: ${rest}`] : [])].join(", ");
}

/** Prints the results and says on stderr what was done; what failed was said when it did. @returns the exit code. */
export function concludeClassify(
  report: ClassifyReport,
  flags: Pick<ClassifyFlags, "top" | "json" | "skipUnreadable" | "attention">,
): number {
  const { done, failed, stopped, images } = report;
  if (flags.json) printJson(report);
  else if (done > 0)
    process.stdout.write(classTable(report, flags.top, process.stdout.isTTY ? process.stdout.columns : undefined));
  const rest = [failed && `${failed} failed`, stopped && `${stopped} not begun`].filter(Boolean).join(", ");
  note(`${done} of ${images.length} classified${rest ? ` (${rest})` : ""}, ${report.imagesPerSecond} images/s`);
  if (done > 1) note(`classes: ${summary(report)}`);
  if (report.csv) note(`table: ${report.csv}`);
  if (flags.attention && done > 0) note(`attention: ${flags.attention}`);
  if (report.csvError) note(`failed: ${report.csvError.message}`);
  if (stopped > 0 && !report.stopReason) return EXIT.stopped;
  const counts = flags.skipUnreadable ? done === 0 : failed > 0;
  return counts || report.csvError || report.stopReason ? EXIT.failed : EXIT.done;
}

export function addClassify(program: Command): void {
  const command = addReadFlags(
    program
      .command("classify")
      .description("say which class images are of, and what the model looks at")
      .argument("<images...>", "images, or folders of images, which are read at any depth")
      .requiredOption(
        "--model <name>",
        "a folder, a .safetensors file, or a repository of the Hugging Face Hub such as timm/deit_small_patch16_224.fb_in1k",
      )
      .option("--top <n>", "so many classes an image, the most probable ones", positiveInteger, 1)
      .option("--csv <file>", "also write the probabilities of all classes as CSV")
      .option("--attention <folder>", "also draw what the model looks at, by head: a PNG an image")
      .option("--mean <r,g,b>", "mean of the model's training images, in [0, 1]", meanList)
      .option("--std <r,g,b>", "their standard deviation", deviationList)
      .option("--image-size <n>", "side in pixels that images are scaled to (default: the model's)", positiveInteger)
      .option("--batch <n>", "images per submission", positiveInteger)
      .option("--workers <n>", "threads that read images; 0: none (default: the number of cores, at most 8)", countFromZero)
      .option("--skip-unreadable", "exit with 0 though images failed, unless all did"),
  );
  addModelFlags(command).action(async (images: string[], flags: ClassifyFlags) => {
    const words = { before: "anything was classified" };
    process.exitCode = concludeClassify(await interruptible((signal) => run(images, flags, signal), words), flags);
  });
}
