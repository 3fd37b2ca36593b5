import { realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Command, Option } from "commander";
import { StylizingError } from "../errors.js";
import { ensureOutputFolder, writeFileAtomic } from "../image/atomic-write.js";
import type { OutputFormat } from "../image/encode.js";
import { ImagePool } from "../image/pool.js";
import { cut, type FittedImage } from "../image/preprocess.js";
import { contactSheet, type SheetRow } from "../image/sheet.js";
import type { PixelImage } from "../image/types.js";
import { measureStatistics } from "../model/batch.js";
import { type FoundModel, findModel, withStatisticsOf } from "../model/open.js";
import type { PaintedBatch, StreamPair, StreamTiming } from "../model/stream.js";
import { type ModelReport, type StyleBank, StylizingViT } from "../model/stylizing-vit.js";
import { type InputFile, listInputs, type PaintJob, type Pairing, pairJobs } from "./inputs.js";
import { Progress } from "./progress.js";
import {
  addModelFlags,
  channelList,
  countFromZero,
  EXIT,
  errorDocument,
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
  workers?: number;
}

/** What became of one picture. */
export interface ImageReport {
  content: string;
  style: string;
  output: string;
  status: "done" | "failed" | "stopped";
  /** Its share of the time from the files of the batch before to those of its own batch. */
  milliseconds?: number;
  error?: { code: string; message: string; fix: string };
}

/** Where the time went, in milliseconds; stages overlap, so they do not add up to what passed. */
export interface TimingReport extends Omit<StreamTiming, "milliseconds"> {
  /** Encoding and writing results, summed over the threads that did it. */
  save: number;
  hostPerBatch: number;
  /** Threads for reading and writing pictures; 0: the main thread did it. */
  workers: number;
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
  /** Missing where nothing was painted. */
  timing?: TimingReport;
}

/** Styles kept on the device at a time: at the base size a gigabyte in f32. */
const BANK = 64;
/** Pictures that a sheet is made from; it shows fewer. */
const SHEET_ROWS = 400;
/** Pictures that a model's unknown statistics are measured from. */
const MEASURED = 64;
/** Channels of the models that take pictures. */
const CHANNELS = [1, 3];

type Loaded = { image: FittedImage } | { error: unknown };

