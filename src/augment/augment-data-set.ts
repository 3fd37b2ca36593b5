import { readdir } from "node:fs/promises";
import path from "node:path";
import { createWriter } from "../datasets/open.js";
import type { DataFormat, DataSet, DataSetWriter, Output, Sample } from "../datasets/types.js";
import { describeError, StylizingError } from "../errors.js";
import { ensureOutputFolder, removeStale } from "../image/atomic-write.js";
import { realOf } from "../image/folder.js";
import type { ImagePool } from "../image/pool.js";
import type { PixelImage } from "../image/types.js";
import { MODEL_METHOD } from "../restyle/methods.js";
import { VERSION } from "../version.js";
import type { AugmentOptions } from "./augment-options.js";
import { type Augmented, Augmenter, type AugmentItem } from "./augmenter.js";
import { type ErrorReport, Failures } from "./failures.js";
import { MANIFEST, MANIFEST_FORMAT, type ManifestHeader, type ManifestLine, ManifestWriter } from "./manifest.js";
import type { Read } from "./reads.js";
import { bytesOf, sha256 } from "./style-source.js";

export interface AugmentDataSetOptions extends AugmentOptions {
  data: string;
  out: string;
  /** By default the input's. */
  format?: DataFormat | undefined;
  /** Of each sample; default 1. */
  copies?: number | undefined;
  keepOriginals?: boolean | undefined;
  /** Begins anew where results are there already. */
  overwrite?: boolean | undefined;
  /** Outputs of a shard, for formats that have shards; default 256. */
  shardSize?: number | undefined;
  /** Samples done, of all. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface AugmentReport {
  samples: number;
  /** Images that were written, originals among them. */
  outputs: number;
  /** Of the copies: restyled; declined, or left as they are by chance. */
  restyled: number;
  unchanged: number;
  failed: number;
  /** Samples that were done by a run before. */
  skipped: number;
  format: DataFormat;
  manifest: string;
  adapters: Record<string, unknown>;
  stopReason?: ErrorReport;
  milliseconds: number;
  imagesPerSecond: number;
}

/** Outputs of a group where files are written one by one: a run that is killed repeats at most so many. */
const FEW = 16;
const A_SHARD = 256;
/** Bytes of contents that are restyled together. */
const MOST_BYTES = 2 ** 28;
const SHARDED: readonly DataFormat[] = ["wds", "parquet", "npz"];

/**
 * Multiplies a data set: each sample in other styles, with its labels and masks, and a manifest of what was done. The same command goes
 * on where one was killed.
 * @throws StylizingError where nothing at all can be done; the signal's reason when aborted, and what is written then stays.
 */
export async function augmentDataSet(options: AugmentDataSetOptions, signal?: AbortSignal): Promise<AugmentReport> {
  const start = performance.now();
  const { out, copies = 1, keepOriginals = false, overwrite = false, shardSize = A_SHARD, onNote } = options;
  for (const [name, value] of [
    ["copies", copies],
    ["shardSize", shardSize],
  ] as const)
    if (!Number.isSafeInteger(value) || value < 1)
      throw new StylizingError("ARGUMENT", `${name} is ${value}.`, "Give a positive whole number.");
  await refuseNested(options.data, out);
  await using augmenter = await Augmenter.open(options, signal);
  const data = augmenter.data!;
  const { format = data.format } = options;
  const per = copies + (keepOriginals ? 1 : 0);
  const group = Math.max(1, Math.floor((SHARDED.includes(format) ? shardSize : FEW) / per));
  await refuseStrangers(out, overwrite);
  await ensureOutputFolder(out);
  await removeStale(out);
  const adapters = await augmenter.adapters();
  const header = headerOf(augmenter, data, { ...options, format, copies, keepOriginals }, group, adapters);
  const manifest = await ManifestWriter.open(out, header, overwrite);
  await using writer = await createWriter(format, out, { like: data, onNote });
  const total = data.count * per;
  const done = manifest.lines === total ? total : Math.floor(manifest.lines / (group * per)) * group * per;
  if (done < manifest.lines) await manifest.keep(done);
  const run = new AugmentRun(augmenter, writer, manifest, { group, copies, keepOriginals }, options);
  const skipped = done / per;
  if (skipped > 0) onNote?.(`${skipped} of ${data.count} samples are in ${out} already`);
  options.onProgress?.(skipped, data.count);
  if (done < total) await run.run(skipped, data.count, signal);
  if (!run.failures.stopReason) await writer.finish(Math.ceil(data.count / group));
  const milliseconds = Math.round(performance.now() - start);
  const { counts, failures } = run;
  return {
    ...{ samples: data.count, ...counts, skipped, format, manifest: path.join(out, MANIFEST), adapters },
    ...(failures.stopReason ? { stopReason: failures.stopReason } : {}),
    ...{ milliseconds, imagesPerSecond: Number(((counts.outputs * 1000) / milliseconds).toFixed(3)) },
  };
}

