import { dirname } from "node:path";
import { StylizingError } from "../errors.js";
import { ensureOutputFolder, writeFileAtomic } from "../image/atomic-write.js";
import { inColour } from "../image/luma.js";
import { ImagePool } from "../image/pool.js";
import { contactSheet, type SheetRow } from "../image/sheet.js";
import type { PixelImage } from "../image/types.js";
import type { GpuOptions } from "../models/device.js";
import { ClosedForms } from "../restyle/closed-forms.js";
import { type RandStainTable, wantsTable } from "../restyle/methods.js";
import type { Method, Params, Restyled, RestyleJob, Restyler } from "../restyle/types.js";
import { runsOf } from "../runs.js";
import { drawsOf } from "./draws.js";
import { Failures } from "./failures.js";
import { small } from "./file-painter.js";
import { restyleAny } from "./grey.js";
import { type InputFile, knownErrors, type PaintJob, pathsOf, resultFile } from "./inputs.js";
import { InputReader } from "./load.js";
import { prepareFiles } from "./prepare.js";
import type { FilesOptions, ImageReport, ImagesReport } from "./report.js";

export interface RestyleFilesOptions extends FilesOptions {
  /** A closed form: the model has `paintFiles`. */
  method: Method;
  /** Its numbers; what is missing is drawn by the seed and the content's name. */
  params: Params;
  /** From 0, the content, to 1, the result; default 1. */
  strength?: number | undefined;
  background?: "keep" | "paint" | undefined;
  skipBlank?: boolean | undefined;
  load: GpuOptions;
}

export interface RestyleReport extends ImagesReport {
  method: string;
  adapter?: string;
  /** Images that the method declined: they are written as they were. */
  declined: number;
}

/** Images at a time where none are asked for, and the bytes of their contents. */
const BATCH = 16;
const BATCH_BYTES = 2 ** 26;
/** Images that a sheet is made from; it shows fewer. */
const SHEET_ROWS = 400;

/**
 * Restyles files by a closed form, each at its own size. What cannot be read or written is reported and the rest is done.
 * @param signal stops between batches.
 * @throws StylizingError where nothing at all can be done: no inputs, results that exist already, no adapter, no output folder.
 */
export async function restyleFiles(given: RestyleFilesOptions, signal?: AbortSignal): Promise<RestyleReport> {
  const { method, params, onNote, onProgress } = given;
  method.check(params);
  const needsStyle = method.needsStyle(params);
  if (!method.takesStyle(params) && given.style.length > 0)
    throw new StylizingError("ARGUMENT", `${method.name} takes no style with these parameters.`, "Leave --style away.");
  if (needsStyle && given.style.length === 0)
    throw new StylizingError(
      "ARGUMENT",
      `${method.name} needs a style.`,
      `Give --style, or its numbers: \`stylizing-vit methods ${method.name}\` lists them.`,
    );
  const { contents, styles, left, options, reportOn } = await prepareFiles({ ...given, needsStyle }, refuseSlides);
  const about = { method: method.name, declined: 0 };
  if (left.length === 0) return { ...reportOn(new Map(), 0), ...about };

  const start = performance.now();
  await using pool = new ImagePool(options.workers);
  if (pool.note) onNote?.(pool.note);
  await using forms = await ClosedForms.open({ ...options.load, ...(onNote ? { onNote } : {}) });
  const restyler = await forms.restyler(method.name);
  const table = wantsTable(method, params)
    ? await tableOf(forms, styles, new InputReader(pool, options, onNote), signal)
    : undefined;
  const settled = table ? { ...options, params: { ...params, table } } : options;
  const run = new RestyleRun(restyler, pool, settled, contents, styles);
  onProgress?.(0, left.length);
  const done = await run.run(left, signal);
  const report = reportOn(done, performance.now() - start);
  const { stopReason } = run.failures;
  let sheet: string | undefined;
  if (options.sheet && run.rows.length > 0 && !stopReason) {
    sheet = options.sheet;
    const footer = `${method.name} · ${restyler.report.adapter} · ${report.done} ${report.done === 1 ? "image" : "images"}`;
    await writeFileAtomic(sheet, await contactSheet(run.rows, { title: method.name, footer }));
  }
  const declined = report.images.filter(({ status, applied }) => status === "done" && applied === false).length;
  return {
    ...{ ...report, ...about, adapter: restyler.report.adapter, declined },
    ...(stopReason ? { stopReason } : {}),
    ...(sheet ? { sheet } : {}),
  };
}

