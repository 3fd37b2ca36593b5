import { dirname, join } from "node:path";
import { Classifier } from "../classifier/classifier.js";
import { type Classification, type ClassifierOptions, checkHead, checkKnownStatistics } from "../classifier/types.js";
import { describeError, StylizingError } from "../errors.js";
import { ensureOutputFolder, writeFileAtomic } from "../image/atomic-write.js";
import { csvLine } from "../image/csv.js";
import { tellingLeftOut } from "../image/folder.js";
import { ImagePool } from "../image/pool.js";
import type { FittedImage } from "../image/preprocess.js";
import { resultNames } from "../image/result-names.js";
import { describeModel, type ModelReport } from "../models/load.js";
import { type FoundModel, findModelOf } from "../models/open.js";
import type { VitConfig } from "../models/vit/config.js";
import { vit } from "../models/vit/kind.js";
import { attentionSheet } from "./attention-sheet.js";
import { type ErrorReport, Failures } from "./failures.js";
import { type InputFile, listInputs } from "./inputs.js";
import { InputReader, inPages, type Loaded, type ReadOptions } from "./load.js";
import { checkOutputs, refuseSameNames } from "./outputs.js";

export interface ClassifyFilesOptions extends ReadOptions {
  /** A folder, a `.safetensors` file, a repository of the Hugging Face Hub, or `hashed:SEED`. */
  model: string;
  /** Files, and folders that are read at any depth. */
  images: readonly string[];
  /** How many of an image's most probable classes the report has; default 1. */
  top?: number | undefined;
  /** Where all probabilities go, as CSV (RFC 4180): file, label, probability, then one column a class. Images that failed are not in it. */
  csv?: string | undefined;
  /** A folder for an image each with what the CLS token looks at, by head. */
  attention?: string | undefined;
  workers?: number | undefined;
  /** Where the model comes from and where it runs, statistics, batch and image size. */
  load: ClassifierOptions;
  /** Receives notices, and of what fails one line a reason, at once. */
  onNote?: ((note: string) => void) | undefined;
  /** Images done, of all; called once with none before the first. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What became of one image. */
export interface ClassifiedFile {
  image: string;
  /** Of a file with several, where all were asked for. */
  page?: number;
  status: "done" | "failed" | "stopped";
  /** The most probable class, and how probable it is. */
  label?: string;
  index?: number;
  probability?: number;
  /** The most probable classes, the first one among them. */
  top?: { label: string; index: number; probability: number }[];
  /** Where its attention was drawn. */
  attention?: string;
  error?: ErrorReport;
}

export interface ClassifyReport extends ModelReport {
  classes: readonly string[];
  /** Side of the square that images were scaled to, in pixels. */
  imageSize: number;
  statistics: { mean: readonly number[]; std: readonly number[] };
  images: ClassifiedFile[];
  done: number;
  failed: number;
  stopped: number;
  /** Why the rest was not begun, where nobody stopped it. */
  stopReason?: ErrorReport;
  csv?: string;
  /** Why the CSV file is missing. */
  csvError?: ErrorReport;
  /** From the first decoded image to the last result, without loading the model. */
  milliseconds: number;
  imagesPerSecond: number;
}

/** Channels of the models that take image files. */
const CHANNELS = [1, 3];

/** The most probable classes, in order; of equal ones the first. */
export function topClasses(probabilities: Float32Array, labels: readonly string[], count: number) {
  const order = Array.from(probabilities.keys()).sort((a, b) => probabilities[b]! - probabilities[a]! || a - b);
  return order.slice(0, count).map((index) => ({ label: labels[index]!, index, probability: probabilities[index]! }));
}

/** Where the attention of every image is drawn. @throws StylizingError `ARGUMENT` where two would have the same name */
function attentionFiles(files: readonly InputFile[], folder: string): string[] {
  const names = resultNames(files.map(({ name }) => name));
  refuseSameNames(names, (index) => files[index]!.path);
  return names.map((name) => join(folder, `${name}.png`));
}

const imageOf = ({ path, page }: InputFile): Pick<ClassifiedFile, "image" | "page"> => ({
  image: path,
  ...(page === undefined ? {} : { page }),
});

/** A file, and the page where it has several: what tables call an image. */
export const titleOf = ({ image, page }: Pick<ClassifiedFile, "image" | "page">): string =>
  page === undefined ? image : `${image} p${page}`;

/** Classifies files batch by batch: what cannot be read or drawn is reported, and the rest is done. */
class FileClassifier {
  readonly #model: Classifier;
  readonly #reader: InputReader;
  readonly #options: ClassifyFilesOptions;
  readonly #files: readonly InputFile[];
  readonly #drawings: readonly string[] | undefined;
  readonly failures: Failures;
  readonly reports: (ClassifiedFile | undefined)[];
  /** By file, where a table of them is wanted. */
  readonly probabilities = new Map<number, Float32Array>();
  #done = 0;