/** @throws StylizingError `ARGUMENT` where results would be read as data, or data overwritten */
async function refuseNested(data: string, out: string): Promise<void> {
  const [input, output] = await Promise.all([realOf(data), realOf(out)]);
  const isBelow = (place: string, above: string) => `${place}${path.sep}`.startsWith(`${above}${path.sep}`);
  if (isBelow(output, input) || isBelow(input, output))
    throw new StylizingError("ARGUMENT", `${out} and ${data} lie in one another.`, "Write the results beside the data set.");
}

/** @throws StylizingError `ARGUMENT` where there is something else than results */
async function refuseStrangers(out: string, overwrite: boolean): Promise<void> {
  if (overwrite) return;
  const names = (await readdir(out).catch((): string[] => [])).filter((name) => !name.endsWith(".partial"));
  if (names.length === 0 || names.includes(MANIFEST)) return;
  throw new StylizingError(
    "ARGUMENT",
    `${out} holds ${names.length === 1 ? names[0] : `${names.length} files and folders`}, and no ${MANIFEST}.`,
    "Give an empty folder, or --overwrite to write there nevertheless.",
  );
}

function headerOf(
  { plan }: Augmenter,
  data: DataSet,
  options: AugmentDataSetOptions & { copies: number; keepOriginals: boolean },
  group: number,
  adapters: Record<string, unknown>,
): ManifestHeader {
  const { batch, model, methods, style, exclude, ...rest } = plan;
  const { domain, split, label, maskSuffix, copies, keepOriginals, format = data.format } = options;
  const choices = Object.entries({ domain, split, label, maskSuffix }).filter(([, value]) => value !== undefined);
  return {
    "stylizing-vit manifest": MANIFEST_FORMAT,
    version: VERSION,
    input: { path: path.resolve(data.path), format: data.format, ...Object.fromEntries(choices) },
    output: { format, copies, keepOriginals, group },
    pipeline: {
      methods: methods.map(({ method, weight, params }) => ({ name: method.name, weight, params })),
      ...rest,
      ...(style.length > 0 ? { style: style.map((one) => path.resolve(one)) } : {}),
      ...(exclude.length > 0 ? { exclude: exclude.map((one) => path.resolve(one)) } : {}),
      ...(methods.some(({ method }) => method === MODEL_METHOD) ? { model } : {}),
      // Whatever the size of a batch, and not what a measurement preferred.
      kernels: "fixed",
    },
    adapters,
  };
}

/** One output and its line of the manifest. */
interface Made {
  output: Output | undefined;
  line: ManifestLine;
}

/** A sample that is to be restyled. */
interface Some {
  read: Read;
  items: AugmentItem[];
}

class AugmentRun {
  readonly augmenter: Augmenter;
  readonly #writer: DataSetWriter;
  readonly #manifest: ManifestWriter;
  readonly #sizes: { group: number; copies: number; keepOriginals: boolean };
  readonly #onProgress: AugmentDataSetOptions["onProgress"];
  readonly failures: Failures;
  readonly counts = { outputs: 0, restyled: 0, unchanged: 0, failed: 0 };

  constructor(
    augmenter: Augmenter,
    writer: DataSetWriter,
    manifest: ManifestWriter,
    sizes: { group: number; copies: number; keepOriginals: boolean },
    { onNote, onProgress }: Pick<AugmentDataSetOptions, "onNote" | "onProgress">,
  ) {
    this.augmenter = augmenter;
    this.#writer = writer;
    this.#manifest = manifest;
    this.#sizes = sizes;
    this.#onProgress = onProgress;
    this.failures = new Failures(onNote);
  }

  /** All groups from a sample on. What is under way when the signal is raised is finished. */
  async run(from: number, total: number, signal: AbortSignal | undefined): Promise<void> {
    const { group, copies } = this.#sizes;
    const { augmenter } = this;
    const epochs = Array.from({ length: copies }, (_, index) => index + 1);
    const { batch, methods } = augmenter.plan;
    // Groups that are restyled together, so that each method has a batch.
    const together = Math.max(1, Math.ceil((batch * methods.length) / (group * copies)));
    let some: Some[] = [];
    let bytes = 0;
    let writing: Promise<void> = Promise.resolve();
    let number = from / group;
    const finish = async () => {
      const done = some;
      some = [];
      bytes = 0;
      const results = await augmenter.restyle(done.flatMap(({ items }) => items));
      // What was made is encoded and written while the next is made.
      await writing;
      writing = this.#store(done, results, number, total);
      writing.catch(() => {});
      number += Math.ceil(done.length / group);
    };
    try {
      for await (const one of augmenter.items(epochs, { from, ahead: 2 * Math.max(batch, FEW), signal })) {
        some.push(one);
        bytes += "image" in one.read ? one.read.image.data.length : 0;
        if (some.length % group === 0 && (some.length >= together * group || bytes > MOST_BYTES)) await finish();
        signal?.throwIfAborted();
        if (this.failures.stopReason) return;
      }
      if (some.length > 0) await finish();
    } finally {
      await writing;
    }
  }

