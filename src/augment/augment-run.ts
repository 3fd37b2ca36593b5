import type { DataSetWriter, Output, Sample } from "../datasets/types.js";
import { describeError } from "../errors.js";
import type { ImagePool } from "../image/pool.js";
import type { PixelImage } from "../image/types.js";
import type { Augmented, Augmenter, AugmentItem } from "./augmenter.js";
import { errorOf, Failures } from "./failures.js";
import type { ManifestLine } from "./manifest.js";
import type { Read } from "./reads.js";
import { bytesOf, sha256 } from "./style-source.js";

/** Outputs of a group where files are written one by one: a run that is killed repeats at most so many. */
export const FEW = 16;
/** Bytes of contents that are restyled together. */
const MOST_BYTES = 2 ** 28;

/** How many samples make a group, and what is made of each. */
export interface GroupSizes {
  group: number;
  copies: number;
  keepOriginals: boolean;
}

/** Where the lines of a group go, once it is written. */
export interface LineSink {
  add(lines: readonly ManifestLine[]): Promise<void>;
}

/** What became of outputs. */
export class Counts {
  /** Images that were written, originals among them. */
  outputs = 0;
  /** Of the copies: restyled; declined, or left as they are by chance. */
  restyled = 0;
  unchanged = 0;
  failed = 0;

  add({ error, copy, ops }: ManifestLine): void {
    if (error) this.failed++;
    else this.outputs++;
    if (!error && copy > 0) this[ops!.some(({ applied }) => applied) ? "restyled" : "unchanged"]++;
  }
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

/** Restyles samples and writes what comes out in whole groups. */
export class AugmentRun {
  readonly augmenter: Augmenter;
  readonly #writer: DataSetWriter;
  readonly #lines: LineSink;
  readonly #sizes: GroupSizes;
  readonly #onProgress: ((done: number, total: number) => void) | undefined;
  readonly failures: Failures;
  readonly counts = new Counts();

  constructor(
    augmenter: Augmenter,
    writer: DataSetWriter,
    lines: LineSink,
    sizes: GroupSizes,
    {
      onNote,
      onProgress,
    }: {
      onNote?: ((note: string) => void) | undefined;
      onProgress?: ((done: number, total: number) => void) | undefined;
    },
  ) {
    this.augmenter = augmenter;
    this.#writer = writer;
    this.#lines = lines;
    this.#sizes = sizes;
    this.#onProgress = onProgress;
    this.failures = new Failures(onNote);
  }

  /**
   * All groups of the samples `from` to `to`, the latter not among them; both are where groups end. What is under way when the
   * signal is raised is finished.
   */
  async run(from: number, to: number, signal: AbortSignal | undefined): Promise<void> {
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
      writing = this.#store(done, results, number);
      writing.catch(() => {});
      number += Math.ceil(done.length / group);
    };
    try {
      for await (const one of augmenter.items(epochs, { from, to, ahead: 2 * Math.max(batch, FEW), signal })) {
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
  async #store(some: readonly Some[], results: Augmented[], number: number): Promise<void> {
    const { group } = this.#sizes;
    const total = this.augmenter.data!.count;
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
      if ("error" in result) throw errorOf(result.error);
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
    await this.#lines.add(lines.map(inOrder));
    for (const line of lines) this.counts.add(line);
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
