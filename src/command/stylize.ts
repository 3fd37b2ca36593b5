import { realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Command, Option } from "commander";
import { StylizingError } from "../errors.js";
import { ensureOutputFolder, writeFileAtomic } from "../image/atomic-write.js";
import { type OutputFormat, saveImage } from "../image/encode.js";
import { cut, type FittedImage, loadSquare, unfit } from "../image/preprocess.js";
import { contactSheet, type SheetRow } from "../image/sheet.js";
import type { PixelImage } from "../image/types.js";
import { type Image, measureStatistics } from "../model/batch.js";
import { findModel } from "../model/open.js";
import { type ModelReport, type StyleBank, StylizingViT } from "../model/stylizing-vit.js";
import { type InputFile, listInputs, type PaintJob, type Pairing, pairJobs } from "./inputs.js";
import { Progress } from "./progress.js";
import {
  addModelFlags,
  channelList,
  EXIT,
  errorDocument,
  loadOptions,
  type ModelFlags,
  note,
  positiveInteger,
  printJson,
  Stopped,
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
}

/** What became of one picture. */
export interface ImageReport {
  content: string;
  style: string;
  output: string;
  status: "done" | "failed" | "stopped";
  /** Share of its batch's time, from pixels to file. */
  milliseconds?: number;
  error?: { code: string; message: string; fix: string };
}

export interface StylizeReport extends ModelReport {
  statistics: { mean: readonly number[]; std: readonly number[]; source: "given" | "model" | "measured from these images" };
  images: ImageReport[];
  done: number;
  failed: number;
  stopped: number;
  sheet?: string;
  /** Why the sheet is missing. */
  sheetError?: { code: string; message: string; fix: string };
  /** From the first decoded picture to the last file, without loading the model. */
  milliseconds: number;
  imagesPerSecond: number;
}

/** Styles kept on the device at a time: at the base size a gigabyte in f32. */
const BANK = 64;
/** Pictures decoded at a time: as many as libuv has threads for sharp. */
const DECODERS = 4;
/** Pictures that a sheet is made from; it shows fewer. */
const SHEET_ROWS = 400;
/** Pictures that a model's unknown statistics are measured from. */
const MEASURED = 64;
/** Channels of the models that take pictures. */
const CHANNELS = [1, 3];

type Loaded = { image: FittedImage } | { error: unknown };

function load(file: InputFile, size: number, channels: number): Promise<Loaded> {
  return loadSquare(file.path, size, channels as 1 | 3).then(
    (image) => ({ image }),
    (error: unknown) => ({ error }),
  );
}

/** Loads pictures a few at a time: each may take hundreds of megabytes until it is fitted. */
async function loadAll(files: readonly InputFile[], size: number, channels: number): Promise<Loaded[]> {
  const loaded: Loaded[] = [];
  const next = files.entries();
  const worker = async () => {
    // The workers share one iterator, so each picture is taken once.
    for (const [index, file] of next) loaded[index] = await load(file, size, channels);
  };
  await Promise.all(Array.from({ length: DECODERS }, worker));
  return loaded;
}

/** Cuts jobs into runs of at most `size`. */
function batches(jobs: readonly PaintJob[], size: number): PaintJob[][] {
  const runs: PaintJob[][] = [];
  for (let at = 0; at < jobs.length; at += size) runs.push(jobs.slice(at, at + size));
  return runs;
}

/** @throws StylizingError `ARGUMENT` where a result would take the place of a picture that was given, which would be lost. */
async function refuseOverwriting(inputs: readonly string[], outputs: readonly string[]): Promise<void> {
  const real = (path: string) => realpath(path).catch(() => undefined);
  const given = new Set(await Promise.all(inputs.map(real)));
  for (const output of outputs) {
    const target = await real(output);
    if (target !== undefined && given.has(target)) {
      throw new StylizingError(
        "ARGUMENT",
        `${output} is both a picture to read and the place of a result.`,
        "Give another folder with --out.",
      );
    }
  }
}

