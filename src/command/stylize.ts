import { basename } from "node:path";
import { type Command, Option } from "commander";
import type { Pairing } from "../augment/inputs.js";
import type { ReadOptions } from "../augment/load.js";
import { paintFiles } from "../augment/paint-files.js";
import type { ImagesReport, StylizeReport, TimingReport } from "../augment/report.js";
import { type RestyleReport, restyleFiles } from "../augment/restyle-files.js";
import { StylizingError } from "../errors.js";
import type { OutputFormat } from "../image/encode.js";
import { FITS } from "../image/preprocess.js";
import { COMPRESSIONS, type SlideCompression } from "../image/slide-writer.js";
import type { FoundModel } from "../models/open.js";
import type { Scale, SizeOptions } from "../painter/sizing.js";
import { METHODS, MODEL_METHOD, methodNamed } from "../restyle/methods.js";
import type { Params } from "../restyle/types.js";
import { paramsOf, share } from "./augment.js";
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
  positiveNumber,
  printJson,
  wholeNumber,
} from "./shared.js";

export interface StylizeFlags extends ModelFlags, ReadOptions, SizeOptions {
  content: string[];
  style: string[];
  out: string;
  mean?: number[];
  std?: number[];
  pair: Pairing;
  batch?: number;
  seed: number;
  format: OutputFormat;
  compression?: SlideCompression;
  sheet?: string;
  overwrite?: boolean;
  skipExisting?: boolean;
  workers?: number;
  method?: string;
  params?: Params;
  strength?: number;
}

/** Options that are the model's alone. */
const OF_MODEL = [
  "model",
  "mean",
  "std",
  "config",
  "preset",
  "precision",
  "tune",
  "size",
  "detail",
  "fit",
  "scale",
  "compression",
];

/** Paints files with notices and a bar on stderr. @throws StylizingError as `paintFiles` does. */
export async function stylizeFiles(
  flags: StylizeFlags,
  signal?: AbortSignal,
  known?: FoundModel,
): Promise<StylizeReport | ImagesReport> {
  let bar: Progress | undefined;
  const onProgress = (done: number, total: number) => {
    // Behind the first slide each has a bar of its own.
    if (slide !== undefined) return;
    bar ??= new Progress("painting", total, "images");
    bar.update(done);
  };
  let slide: string | undefined;
  const onSlide = (file: string, done: number, total: number) => {
    if (file !== slide || done < last) {
      bar?.stop();
      bar = new Progress(basename(file), total, "rows");
    }
    [slide, last] = [file, done];
    bar!.update(done);
  };
  let last = 0;
  try {
    const existing = flags.overwrite ? "replace" : flags.skipExisting ? "skip" : "refuse";
    return await paintFiles({ ...flags, existing, load: loadOptions(flags), onNote: note, onProgress, onSlide }, signal, known);
  } finally {
    bar?.stop();
  }
}

/** The same by a closed form. @throws StylizingError as `restyleFiles` does. */
async function restyleByForm(flags: StylizeFlags, signal: AbortSignal): Promise<RestyleReport> {
  let bar: Progress | undefined;
  const onProgress = (done: number, total: number) => {
    bar ??= new Progress("restyling", total, "images");
    bar.update(done);
  };
  try {
    const existing = flags.overwrite ? "replace" : flags.skipExisting ? "skip" : "refuse";
    const { params = {}, adapter } = flags;
    const load = adapter === undefined ? {} : { adapter };
    const method = methodNamed(flags.method ?? MODEL_METHOD.name);
    return await restyleFiles({ ...flags, method, params, existing, load, onNote: note, onProgress }, signal);
  } finally {
    bar?.stop();
  }
}

/** @throws StylizingError `ARGUMENT` for what goes with the model alone, or with closed forms alone */
function checkMethod(flags: StylizeFlags, isGiven: (option: string) => boolean): void {
  const isModel = methodNamed(flags.method ?? MODEL_METHOD.name) === MODEL_METHOD;
  const stray = (isModel ? ["params", "strength"] : OF_MODEL).find(isGiven);
  if (stray !== undefined)
    throw new StylizingError(
      "ARGUMENT",
      `--${stray} ${isModel ? "is for closed forms" : `is for ${MODEL_METHOD.name}`}, and the method is ${flags.method}.`,
      "Leave it away; `stylizing-vit methods NAME` says what a method takes.",
    );
  if (isModel && flags.style.length === 0)
    throw new StylizingError("ARGUMENT", `${MODEL_METHOD.name} needs a style.`, "Give --style, or a --method that needs none.");
}

