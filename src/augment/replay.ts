import { readFile } from "node:fs/promises";
import path from "node:path";
import { openDataSet } from "../datasets/open.js";
import type { DataFormat, DataSet, Sample } from "../datasets/types.js";
import { describeError, StylizingError } from "../errors.js";
import type { PixelImage } from "../image/types.js";
import type { LoadOptions } from "../painter/types.js";
import { methodNamed } from "../restyle/methods.js";
import { encoded } from "./augment-run.js";
import { Augmenter, type AugmentItem } from "./augmenter.js";
import { type ManifestLine, readHeader, readLines } from "./manifest.js";
import type { GoodRead } from "./reads.js";
import { optionsOf } from "./repeat.js";
import { bytesOf, decode, sha256 } from "./style-source.js";

export interface ReplayOptions {
  /** The manifest's file. */
  manifest: string;
  /** One line alone, counted in the file from 1, the header among them. */
  line?: number | undefined;
  /** Where the data set is now. */
  in?: string | undefined;
  /** Where the model is now. */
  model?: string | undefined;
  batch?: number | undefined;
  workers?: number | undefined;
  load?: LoadOptions | undefined;
  onNote?: ((note: string) => void) | undefined;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What is not as the manifest says. */
export interface ReplayDifference {
  line: number;
  key: string;
  copy: number;
  /** For people. */
  problem: string;
  /** Largest difference of a level, where both can be compared. */
  levels?: number;
}

export interface ReplayReport {
  /** Outputs that were computed again. */
  outputs: number;
  /** Byte for byte; the same pixels in other bytes; and within one level, which another adapter may be. */
  identical: number;
  samePixels: number;
  withinOneLevel: number;
  /** Whether methods ran on the adapters that the manifest names. */
  sameAdapters: boolean;
  /** Lines of what failed when it was made: there is nothing to compare. */
  skipped: number;
  differences: ReplayDifference[];
}

/**
 * Computes what a manifest lists again, from the data set, the styles and the numbers in its lines, and compares. Nothing is written.
 * @throws StylizingError `ARGUMENT` for what is no manifest or has no such line, and as opening the data set does
 */
export async function replay(options: ReplayOptions, signal?: AbortSignal): Promise<ReplayReport> {
  const { manifest: file, line: only, onProgress, onNote } = options;
  const header = await readHeader(file);
  const { in: place, model, batch, workers, load } = options;
  const moved = { in: place, model, batch, workers, load, onNote };
  await using augmenter = await Augmenter.open(optionsOf(header, moved), signal);
  const { copies, keepOriginals } = header.output;
  const per = copies + (keepOriginals ? 1 : 0);
  const adapters = await augmenter.adapters();
  const report: ReplayReport = {
    ...{ outputs: 0, identical: 0, samePixels: 0, withinOneLevel: 0, skipped: 0, differences: [] },
    sameAdapters: same(adapters, header.adapters),
  };
  if (!report.sameAdapters) onNote?.("methods run on another adapter than the manifest's: results may differ by one level");
  const data = augmenter.data!;
  // A line is of the sample that its place says.
  const first = only === undefined ? 0 : Math.floor((only - 2) / per);
  await using results = new Results(path.dirname(file), header.output.format as DataFormat);
  const comparison = new Comparison(augmenter, results, report, adapters);
  const lines = readLines(file);
  let number = 1;
  const next = async (): Promise<ManifestLine | undefined> => {
    const { value } = await lines.next();
    if (value) number++;
    return value as ManifestLine | undefined;
  };
  for (let skipped = 0; skipped < first * per; skipped++) if ((await next())?.output !== undefined) results.ordinal++;
  if (only !== undefined && (only < 2 || !Number.isSafeInteger(only)))
    throw new StylizingError("ARGUMENT", `Line ${only} is no output's.`, "The first line is the header: outputs begin at 2.");
  let samples = 0;
  let isFound = false;
  const epochs = Array.from({ length: copies }, (_, index) => index + 1);
  read: for await (const { read, items } of augmenter.items(epochs, { from: first, ahead: 2 * augmenter.plan.batch, signal })) {
    for (let at = 0; at < per; at++) {
      const line = await next();
      if (!line) break read;
      const copy = line.copy;
      const wanted = only === undefined || only === number;
      isFound ||= wanted;
      const item = items[copy - 1];
      if (wanted) await comparison.add({ line, number, read, item });
      if (line.output !== undefined) results.ordinal++;
    }
    samples++;
    if (only === undefined) onProgress?.(samples, data.count);
    else if (isFound) break;
  }
  await lines.return();
  await comparison.finish();
  report.differences.sort((a, b) => a.line - b.line);
  if (only !== undefined && !isFound) throw new StylizingError("ARGUMENT", `${file} has no line ${only}.`, `It has ${number}.`);
  return report;
}

const same = (one: Record<string, unknown>, other: Record<string, unknown>): boolean =>
  JSON.stringify(one) === JSON.stringify(other);

/** Formats whose images are files of their own. */
const FILES: readonly DataFormat[] = ["folder", "csv", "hf"];

/** What was written, in the order of the manifest. */
class Results implements AsyncDisposable {
  readonly #folder: string;
  readonly #format: DataFormat;
  #data: DataSet | undefined;
  /** Outputs in front of the one that is looked at. */
  ordinal = 0;