/**
 * Paints files. What cannot be read or written is reported and the rest is done; results appear whole or not at all.
 * @param signal stops between batches.
 * @throws StylizingError where nothing at all can be done: no inputs, no model, no adapter, no output folder.
 */
export async function stylizeFiles(flags: StylizeFlags, signal?: AbortSignal): Promise<StylizeReport> {
  const contents = await listInputs(flags.content, flags.out);
  const styles = await listInputs(flags.style, flags.out);
  for (const [what, files, paths] of [
    ["content", contents, flags.content],
    ["style", styles, flags.style],
  ] as const) {
    if (files.length > 0) continue;
    const problem = `There is no ${what} picture in ${paths.join(", ")}.`;
    throw new StylizingError("ARGUMENT", problem, "Give picture files, or folders that hold some.");
  }
  const jobs = pairJobs(contents, styles, flags.pair, flags.seed);
  await ensureOutputFolder(flags.out);
  const outputs = jobs.map((job) => `${join(flags.out, job.output)}.${flags.format}`);
  if (flags.sheet) {
    await ensureOutputFolder(dirname(flags.sheet));
    outputs.push(flags.sheet);
  }
  const inputs = [...contents, ...styles].map(({ path }) => path);
  await refuseOverwriting(inputs, outputs);

  const options = { ...loadOptions(flags), ...(signal ? { signal } : {}) };
  const found = await findModel(flags.model, options);
  const { image_size: size, in_channels: channels } = found.config;
  for (const name of ["mean", "std"] as const) {
    const given = flags[name];
    if (given && given.length !== channels) {
      const problem = `--${name} has ${given.length} numbers, and this model takes ${channels} channels.`;
      throw new StylizingError("ARGUMENT", problem, "Give one number a channel.");
    }
  }
  if (!CHANNELS.includes(channels))
    throw new StylizingError(
      "CONFIG",
      `This model takes ${channels} channels.`,
      "Pictures have 1 or 3; use `forward` with tensors.",
    );

  const start = performance.now();
  const loadedStyles = await loadAll(styles, size, channels);
  const statistics = await settleStatistics(found.config, flags, contents, loadedStyles);
  await using model = await StylizingViT.load(flags.model, {
    ...options,
    mean: statistics.mean,
    std: statistics.std,
    ...(flags.batch ? { batchSize: flags.batch } : {}),
  });
  const { adapter, tier } = model.report;
  note(
    `${model.report.model} on ${adapter.name}, ${tier}${adapter.software ? " (a CPU: slow; right for a first look and for tests)" : ""}`,
  );
  if (statistics.source.startsWith("measured")) {
    note(
      `mean ${statistics.mean.map((v) => v.toFixed(4))} and std ${statistics.std.map((v) => v.toFixed(4))} were measured from these images: none is published for this model`,
    );
  }

  const reports: ImageReport[] = [];
  const rows: SheetRow[] = [];
  const paintStart = performance.now();
  const progress = new Progress("painting", jobs.length, "images");
  try {
    const painter = new Painter(model, flags, contents, styles, loadedStyles, rows);
    for (const group of painter.groups(jobs)) {
      await painter.run(group, signal, (report) => {
        reports.push(report);
        progress.update(reports.length);
      });
    }
  } finally {
    progress.stop();
  }
  const milliseconds = performance.now() - paintStart;

  const done = reports.filter((report) => report.status === "done").length;
  let sheet: string | undefined;
  let sheetError: StylizeReport["sheetError"];
  if (flags.sheet && rows.length > 0) {
    const footer = `${model.report.model} · ${adapter.name} · ${tier} · ${done} pictures in ${((performance.now() - start) / 1000).toFixed(1)} s`;
    try {
      await writeFileAtomic(flags.sheet, await contactSheet(rows, { title: "Stylizing ViT", footer }));
      sheet = flags.sheet;
    } catch (error) {
      sheetError = errorDocument(error);
    }
  }
  return {
    ...model.report,
    statistics,
    images: reports,
    done,
    failed: reports.filter((report) => report.status === "failed").length,
    stopped: reports.filter((report) => report.status === "stopped").length,
    ...(sheet ? { sheet } : {}),
    ...(sheetError ? { sheetError } : {}),
    milliseconds: Math.round(milliseconds),
    imagesPerSecond: done === 0 ? 0 : Number(((done * 1000) / milliseconds).toFixed(3)),
  };
}