/** RandStainNA's table of all styles. @throws StylizingError `IMAGE` for one that cannot be read */
function tableOf(
  forms: ClosedForms,
  styles: readonly InputFile[],
  reader: InputReader,
  signal: AbortSignal | undefined,
): Promise<RandStainTable> {
  async function* images() {
    for (const style of styles) yield inColour(await reader.decode(style, signal));
  }
  return forms.fitRandStainNA(images(), signal);
}

function refuseSlides(contents: readonly InputFile[]): void {
  const slide = contents.find((file) => file.slide);
  if (slide)
    throw new StylizingError(
      "ARGUMENT",
      `${slide.path} is a whole slide.`,
      "Only stylizing-vit paints slides: leave --method away, or cut it into tiles.",
    );
}

interface Loaded {
  job: PaintJob;
  content: PixelImage;
  style: PixelImage | undefined;
}

class RestyleRun {
  readonly #restyler: Restyler;
  readonly #pool: ImagePool;
  readonly #options: RestyleFilesOptions;
  readonly #contents: readonly InputFile[];
  readonly #styles: readonly InputFile[];
  readonly #reader: InputReader;
  readonly #reports = new Map<PaintJob, ImageReport>();
  /** Of the last batches, by number. */
  readonly #decoded = new Map<number, Promise<PixelImage>>();
  readonly #folders = new Map<string, Promise<void>>();
  readonly failures: Failures;
  #total = 0;
  readonly #rows = new Map<PaintJob, SheetRow>();

  constructor(
    restyler: Restyler,
    pool: ImagePool,
    options: RestyleFilesOptions,
    contents: readonly InputFile[],
    styles: readonly InputFile[],
  ) {
    this.#restyler = restyler;
    this.#pool = pool;
    this.#options = options;
    this.#contents = contents;
    this.#styles = styles;
    this.#reader = new InputReader(pool, options, options.onNote);
    this.failures = new Failures(options.onNote, knownErrors([...contents, ...styles]));
  }

