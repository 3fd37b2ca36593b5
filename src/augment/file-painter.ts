import { dirname } from "node:path";
import { ensureOutputFolder } from "../image/atomic-write.js";
import { pixelsIn } from "../image/header.js";
import type { ImagePool } from "../image/pool.js";
import { cut, type FittedImage, placementIn } from "../image/preprocess.js";
import { resize } from "../image/resize.js";
import type { SheetRow } from "../image/sheet.js";
import type { LoadedImage } from "../image/tasks.js";
import type { PixelImage } from "../image/types.js";
import { type SizeOptions, type Sizing, settleSizing } from "../painter/sizing.js";
import type { PaintedBatch, StreamPair, StreamTiming } from "../painter/stream.js";
import type { StyleBank } from "../painter/style-bank.js";
import type { StylizingViT } from "../painter/stylizing-vit.js";
import { runsOf } from "../runs.js";
import { Failures } from "./failures.js";
import { type InputFile, knownErrors, type PaintJob, pathsOf, resultFile } from "./inputs.js";
import type { InputReader } from "./load.js";
import { paintSlide } from "./paint-slide.js";
import type { ImageReport, PaintFilesOptions, TimingReport } from "./report.js";

/** Styles kept on the device at a time: at the base size a gigabyte in f32. */
const BANK = 64;
/** Images that a sheet is made from; it shows fewer. */
const SHEET_ROWS = 400;
/** The side that images are kept at for it: as large as it shows them. */
const SHEET_TILE = 224;
/** Pixels of a batch's contents at their own size: with three batches under way, and results, some hundreds of megabytes. */
const BATCH_PIXELS = 2 ** 25;

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

/** Paints jobs file by file: what cannot be read or written is reported, and the rest is done. */
export class FilePainter {
  readonly #model: StylizingViT;
  readonly #pool: ImagePool;
  readonly #reader: InputReader;
  readonly #options: PaintFilesOptions;
  readonly #contents: readonly InputFile[];
  readonly #styles: readonly InputFile[];
  readonly #onDone: (done: number) => void;
  readonly #sizing: Sizing;
  /** Whether results have their size, and what is theirs of the content, when they come from the model. */
  readonly #sized: boolean;
  /** Of contents, by number. */
  readonly #pixels = new Map<number, Promise<number>>();
  readonly #reports = new Map<PaintJob, ImageReport>();
  readonly #folders = new Map<string, Promise<void>>();
  readonly #timings: StreamTiming[] = [];
  #saveTime = 0;
  #lastSaved = performance.now();
  readonly failures: Failures;
  /** For the sheet, in the order of the jobs. */
  readonly rows: SheetRow[] = [];

  constructor(
    model: StylizingViT,
    pool: ImagePool,
    reader: InputReader,
    options: PaintFilesOptions,
    contents: readonly InputFile[],
    styles: readonly InputFile[],
    onDone: (done: number) => void,
  ) {
    this.#model = model;
    this.#pool = pool;
    this.#reader = reader;
    this.#options = options;
    this.#contents = contents;
    this.#styles = styles;
    this.#onDone = onDone;
    this.failures = new Failures(options.onNote, knownErrors([...contents, ...styles]));
    this.#sizing = settleSizing(options, model.config);
    this.#sized = this.#sizing.detail === "guided" || this.#sizing.background !== undefined;
  }

  /** What the stream is told of sizes. */
  get #stream(): SizeOptions {
    const { size, detail, fit, scale, background, skipBlank } = this.#sizing;
    if (!this.#sized) return { fit };
    return { size, detail, fit, scale, background: background ? "keep" : "paint", skipBlank };
  }

  #pixelsOf(content: number): Promise<number> {
    let pixels = this.#pixels.get(content);
    if (!pixels) {
      pixels = pixelsIn(this.#contents[content]!.path);
      this.#pixels.set(content, pixels);
    }
    return pixels;
  }