/** `fit`, `native`, or a factor. */
function scaleOf(text: string): Scale {
  return text === "fit" || text === "native" ? text : positiveNumber(text);
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
export function concludeStylize(report: ImagesReport & { declined?: number }, flags: Pick<StylizeFlags, "out" | "json">): number {
  const { skipped, failed, stopped } = report;
  const { declined = 0 } = report;
  const rest = [
    declined && `${declined} declined and as they were`,
    skipped && `${skipped} there already`,
    failed && `${failed} failed`,
    stopped && `${stopped} not begun`,
  ]
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
  const command = addReadFlags(
    program
      .command("stylize")
      .description("paint content images in the style of others")
      .requiredOption("--content <path...>", "images, or folders of images, to repaint")
      .option("--style <path...>", "images, or folders of images, whose appearance to take; some methods need none", [])
      .requiredOption("--out <folder>", "where results go")
      .addOption(
        new Option("--method <name>", "the model, or a closed form: `stylizing-vit methods` lists them")
          .choices(METHODS.map(({ name }) => name))
          .default(MODEL_METHOD.name),
      )
      .option("--params <json>", "numbers of a closed form; what is missing is drawn by --seed", paramsOf)
      .option("--strength <s>", "of a closed form: from 0, the content, to 1, its result (default: 1)", share)
      .option("--model <name>", "a published name, a folder, a .safetensors file, or demo", "demo")
      .option("--mean <r,g,b>", "mean of the model's training images, in [0, 1]", meanList)
      .option("--std <r,g,b>", "their standard deviation", deviationList)
      .addOption(
        new Option("--pair <way>", "each: i-th with i-th; all: every content in every style; random: a seeded style for each")
          .choices(["each", "all", "random"])
          .default("each"),
      )
      .option("--batch <n>", "images per submission", positiveInteger)
      .option("--seed <n>", "for --pair random and what closed forms draw", wholeNumber, 0)
      .addOption(new Option("--format <kind>", "of the results").choices(["png", "jpeg", "webp"]).default("png"))
      .addOption(
        new Option("--compression <kind>", "of results of whole slides, which are pyramidal TIFF files (default: jpeg)").choices([
          ...COMPRESSIONS,
        ]),
      )
      .addOption(
        new Option("--size <kind>", "keep: the content's own size; model: the model's square, as published")
          .choices(["model", "keep"])
          .default("keep"),
      )
      .addOption(
        new Option(
          "--detail <kind>",
          "guided: the content's detail in the painting's colours; model: the painting itself (default: guided where the size is kept)",
        ).choices(["guided", "model"]),
      )
      .addOption(
        new Option(
          "--fit <way>",
          "what stands around images that are no squares: mirror; crop: nothing, the middle is taken; pad: black, as published",
        )
          .choices([...FITS])
          .default("mirror"),
      )
      .addOption(
        new Option(
          "--scale <scale>",
          "at which the model sees contents: fit, whole in its square; native, in windows; or a factor",
        )
          .argParser(scaleOf)
          .default("fit"),
      )
      .addOption(
        new Option(
          "--background <way>",
          "keep: bare glass stays as it is; paint: everything is painted (default: as the model says)",
        ).choices(["keep", "paint"]),
      )
      .option("--skip-blank", "leave windows without tissue as they are: they are not painted")
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
  );
  addModelFlags(command).action(async (flags: StylizeFlags) => {
    checkMethod(flags, (option) => command.getOptionValueSource(option) === "cli");
    const isModel = flags.method === MODEL_METHOD.name;
    const work = (signal: AbortSignal) => (isModel ? stylizeFiles(flags, signal) : restyleByForm(flags, signal));
    process.exitCode = concludeStylize(await interruptible<ImagesReport>(work), flags);
  });
}