  /** What the signal or a full disk keeps from being begun is reported as stopped. */
  async run(jobs: readonly PaintJob[], signal: AbortSignal | undefined): Promise<Map<PaintJob, ImageReport>> {
    const stop = AbortSignal.any([this.failures.stop, ...(signal ? [signal] : [])]);
    const { batch = BATCH } = this.#options;
    this.#total = jobs.length;
    let saving: Promise<void> = Promise.resolve();
    let loading: Promise<Loaded[]> = this.#loadAll(jobs.slice(0, batch));
    for (let first = 0; first < jobs.length && !stop.aborted; first += batch) {
      const some = await loading;
      // The next ones are read while these are restyled, and those before are written.
      loading = this.#loadAll(jobs.slice(first + batch, first + 2 * batch));
      // What is on the device together.
      for (const part of runsOf(some, BATCH_BYTES, ({ content }) => content.data.length)) {
        const results = await this.#restyle(part);
        await saving;
        saving = this.#saveAll(part, results);
      }
    }
    await Promise.all([saving, loading]);
    return new Map(jobs.map((job) => [job, this.#reports.get(job) ?? this.#report(job, { status: "stopped" })]));
  }

  /** For the sheet, in the order of the jobs. */
  get rows(): SheetRow[] {
    return [...this.#rows].sort(([a], [b]) => a.content - b.content || a.style - b.style).map(([, row]) => row);
  }

  async #loadAll(jobs: readonly PaintJob[]): Promise<Loaded[]> {
    const needed = new Set(jobs.map(({ style }) => style));
    for (const style of this.#decoded.keys()) if (!needed.has(style)) this.#decoded.delete(style);
    const loaded = await Promise.all(
      jobs.map(async (job): Promise<Loaded[]> => {
        try {
          const [content, style] = await Promise.all([this.#reader.decode(this.#contents[job.content]!), this.#styleOf(job)]);
          return [{ job, content, style }];
        } catch (error) {
          this.#fail(job, error);
          return [];
        }
      }),
    );
    return loaded.flat();
  }

  /** Decoded once for neighbours that share it. */
  #styleOf({ style }: PaintJob): Promise<PixelImage | undefined> {
    const file = this.#styles[style];
    if (!file || !this.#options.method.takesStyle(this.#options.params)) return Promise.resolve(undefined);
    let image = this.#decoded.get(style);
    if (!image) {
      image = this.#reader.decode(file);
      this.#decoded.set(style, image);
    }
    return image;
  }

  /** Results, or for each why there is none; one that fails leaves the others alone. */
  async #restyle(some: readonly Loaded[]): Promise<(Restyled | { error: unknown })[]> {
    const { method, params, strength, seed, background, skipBlank } = this.#options;
    const jobs = some.map(({ job, content, style }): RestyleJob => {
      const draws = drawsOf(seed, 1, this.#contents[job.content]!.name, method.name);
      return { content, style, strength, params: method.settle(params, draws) };
    });
    try {
      return await restyleAny(this.#restyler, jobs, { background, skipBlank, shared: true });
    } catch (error) {
      if (some.length === 1) return [{ error }];
      const alone = [];
      for (const one of some) alone.push(...(await this.#restyle([one])));
      return alone;
    }
  }

  async #saveAll(some: readonly Loaded[], results: readonly (Restyled | { error: unknown })[]): Promise<void> {
    await Promise.all(
      some.map(async ({ job, content, style }, index) => {
        const result = results[index]!;
        try {
          if ("error" in result) throw result.error;
          const file = resultFile(job, this.#options);
          const folder = dirname(file);
          if (!this.#folders.has(folder)) this.#folders.set(folder, ensureOutputFolder(folder));
          await this.#folders.get(folder);
          await this.#pool.save({ file, image: result.image, format: this.#options.format });
          const { applied, params } = result;
          if (this.#options.sheet && this.#rows.size < SHEET_ROWS) await this.#addRow(job, content, style, result.image);
          this.#done(job, this.#report(job, { status: "done", applied, params }));
        } catch (error) {
          this.#fail(job, error);
        }
      }),
    );
  }

  async #addRow(job: PaintJob, content: PixelImage, style: PixelImage | undefined, result: PixelImage): Promise<void> {
    const row = {
      content: { name: this.#contents[job.content]!.path, image: await small(content) },
      ...(style ? { style: { name: this.#styles[job.style]!.path, image: await small(style) } } : {}),
      result: { name: job.output, image: await small(result) },
    };
    this.#rows.set(job, row);
  }

  #report(job: PaintJob, rest: Pick<ImageReport, "status"> & Partial<ImageReport>): ImageReport {
    return { ...pathsOf(job, this.#contents, this.#styles), output: resultFile(job, this.#options), ...rest };
  }

  #done(job: PaintJob, report: ImageReport): void {
    this.#reports.set(job, report);
    this.#options.onProgress?.(this.#reports.size, this.#total);
  }

  #fail(job: PaintJob, error: unknown): void {
    const about = this.failures.add(this.#contents[job.content]!.path, error);
    this.#done(job, this.#report(job, { status: "failed", error: about }));
  }
}