async function settleStatistics(
  config: { mean?: readonly number[]; std?: readonly number[]; image_size: number; in_channels: number },
  flags: StylizeFlags,
  contents: readonly InputFile[],
  styles: readonly Loaded[],
): Promise<StylizeReport["statistics"]> {
  const mean = flags.mean ?? config.mean;
  const std = flags.std ?? config.std;
  if (mean && std) return { mean, std, source: flags.mean || flags.std ? "given" : "model" };
  const some = await loadAll(contents.slice(0, MEASURED), config.image_size, config.in_channels);
  const images = [...some, ...styles.slice(0, MEASURED)].flatMap((loaded) =>
    "image" in loaded ? [cut(loaded.image, loaded.image.placement)] : [],
  );
  if (images.length === 0) {
    const failure = [...some, ...styles].find((loaded) => "error" in loaded);
    throw failure && "error" in failure
      ? failure.error
      : new StylizingError("ARGUMENT", "No picture can be read.", "Check the paths.");
  }
  const measured = measureStatistics(images);
  return { mean: mean ?? measured.mean, std: std ?? measured.std, source: "measured from these images" };
}

/** A job whose pictures could be read. */
interface Ready {
  job: PaintJob;
  content: FittedImage;
}

class Painter {
  readonly #model: StylizingViT;
  readonly #flags: StylizeFlags;
  readonly #contents: readonly InputFile[];
  readonly #styles: readonly InputFile[];
  readonly #loadedStyles: readonly Loaded[];
  readonly #rows: SheetRow[];

  constructor(
    model: StylizingViT,
    flags: StylizeFlags,
    contents: readonly InputFile[],
    styles: readonly InputFile[],
    loadedStyles: readonly Loaded[],
    rows: SheetRow[],
  ) {
    this.#model = model;
    this.#flags = flags;
    this.#contents = contents;
    this.#styles = styles;
    this.#loadedStyles = loadedStyles;
    this.#rows = rows;
  }

  /** Jobs that share a bank: all of them where the styles are few, otherwise those of each run of styles. */
  groups(jobs: readonly PaintJob[]): PaintJob[][] {
    const groups = new Map<number, PaintJob[]>();
    for (const job of jobs) {
      const number = Math.floor(job.style / BANK);
      const group = groups.get(number);
      if (group) group.push(job);
      else groups.set(number, [job]);
    }
    return [...groups.values()];
  }