  /** A run in parts whose contents are in memory at their own size together. */
  async #cutBySize(run: readonly PaintJob[]): Promise<PaintJob[][]> {
    if (!this.#sized) return [[...run]];
    const pixels = await Promise.all(run.map(({ content }) => this.#pixelsOf(content)));
    return runsOf(run, BATCH_PIXELS, (_, index) => pixels[index]!);
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

  /** Paints and saves jobs. What the signal or a full disk keeps from being begun is reported as stopped. */
  async run(jobs: readonly PaintJob[], signal: AbortSignal | undefined): Promise<Map<PaintJob, ImageReport>> {
    const stop = AbortSignal.any([this.failures.stop, ...(signal ? [signal] : [])]);
    for (const block of this.#blocks(jobs.filter(({ slide }) => !slide))) if (!stop.aborted) await this.#paintBlock(block, stop);
    for (const job of jobs.filter(({ slide }) => slide)) if (!stop.aborted) await this.#paintSlide(job, stop);
    return new Map(jobs.map((job) => [job, this.#reports.get(job) ?? this.#report(job, { status: "stopped" })]));
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

  async #paintBlock({ jobs, banked }: Block, signal: AbortSignal): Promise<void> {
    if (!banked) return this.#paint(jobs, undefined, new Map(), signal);
    const { image_size: size, in_channels: channels } = this.#model.config;
    const used = [...new Set(jobs.map((job) => job.style))];
    const files = used.map((style) => this.#styles[style]!);
    const loaded = await this.#reader.loadAll(files, size, channels);
    const images = new Map<number, FittedImage>();
    for (const [index, style] of loaded.entries()) {
      if ("image" in style) images.set(used[index]!, style.image);
      else {
        const lost = jobs.filter((job) => job.style === used[index]);
        this.#fail(lost, style.error);
      }
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

  /** A whole slide, which is on the disk and goes there: one at a time. What was stopped in the middle was not begun. */
  async #paintSlide(job: PaintJob, signal: AbortSignal): Promise<void> {
    const start = performance.now();
    const milliseconds = () => Math.round(performance.now() - start);
    const [content, style] = [this.#contents[job.content]!, this.#styles[job.style]!];
    try {
      if (content.error !== undefined) throw content.error;
      const { image_size: size, in_channels: channels } = this.#model.config;
      const [loaded] = await this.#reader.loadAll([style], size, channels, signal);
      if ("error" in loaded!) throw loaded.error;
      using bank = await this.#model.styleBank([loaded!.image], { signal });
      const tell = (done: number, total: number) => this.#options.onSlide?.(content.path, done, total);
      const counts = await paintSlide(this.#model, bank, content, resultFile(job, this.#options), this.#options, signal, tell);
      this.#done(job, this.#report(job, { status: "done", milliseconds: milliseconds(), ...counts }));
    } catch (error) {
      if (!signal.aborted) this.#fail([job], error, milliseconds());
    }
  }

  async #paint(
    jobs: readonly PaintJob[],
    bank: StyleBank | undefined,
    styles: ReadonlyMap<number, FittedImage>,
    signal: AbortSignal,
  ): Promise<void> {
    const inBank = new Map([...styles.keys()].map((style, index) => [style, index]));
    const pairOf = (job: PaintJob): JobPair => ({
      job,
      content: this.#reader.key(this.#contents[job.content]!),
      style: bank ? inBank.get(job.style)! : this.#reader.key(this.#styles[job.style]!),
    });
    // A content's own jobs make one batch where it meets many styles: its stream is then computed once.
    let runs = bank && this.#options.pair === "all" ? byContent(jobs) : runsOf(jobs, this.#model.batchSize, () => 1);
    while (runs.length > 0 && !signal.aborted) {
      const cut = (run: readonly PaintJob[]) => this.#cutBySize(run);
      async function* groups(all: readonly PaintJob[][]) {
        for (const run of all) for (const part of await cut(run)) yield part.map(pairOf);
      }
      const saving: Promise<void>[] = [];
      try {
        const stream = this.#model.streamBatches(groups(runs), {
          bank,
          ...this.#stream,
          pool: this.#reader,
          shared: true,
          stop: signal,
          onUnreadable: ({ job }, error) => this.#fail([job], error),
          onTiming: (timing) => this.#timings.push(timing),
        });
        for await (const batch of stream) {
          saving.push(this.#saveAll(batch, styles, saving.at(-1)));
          if (saving.length >= SAVES_UNDER_WAY) await saving.shift();
        }
        return;
      } catch (error) {
        // Where the device fails, this batch's images fail, those that are done stay reported, and the rest is tried.
        await Promise.all(saving);
        const open = (run: readonly PaintJob[]) => run.some((job) => !this.#reports.has(job));
        const failed = runs.findIndex(open);
        const lost = (runs[failed] ?? []).filter((job) => !this.#reports.has(job));
        if (lost.length > 0) this.#fail(lost, error);
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
        this.#fail([job], outcome.reason, milliseconds);
        continue;
      }
      this.#done(job, this.#report(job, { status: "done", milliseconds }));
      if (!this.#options.sheet || this.rows.length >= SHEET_ROWS) continue;
      const style = banked.get(job.style) ?? (styles[index] as FittedImage);
      this.rows.push(await this.#row(job, contents[index] as LoadedImage, style, results[index]!));
    }
  }

  #report(job: PaintJob, rest: Pick<ImageReport, "status"> & Partial<ImageReport>): ImageReport {
    return { ...pathsOf(job, this.#contents, this.#styles), output: resultFile(job, this.#options), ...rest };
  }

  #done(job: PaintJob, report: ImageReport): void {
    this.#reports.set(job, report);
    this.#onDone(this.#reports.size);
  }

  /** Jobs that failed for one reason. */
  #fail(jobs: readonly PaintJob[], error: unknown, milliseconds = 0): void {
    const reason = this.failures.add(this.#describe(jobs), error);
    for (const job of jobs) this.#done(job, this.#report(job, { status: "failed", error: reason, milliseconds }));
  }

  #describe(jobs: readonly PaintJob[]): string {
    const { content, style } = this.#report(jobs[0]!, { status: "failed" });
    const more = jobs.length > 1 ? ` and ${jobs.length - 1} more` : "";
    // One style that cannot be read, or a batch.
    return jobs.every((job) => job.style === jobs[0]!.style) ? `${content}${more} in ${style}` : `${content} in ${style},${more}`;
  }

  async #save(job: PaintJob, content: FittedImage, result: PixelImage): Promise<void> {
    const { format } = this.#options;
    const file = resultFile(job, this.#options);
    const folder = dirname(file);
    if (!this.#folders.has(folder)) this.#folders.set(folder, ensureOutputFolder(folder));
    await this.#folders.get(folder);
    const { placement, source } = content;
    // What detail and background are taken from the content for has its size already; enlarging alone is left to the threads.
    const fit = this.#sizing.size === "keep" && !this.#sized ? { placement, source } : undefined;
    const milliseconds = await this.#pool.save({ file, image: result, format, fit });
    this.#saveTime += milliseconds;
  }

  async #row(job: PaintJob, content: LoadedImage, style: FittedImage, result: PixelImage): Promise<SheetRow> {
    const title = ({ path, name, page }: InputFile) => (page === undefined ? path : name);
    const shown = (image: FittedImage) => cut(image, image.placement);
    return {
      content: { name: title(this.#contents[job.content]!), image: await small(content.original ?? shown(content)) },
      style: { name: title(this.#styles[job.style]!), image: shown(style) },
      result: { name: job.output, image: await small(result) },
    };
  }
}

/** An image that is no larger than a tile of a sheet, and in memory of its own: its whole batch may share the other. */
export async function small({ data, ...image }: PixelImage): Promise<PixelImage> {
  const own = { ...image, data: new Uint8Array(data) };
  if (Math.max(own.width, own.height) <= SHEET_TILE) return own;
  const { width, height } = placementIn(SHEET_TILE, own.width, own.height);
  return resize(own, width, height);
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