/** Loads pictures, as many at a time as the pool takes. */
function loadAll(pool: ImagePool, files: readonly InputFile[], size: number, channels: number): Promise<Loaded[]> {
  return Promise.all(
    files.map(({ path }) =>
      pool.load({ file: path, size, channels: channels as 1 | 3 }).then(
        (image) => ({ image }),
        (error: unknown) => ({ error }),
      ),
    ),
  );
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
 * @param known the model, where it has been found already.
 * @throws StylizingError where nothing at all can be done: no inputs, no model, no adapter, no output folder.
 */
export async function stylizeFiles(flags: StylizeFlags, signal?: AbortSignal, known?: FoundModel): Promise<StylizeReport> {
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
  const found = known ?? (await findModel(flags.model, options));
  const { in_channels: channels } = found.config;
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
  await using pool = new ImagePool(flags.workers);
  if (pool.note) note(pool.note);
  const statistics = await settleStatistics(found.config, flags, pool, contents, styles);
  await using model = await StylizingViT.loadFound(withStatisticsOf(found, statistics), {
    ...options,
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

  const paintStart = performance.now();
  const progress = new Progress("painting", jobs.length, "images");
  const painter = new Painter(model, pool, flags, contents, styles, (done) => progress.update(done));
  let reports: ImageReport[];
  try {
    reports = await painter.run(jobs, signal);
  } finally {
    progress.stop();
  }
  const { rows } = painter;
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
    ...(painter.timing ? { timing: painter.timing } : {}),
  };
}

async function settleStatistics(
  config: { mean?: readonly number[]; std?: readonly number[]; image_size: number; in_channels: number },
  flags: StylizeFlags,
  pool: ImagePool,
  contents: readonly InputFile[],
  styles: readonly InputFile[],
): Promise<StylizeReport["statistics"]> {
  const mean = flags.mean ?? config.mean;
  const std = flags.std ?? config.std;
  if (mean && std) return { mean, std, source: flags.mean || flags.std ? "given" : "model" };
  const files = [...contents.slice(0, MEASURED), ...styles.slice(0, MEASURED)];
  const some = await loadAll(pool, files, config.image_size, config.in_channels);
  const images = some.flatMap((loaded) => ("image" in loaded ? [cut(loaded.image, loaded.image.placement)] : []));
  if (images.length === 0) {
    const failure = some.find((loaded) => "error" in loaded);
    throw failure && "error" in failure
      ? failure.error
      : new StylizingError("ARGUMENT", "No picture can be read.", "Check the paths.");
  }
  const measured = measureStatistics(images);
  return { mean: mean ?? measured.mean, std: std ?? measured.std, source: "measured from these images" };
}

/** A job as the stream takes it: a style is a file, or a number in a bank. */
interface JobPair extends StreamPair {
  job: PaintJob;
}

/** Jobs that are painted by one stream. */
interface Block {
  jobs: PaintJob[];
  banked: boolean;
}

/** Batches whose results may still be on their way to the disk when the next one is asked for. */
const SAVES_UNDER_WAY = 2;

class Painter {
  readonly #model: StylizingViT;
  readonly #pool: ImagePool;
  readonly #flags: StylizeFlags;
  readonly #contents: readonly InputFile[];
  readonly #styles: readonly InputFile[];
  readonly #onDone: (done: number) => void;
  readonly #reports = new Map<PaintJob, ImageReport>();
  readonly #folders = new Map<string, Promise<void>>();
  readonly #timings: StreamTiming[] = [];
  #saveTime = 0;
  #lastSaved = performance.now();
  /** For the sheet, in the order of the jobs. */
  readonly rows: SheetRow[] = [];

  constructor(
    model: StylizingViT,
    pool: ImagePool,
    flags: StylizeFlags,
    contents: readonly InputFile[],
    styles: readonly InputFile[],
    onDone: (done: number) => void,
  ) {
    this.#model = model;
    this.#pool = pool;
    this.#flags = flags;
    this.#contents = contents;
    this.#styles = styles;
    this.#onDone = onDone;
  }

  /** Where the time went, over all streams; `busy` is weighted by how long each took. */
  get timing(): TimingReport | undefined {
    const all = this.#timings.filter(({ batches }) => batches > 0);
    if (all.length === 0) return undefined;
    const sum = (value: (timing: StreamTiming) => number) => all.reduce((total, timing) => total + value(timing), 0);
    const batches = sum((t) => t.batches);
    const host = sum((t) => t.host);
    return {
      decode: sum((t) => t.decode),
      upload: sum((t) => t.upload),
      compute: sum((t) => t.compute),
      download: sum((t) => t.download),
      wait: sum((t) => t.wait),
      save: this.#saveTime,
      host,
      hostPerBatch: host / batches,
      batches,
      images: sum((t) => t.images),
      busy: sum((t) => t.busy * t.milliseconds) / sum((t) => t.milliseconds),
      clock: all[0]!.clock,
      workers: this.#pool.workers,
    };
  }

  /** Paints and saves all jobs. What the signal keeps from being begun is reported as stopped. */
  async run(jobs: readonly PaintJob[], signal: AbortSignal | undefined): Promise<ImageReport[]> {
    const blocks = this.#blocks(jobs);
    for (const block of blocks) if (!signal?.aborted) await this.#paintBlock(block, signal);
    const ordered = blocks.flatMap((block) => block.jobs);
    return ordered.map((job) => this.#reports.get(job) ?? this.#report(job, { status: "stopped" }));
  }

  /**
   * Jobs that share a bank: all of them where the styles are few, otherwise those of each run of styles. A style that serves
   * once is cheaper beside its content; neighbouring jobs of that kind make one block.
   */
  #blocks(jobs: readonly PaintJob[]): Block[] {
    const runs = new Map<number, PaintJob[]>();
    for (const job of jobs) append(runs, Math.floor(job.style / BANK), job);
    const blocks: Block[] = [];
    for (const run of runs.values()) {
      const banked = run.length > new Set(run.map((job) => job.style)).size;
      const last = blocks.at(-1);
      if (last && !last.banked && !banked) last.jobs.push(...run);
      else blocks.push({ jobs: run, banked });
    }
    return blocks;
  }

  async #paintBlock({ jobs, banked }: Block, signal: AbortSignal | undefined): Promise<void> {
    if (!banked) return this.#paint(jobs, undefined, new Map(), signal);
    const { image_size: size, in_channels: channels } = this.#model.config;
    const used = [...new Set(jobs.map((job) => job.style))];
    const files = used.map((style) => this.#styles[style]!);
    const loaded = await loadAll(this.#pool, files, size, channels);
    const images = new Map<number, FittedImage>();
    for (const [index, style] of loaded.entries()) {
      if ("image" in style) images.set(used[index]!, style.image);
      else for (const job of jobs) if (job.style === used[index]) this.#fail(job, style.error);
    }
    const paintable = jobs.filter((job) => images.has(job.style));
    if (paintable.length === 0) return;
    const bank = await this.#model.styleBank([...images.values()]);
    try {
      await this.#paint(paintable, bank, images, signal);
    } finally {
      bank.dispose();
    }
  }

  async #paint(
    jobs: readonly PaintJob[],
    bank: StyleBank | undefined,
    styles: ReadonlyMap<number, FittedImage>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const inBank = new Map([...styles.keys()].map((style, index) => [style, index]));
    const pairOf = (job: PaintJob): JobPair => ({
      job,
      content: this.#contents[job.content]!.path,
      style: bank ? inBank.get(job.style)! : this.#styles[job.style]!.path,
    });
    // A content's own jobs make one batch where it meets many styles: its stream is then computed once.
    let runs = bank && this.#flags.pair === "all" ? byContent(jobs) : batches(jobs, this.#model.batchSize);
    while (runs.length > 0 && !signal?.aborted) {
      async function* groups(all: readonly PaintJob[][]) {
        for (const run of all) yield run.map(pairOf);
      }
      const saving: Promise<void>[] = [];
      try {
        const stream = this.#model.streamBatches(groups(runs), {
          bank,
          pool: this.#pool,
          shared: true,
          stop: signal,
          onUnreadable: ({ job }, error) => this.#fail(job, error),
          onTiming: (timing) => this.#timings.push(timing),
        });
        for await (const batch of stream) {
          saving.push(this.#saveAll(batch, styles, saving.at(-1)));
          if (saving.length >= SAVES_UNDER_WAY) await saving.shift();
        }
        return;
      } catch (error) {
        // Where the device fails, this batch's pictures fail, those that are done stay reported, and the rest is tried.
        await Promise.all(saving);
        const open = (run: readonly PaintJob[]) => run.some((job) => !this.#reports.has(job));
        const failed = runs.findIndex(open);
        for (const job of runs[failed] ?? []) if (!this.#reports.has(job)) this.#fail(job, error);
        runs = runs.slice(failed + 1).filter(open);
      } finally {
        await Promise.all(saving);
      }
    }
  }

  /** Saves a batch's results and reports on them, after those of the batch before. */
  async #saveAll(
    { pairs, images, contents, styles }: PaintedBatch<JobPair>,
    banked: ReadonlyMap<number, FittedImage>,
    before: Promise<void> | undefined,
  ): Promise<void> {
    const results = images as PixelImage[];
    const saved = await Promise.allSettled(
      pairs.map(({ job }, index) => this.#save(job, contents[index] as FittedImage, results[index]!)),
    );
    await before;
    const now = performance.now();
    const milliseconds = Math.round((now - this.#lastSaved) / pairs.length);
    this.#lastSaved = now;
    for (const [index, outcome] of saved.entries()) {
      const { job } = pairs[index]!;
      if (outcome.status === "rejected") {
        this.#fail(job, outcome.reason, milliseconds);
        continue;
      }
      this.#done(job, this.#report(job, { status: "done", milliseconds }));
      if (!this.#flags.sheet || this.rows.length >= SHEET_ROWS) continue;
      const style = banked.get(job.style) ?? (styles[index] as FittedImage);
      this.rows.push(this.#row(job, contents[index] as FittedImage, style, results[index]!));
    }
  }

  #report(job: PaintJob, rest: Pick<ImageReport, "status"> & Partial<ImageReport>): ImageReport {
    return {
      content: this.#contents[job.content]!.path,
      style: this.#styles[job.style]!.path,
      output: this.#output(job),
      ...rest,
    };
  }

  #done(job: PaintJob, report: ImageReport): void {
    this.#reports.set(job, report);
    this.#onDone(this.#reports.size);
  }

  #fail(job: PaintJob, error: unknown, milliseconds = 0): void {
    this.#done(job, this.#report(job, { status: "failed", error: errorDocument(error), milliseconds }));
  }

  #output(job: PaintJob): string {
    return `${join(this.#flags.out, job.output)}.${this.#flags.format}`;
  }

  async #save(job: PaintJob, content: FittedImage, result: PixelImage): Promise<void> {
    const { format, size } = this.#flags;
    const file = this.#output(job);
    if (job.output.includes("/")) {
      const folder = dirname(file);
      if (!this.#folders.has(folder)) this.#folders.set(folder, ensureOutputFolder(folder));
      await this.#folders.get(folder);
    }
    const { placement, originalWidth, originalHeight } = content;
    const fit = size === "keep" ? { placement, originalWidth, originalHeight } : undefined;
    const milliseconds = await this.#pool.save({ file, image: result, format, fit });
    this.#saveTime += milliseconds;
  }

  #row(job: PaintJob, content: FittedImage, style: FittedImage, result: PixelImage): SheetRow {
    return {
      content: { name: this.#contents[job.content]!.path, image: content },
      style: { name: this.#styles[job.style]!.path, image: style },
      // Out of the memory that its whole batch shares.
      result: { name: job.output, image: { ...result, data: new Uint8Array(result.data) } },
    };
  }
}

/** Appends to the list of a key. */
function append<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}

function byContent(jobs: readonly PaintJob[]): PaintJob[][] {
  const runs = new Map<number, PaintJob[]>();
  for (const job of jobs) append(runs, job.content, job);
  return [...runs.values()];
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
  if (report.timing) note(whereTheTimeWent(report.timing));
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
      .option(
        "--workers <n>",
        "threads that read and write pictures; 0: none (default: the number of cores, at most 8)",
        countFromZero,
      )
      .option("--sheet <file>", "also write a labelled contact sheet (PNG)"),
  ).action(async (flags: StylizeFlags) => {
    process.exitCode = concludeStylize(await interruptible((signal) => stylizeFiles(flags, signal)), flags);
  });
}