  async run(jobs: readonly PaintJob[], signal: AbortSignal | undefined, report: (report: ImageReport) => void): Promise<void> {
    const used = [...new Set(jobs.map((job) => job.style))];
    const readable = used.filter((style) => "image" in this.#loadedStyles[style]!);
    let bank: StyleBank | undefined;
    // A style that serves once is cheaper beside its content.
    if (readable.length > 0 && jobs.length > used.length && !signal?.aborted) {
      bank = await this.#model.styleBank(readable.map((style) => this.#image(style)));
    }
    const inBank = new Map(readable.map((style, index) => [style, index]));
    try {
      // A content's own jobs make one run where it meets many styles: its stream is then computed once.
      const runs = this.#flags.pair === "all" ? this.#byContent(jobs) : batches(jobs, this.#model.batchSize);
      let next = runs[0] && this.#decode(runs[0]);
      for (const [index, run] of runs.entries()) {
        const decoded = await next!;
        if (signal?.aborted) {
          for (const job of runs.slice(index).flat()) report(this.#report(job, { status: "stopped" }));
          return;
        }
        // The next run is decoded while this one is painted.
        const following = runs[index + 1];
        next = following && this.#decode(following);
        for (const result of await this.#paint(run, decoded, bank, inBank)) report(result);
      }
    } finally {
      bank?.dispose();
    }
  }

  #byContent(jobs: readonly PaintJob[]): PaintJob[][] {
    const runs = new Map<number, PaintJob[]>();
    for (const job of jobs) {
      const run = runs.get(job.content);
      if (run) run.push(job);
      else runs.set(job.content, [job]);
    }
    return [...runs.values()];
  }

  #image(style: number): FittedImage {
    return (this.#loadedStyles[style] as { image: FittedImage }).image;
  }

  async #decode(jobs: readonly PaintJob[]): Promise<Map<number, Loaded>> {
    const { image_size: size, in_channels: channels } = this.#model.config;
    const wanted = [...new Set(jobs.map((job) => job.content))];
    const files = wanted.map((content) => this.#contents[content]!);
    const loaded = await loadAll(files, size, channels);
    return new Map(wanted.map((content, index) => [content, loaded[index]!]));
  }

  #report(job: PaintJob, rest: Pick<ImageReport, "status"> & Partial<ImageReport>): ImageReport {
    return {
      content: this.#contents[job.content]!.path,
      style: this.#styles[job.style]!.path,
      output: `${join(this.#flags.out, job.output)}.${this.#flags.format}`,
      ...rest,
    };
  }

  async #paint(
    jobs: readonly PaintJob[],
    contents: Map<number, Loaded>,
    bank: StyleBank | undefined,
    inBank: Map<number, number>,
  ): Promise<ImageReport[]> {
    const start = performance.now();
    const reports = new Map<PaintJob, ImageReport>();
    const fail = (job: PaintJob, error: unknown) =>
      reports.set(job, this.#report(job, { status: "failed", error: errorDocument(error) }));
    const ready: Ready[] = [];
    for (const job of jobs) {
      const content = contents.get(job.content)!;
      const style = this.#loadedStyles[job.style]!;
      if ("error" in content) fail(job, content.error);
      else if ("error" in style) fail(job, style.error);
      else ready.push({ job, content: content.image });
    }
    // Where the device fails, this run's pictures fail and those that are done stay reported.
    const painted = await this.#render(ready, bank, inBank).catch((error: unknown) => {
      for (const { job } of ready) fail(job, error);
      return [];
    });
    await Promise.all(
      painted.map(async (result, index) => {
        const { job, content } = ready[index]!;
        try {
          await this.#save(job, content, result);
          reports.set(job, this.#report(job, { status: "done" }));
        } catch (error) {
          fail(job, error);
        }
      }),
    );
    // In the order of the jobs, whatever order the files were written in.
    for (const [index, result] of painted.entries()) {
      const { job, content } = ready[index]!;
      const wanted = this.#flags.sheet && this.#rows.length < SHEET_ROWS && reports.get(job)!.status === "done";
      if (wanted) this.#rows.push(this.#row(job, content, result));
    }
    const milliseconds = Math.round((performance.now() - start) / jobs.length);
    return jobs.map((job) => ({ ...reports.get(job)!, milliseconds }));
  }