  constructor(
    model: Classifier,
    reader: InputReader,
    options: ClassifyFilesOptions,
    files: readonly InputFile[],
    drawings: readonly string[] | undefined,
  ) {
    this.#model = model;
    this.#reader = reader;
    this.#options = options;
    this.#files = files;
    this.#drawings = drawings;
    this.failures = new Failures(options.onNote);
    this.reports = new Array(files.length).fill(undefined);
  }

  /** Images of one batch are read while the device has the one before; what was drawn is written while it has the next. */
  async run(given: AbortSignal | undefined): Promise<void> {
    const signal = AbortSignal.any([this.failures.stop, ...(given ? [given] : [])]);
    const { batchSize: size } = this.#model;
    const { imageSize, config } = this.#model;
    const read = (from: number): Promise<Loaded[]> =>
      this.#reader.loadAll(this.#files.slice(from, from + size), imageSize, config.in_channels, signal);
    let next = read(0);
    let drawing: Promise<void> = Promise.resolve();
    for (let from = 0; from < this.#files.length && !signal.aborted; from += size) {
      const loaded = await next;
      next = from + size < this.#files.length ? read(from + size) : Promise.resolve([]);
      if (signal.aborted) break;
      const results = await this.#classify(from, loaded);
      await drawing;
      drawing = this.#finish(from, loaded, results);
    }
    await drawing;
    // What was begun is waited for: its threads are ended behind it.
    await next;
  }

  /** Results of the images that could be read, by their place in the batch. */
  async #classify(from: number, loaded: readonly Loaded[]): Promise<Map<number, Classification>> {
    const readable: number[] = [];
    const images: FittedImage[] = [];
    for (const [place, one] of loaded.entries()) {
      if ("error" in one) this.#fail(from + place, one.error);
      else {
        readable.push(place);
        images.push(one.image);
      }
    }
    if (images.length === 0) return new Map();
    try {
      const results = await this.#model.classify(images, { attention: this.#drawings !== undefined });
      return new Map(results.map((result, index) => [readable[index]!, result]));
    } catch (error) {
      // Where the device fails, this batch's images fail, and the rest is tried.
      for (const place of readable) this.#fail(from + place, error);
      return new Map();
    }
  }