  /** Encodes and writes whole groups. */
  async #store(some: readonly Some[], results: Augmented[], number: number, total: number): Promise<void> {
    const { group } = this.#sizes;
    for (let first = 0; first < some.length && !this.failures.stopReason; first += group, number++) {
      const made = await Promise.all(some.slice(first, first + group).flatMap((one) => this.#make(one, results)));
      await this.#write(number, made);
      this.#onProgress?.(Math.min(total, (number + 1) * group), total);
    }
  }

  /** What becomes of a sample. @param results its copies' are taken off the front. */
  #make({ read }: Some, results: Augmented[]): Promise<Made>[] {
    const { keepOriginals, copies } = this.#sizes;
    const numbers = Array.from({ length: copies }, (_, index) => index + 1);
    if ("error" in read) {
      const error = this.failures.add(read.sample.source, read.error);
      const lines = [...(keepOriginals ? [0] : []), ...numbers].map((copy) => ({ ...nameOf(read.sample), copy, error }));
      return lines.map((line) => Promise.resolve({ output: undefined, line }));
    }
    const { sample } = read;
    const hash = sha256(bytesOf(sample.image));
    const made = numbers.map((copy) => this.#copy(sample, hash, copy, results.shift()!));
    return keepOriginals ? [Promise.resolve(originalOf(sample, hash)), ...made] : made;
  }

  async #copy(sample: Sample, hash: string, copy: number, result: Augmented): Promise<Made> {
    const name = { ...nameOf(sample), copy };
    try {
      if ("error" in result)
        throw new StylizingError(
          result.error.code as "GPU",
          result.error.message.slice(0, -result.error.fix.length).trimEnd(),
          result.error.fix,
        );
      const image = await encoded(result.image, sample, this.augmenter.pool);
      return {
        output: { sample, copy, image },
        line: { ...name, sha256: { in: hash, out: sha256(bytesOf(image)) }, ops: result.ops },
      };
    } catch (error) {
      return { output: undefined, line: { ...name, error: this.failures.add(`${sample.source}, copy ${copy}`, error) } };
    }
  }

  /** Writes a group, and then its lines. */
  async #write(group: number, made: readonly Made[]): Promise<void> {
    const outputs = made.flatMap(({ output }) => (output ? [output] : []));
    try {
      await this.#writer.write(group, outputs);
    } catch (error) {
      this.failures.add(`group ${group}`, error);
      // A group that is not there is not in the manifest either: the next run does it again.
      this.failures.stopReason ??= describeError(error);
      return;
    }
    const lines = made.map(({ output, line }) => (output ? { ...line, output: this.#writer.place(output, group) } : line));
    await this.#manifest.add(lines.map(inOrder));
    for (const { output, line } of made) {
      if (!output) this.counts.failed++;
      else this.counts.outputs++;
      if (output && output.copy > 0) this.counts[line.ops!.some(({ applied }) => applied) ? "restyled" : "unchanged"]++;
    }
  }
}

/** A result as it is stored: pixels where the sample's are, else a PNG. */
export async function encoded(image: PixelImage, sample: Sample, pool: ImagePool): Promise<Sample["image"]> {
  if (!("bytes" in sample.image)) return image;
  return { bytes: await pool.encode({ image, format: "png" }), ending: "png" };
}

const nameOf = ({ key, source, domain, label }: Read["sample"]) => ({
  ...{ key, source },
  ...(domain === undefined ? {} : { domain }),
  ...(label === undefined ? {} : { label }),
});

function originalOf(sample: Sample, hash: string): Made {
  return { output: { sample, copy: 0 }, line: { ...nameOf(sample), copy: 0, sha256: { in: hash, out: hash }, ops: [] } };
}

/** The same keys in the same order in every line. */
function inOrder({ key, source, domain, label, copy, output, sha256, ops, error }: ManifestLine): ManifestLine {
  return JSON.parse(JSON.stringify({ key, copy, source, output, label, domain, sha256, ops, error })) as ManifestLine;
}