  constructor(folder: string, format: DataFormat) {
    this.#folder = folder;
    this.#format = format;
  }

  /** @param ordinal which output. @throws StylizingError where it is not there any more */
  async get(output: string, ordinal: number): Promise<Sample["image"]> {
    const file = path.join(this.#folder, output);
    if (FILES.includes(this.#format)) return { bytes: await readFile(file), ending: "png" };
    // An npz is one file, the others are shards in the folder.
    const place = this.#format === "npz" ? file.slice(0, file.indexOf("#")) : this.#folder;
    this.#data ??= await openDataSet(place, { format: this.#format });
    for await (const sample of this.#data.samples({ from: ordinal })) {
      if ("error" in sample) throw sample.error;
      return sample.image;
    }
    throw new StylizingError("IMAGE", `${output} is not there.`, "Write the results again.");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#data?.[Symbol.asyncDispose]();
  }
}

/** A line, and what is to be known to repeat it. */
interface Compared {
  line: ManifestLine;
  number: number;
  read: { sample: { key: string } } | GoodRead;
  item: AugmentItem | undefined;
}

class Comparison {
  readonly #augmenter: Augmenter;
  readonly #results: Results;
  readonly #report: ReplayReport;
  readonly #adapters: Record<string, unknown>;
  #waiting: { one: Compared; ordinal: number; read: GoodRead; item: AugmentItem }[] = [];

  constructor(augmenter: Augmenter, results: Results, report: ReplayReport, adapters: Record<string, unknown>) {
    this.#augmenter = augmenter;
    this.#adapters = adapters;
    this.#results = results;
    this.#report = report;
  }

  async add(one: Compared): Promise<void> {
    const { line, read, item } = one;
    if (line.error || !line.sha256) {
      this.#report.skipped++;
      return;
    }
    this.#report.outputs++;
    const { ordinal } = this.#results;
    if (read.sample.key !== line.key) return this.#differs(one, `the data set has ${read.sample.key} in its place`);
    if (!("image" in read)) return this.#differs(one, "its image cannot be read any more");
    if (sha256(bytesOf(read.sample.image)) !== line.sha256.in) return this.#differs(one, "its image is another one");
    if (line.copy === 0) return this.#compare(one, ordinal, read.sample.image);
    const style = line.ops?.[0]?.style;
    try {
      let found: AugmentItem["style"];
      if (style && methodNamed(line.ops![0]!.op).takesStyle(line.ops![0]!.params)) {
        found = await this.#augmenter.styleNamed(style.key, item!.following);
        if (!found) return this.#differs(one, `its style ${style.key} is not there`);
        if (found.sha256 !== style.sha256) return this.#differs(one, `its style ${style.key} is another image`);
      }
      this.#waiting.push({ one, ordinal, read, item: { ...item!, ...(found ? { style: found } : {}), ops: line.ops ?? [] } });
    } catch (error) {
      return this.#differs(one, describeError(error).message);
    }
    if (this.#waiting.length >= this.#augmenter.plan.batch) await this.finish();
  }

  async finish(): Promise<void> {
    const some = this.#waiting;
    this.#waiting = [];
    const results = await this.#augmenter.restyle(some.map(({ item }) => item));
    for (const [index, result] of results.entries()) {
      const { one, ordinal, read } = some[index]!;
      if ("error" in result) this.#differs(one, result.error.message);
      else await this.#compare(one, ordinal, await encoded(result.image, read.sample, this.#augmenter.pool), result.image);
    }
  }

  async #compare(one: Compared, ordinal: number, image: Sample["image"], pixels?: PixelImage): Promise<void> {
    const { line } = one;
    if (sha256(bytesOf(image)) === line.sha256!.out) {
      this.#report.identical++;
      return;
    }
    try {
      const written = await this.#results.get(line.output!, ordinal);
      if (sha256(bytesOf(written)) !== line.sha256!.out) return this.#differs(one, `${line.output} was changed since`);
      const levels = pixels
        ? largest(await decode(written, line.output!, this.#augmenter.pool), pixels)
        : Number.POSITIVE_INFINITY;
      if (levels === 0) this.#report.samePixels++;
      else if (levels <= 1 && !(line.adapters ? same(line.adapters, this.#adapters) : this.#report.sameAdapters))
        this.#report.withinOneLevel++;
      else this.#differs(one, `it differs by up to ${levels} levels`, levels);
    } catch (error) {
      this.#differs(one, describeError(error).message);
    }
  }

  #differs({ line, number }: Compared, problem: string, levels?: number): void {
    const { key, copy } = line;
    this.#report.differences.push({ line: number, key, copy, problem, ...(levels === undefined ? {} : { levels }) });
  }
}

/** The largest difference of two images in levels. */
function largest(a: PixelImage, b: PixelImage): number {
  if (a.width !== b.width || a.height !== b.height || a.channels !== b.channels) return Number.POSITIVE_INFINITY;
  let most = 0;
  for (let at = 0; at < a.data.length; at++) most = Math.max(most, Math.abs(a.data[at]! - b.data[at]!));
  return most;
}