  async #finish(from: number, loaded: readonly Loaded[], results: ReadonlyMap<number, Classification>): Promise<void> {
    for (const [place, result] of results) {
      const at = from + place;
      const { label, index, probability, probabilities } = result;
      const top = topClasses(probabilities, this.#model.classes, this.#options.top ?? 1);
      const report: ClassifiedFile = { ...imageOf(this.#files[at]!), status: "done", label, index, probability, top };
      try {
        if (this.#drawings) {
          const file = this.#drawings[at]!;
          const { image } = loaded[place] as Extract<Loaded, { image: unknown }>;
          const bytes = await attentionSheet(image, result, this.#files[at]!.name, this.#model.report.model);
          await ensureOutputFolder(dirname(file));
          await writeFileAtomic(file, bytes);
          report.attention = file;
        }
      } catch (error) {
        this.#fail(at, error);
        continue;
      }
      if (this.#options.csv) this.probabilities.set(at, probabilities);
      this.#report(at, report);
    }
  }

  #fail(at: number, error: unknown): void {
    const image = imageOf(this.#files[at]!);
    this.#report(at, { ...image, status: "failed", error: this.failures.add(titleOf(image), error) });
  }

  #report(at: number, report: ClassifiedFile): void {
    this.reports[at] = report;
    this.#options.onProgress?.(++this.#done, this.#files.length);
  }

  /** The CSV file, line by line: a string of all would be large. */
  async *table(): AsyncGenerator<Uint8Array> {
    const bytes = new TextEncoder();
    yield bytes.encode(csvLine(["file", "label", "probability", ...this.#model.classes]));
    // Seven digits are all that an f32 has.
    const digits = (value: number) => Number(value.toPrecision(7));
    for (const [at, probabilities] of [...this.probabilities].sort(([a], [b]) => a - b)) {
      const { label, probability, ...rest } = this.reports[at]!;
      yield bytes.encode(csvLine([titleOf(rest), label!, digits(probability!), ...Array.from(probabilities, digits)]));
    }
  }
}

/** Refuses what no image file can be given to, before anything is read. */
function checkModel(config: VitConfig): void {
  checkHead(config);
  checkKnownStatistics(config);
  if (!CHANNELS.includes(config.in_channels))
    throw new StylizingError(
      "CONFIG",
      `This model takes ${config.in_channels} channels.`,
      "Images have 1 or 3; use `forward` with tensors.",
    );
}

/**
 * Classifies image files. What cannot be read or drawn is reported and the rest is done; files appear whole or not at all.
 * @param signal stops between batches; what was not begun is reported as stopped.
 * @param known the model, where it has been found already.
 * @throws StylizingError where nothing at all can be done: no inputs, no model, a model without a head or statistics, no adapter,
 *   no place for results.
 */
export async function classifyFiles(
  options: ClassifyFilesOptions,
  signal?: AbortSignal,
  known?: FoundModel<VitConfig>,
): Promise<ClassifyReport> {
  const { attention, csv, onNote, onProgress } = options;
  const listed = await tellingLeftOut(onNote, (leftOut) => listInputs(options.images, { out: attention, leftOut }));
  const files = await inPages(listed, options.page);
  if (files.length === 0)
    throw new StylizingError(
      "ARGUMENT",
      `There is no image in ${options.images.join(", ")}.`,
      "Give image files, or folders that hold some.",
    );
  const drawings = attention === undefined ? undefined : attentionFiles(files, attention);
  const outputs = [...(drawings ?? []), ...(csv === undefined ? [] : [csv])];
  await checkOutputs(
    files.map(({ path }) => path),
    outputs,
  );
  if (attention !== undefined) await ensureOutputFolder(attention);
  if (csv !== undefined) await ensureOutputFolder(dirname(csv));

  const load = { ...options.load, ...(signal ? { signal } : {}) };
  const found = known ?? (await findModelOf(vit, options.model, load));
  checkModel(found.config);
  await using pool = new ImagePool(options.workers);
  if (pool.note) onNote?.(pool.note);
  await using model = await Classifier.loadFound(found, load);
  const { report, classes, imageSize } = model;
  onNote?.(describeModel(report));

  const start = performance.now();
  onProgress?.(0, files.length);
  const work = new FileClassifier(model, new InputReader(pool, options, onNote), options, files, drawings);
  await work.run(signal);
  const milliseconds = performance.now() - start;
  const images = files.map((file, at): ClassifiedFile => work.reports[at] ?? { ...imageOf(file), status: "stopped" });
  const count = (status: ClassifiedFile["status"]) => images.filter((image) => image.status === status).length;
  const done = count("done");
  const { stopReason } = work.failures;
  let csvError: ErrorReport | undefined;
  if (csv !== undefined && done > 0 && !stopReason) {
    try {
      await writeFileAtomic(csv, work.table());
    } catch (error) {
      csvError = describeError(error);
    }
  }
  return {
    ...report,
    classes,
    imageSize,
    statistics: { mean: found.config.mean!, std: found.config.std! },
    images,
    done,
    failed: count("failed"),
    stopped: count("stopped"),
    ...(stopReason ? { stopReason } : {}),
    ...(csv === undefined || done === 0 || csvError || stopReason ? {} : { csv }),
    ...(csvError ? { csvError } : {}),
    milliseconds: Math.round(milliseconds),
    imagesPerSecond: done === 0 ? 0 : Number(((done * 1000) / milliseconds).toFixed(3)),
  };
}