  async #render(ready: readonly Ready[], bank: StyleBank | undefined, inBank: Map<number, number>): Promise<PixelImage[]> {
    if (ready.length === 0) return [];
    const contents: Image[] = ready.map(({ content }) => content);
    if (!bank) {
      const styles = ready.map(({ job }) => this.#image(job.style));
      return (await this.#model.stylize(contents, styles)) as PixelImage[];
    }
    // One content in many styles is given once: its stream is then computed once.
    const alone = new Set(ready.map(({ job }) => job.content)).size === 1;
    const styles = ready.map(({ job }) => inBank.get(job.style)!);
    return (await this.#model.stylize(alone ? contents.slice(0, 1) : contents, bank, { styles })) as PixelImage[];
  }

  async #save(job: PaintJob, content: FittedImage, result: PixelImage): Promise<void> {
    const { format, size, out } = this.#flags;
    const file = `${join(out, job.output)}.${format}`;
    if (job.output.includes("/")) await ensureOutputFolder(join(file, ".."));
    const image =
      size === "keep" ? await unfit(result, content.placement, content.originalWidth, content.originalHeight) : result;
    await saveImage(file, image, { format });
  }

  #row(job: PaintJob, content: FittedImage, result: PixelImage): SheetRow {
    const style = this.#styles[job.style]!.path;
    return {
      content: { name: this.#contents[job.content]!.path, image: content },
      style: { name: style, image: this.#image(job.style) },
      result: { name: job.output, image: result },
    };
  }
}

/** Runs `work` with a signal that the first Ctrl-C raises; the second ends the process as it always does. */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { after = "this batch", before = "anything was painted" } = {},
): Promise<T> {
  const controller = new AbortController();
  const stop = () => {
    note(`\nstopping after ${after} (Ctrl-C again to stop at once)`);
    controller.abort(new Stopped(`Stopped by Ctrl-C before ${before}.`));
  };
  process.once("SIGINT", stop);
  try {
    return await work(controller.signal);
  } finally {
    process.off("SIGINT", stop);
  }
}

/** Says on stderr what was done and lists what was not. @returns the exit code. */
export function concludeStylize(report: StylizeReport, flags: Pick<StylizeFlags, "out" | "json">): number {
  for (const image of report.images)
    if (image.status === "failed") note(`failed: ${image.content} in ${image.style}: ${image.error!.message}`);
  const rest = [report.failed && `${report.failed} failed`, report.stopped && `${report.stopped} not begun`]
    .filter(Boolean)
    .join(", ");
  note(
    `${report.done} of ${report.images.length} painted into ${flags.out}${rest ? ` (${rest})` : ""}, ${report.imagesPerSecond} images/s${report.sheet ? `; sheet: ${report.sheet}` : ""}`,
  );
  if (report.sheetError) note(`failed: ${report.sheetError.message}`);
  if (flags.json) printJson(report);
  if (report.stopped > 0) return EXIT.stopped;
  return report.failed > 0 || report.sheetError ? EXIT.failed : EXIT.done;
}

export function addStylize(program: Command): void {
  addModelFlags(
    program
      .command("stylize")
      .description("paint content pictures in the style of others")
      .requiredOption("--content <path...>", "pictures, or folders of pictures, to repaint")
      .requiredOption("--style <path...>", "pictures, or folders of pictures, whose appearance to take")
      .requiredOption("--out <folder>", "where results go")
      .option("--model <name>", "a published name, a folder, a .safetensors file, or demo", "demo")
      .option("--mean <r,g,b>", "mean of the model's training images, in [0, 1]", channelList)
      .option("--std <r,g,b>", "their standard deviation", channelList)
      .addOption(
        new Option("--pair <way>", "each: i-th with i-th; all: every content in every style; random: a seeded style for each")
          .choices(["each", "all", "random"])
          .default("each"),
      )
      .option("--batch <n>", "pictures a submission", positiveInteger)
      .option("--seed <n>", "for --pair random", wholeNumber, 0)
      .addOption(new Option("--format <kind>", "of the results").choices(["png", "jpeg", "webp"]).default("png"))
      .addOption(
        new Option("--size <kind>", "model: the model's square; keep: the content's own size")
          .choices(["model", "keep"])
          .default("model"),
      )
      .option("--sheet <file>", "also write a labelled contact sheet (PNG)"),
  ).action(async (flags: StylizeFlags) => {
    process.exitCode = concludeStylize(await interruptible((signal) => stylizeFiles(flags, signal)), flags);
  });
}
