import { createReadStream } from "node:fs";
import { open, stat, truncate } from "node:fs/promises";
import path from "node:path";
import type { SampleKey } from "../datasets/types.js";
import { StylizingError } from "../errors.js";
import { outputError, writeFileAtomic } from "../image/atomic-write.js";
import type { AugmentOp } from "./augmenter.js";
import type { ErrorReport } from "./failures.js";

/** The file's name in the folder of results. */
export const MANIFEST = "manifest.jsonl";
/** Beside it while workers of a queue make the results: lines that are too early, and the run's own name. */
export const QUEUE_FOLDER = ".stylizing-vit-queue";
/** Changes when older programs could not read it. */
export const MANIFEST_FORMAT = 1;

/** The first line: what the others were made with. */
export interface ManifestHeader {
  "stylizing-vit manifest": number;
  version: string;
  /** Absolute, and how it was read. */
  input: { path: string; format: string; domain?: string; split?: string; label?: string; maskSuffix?: string };
  output: { format: string; copies: number; keepOriginals: boolean; group: number };
  /** What decides the results, beside the samples themselves. */
  pipeline: Record<string, unknown>;
  /** Of each method, what it ran on. */
  adapters: Record<string, unknown>;
}

/** A line per output. */
export interface ManifestLine extends Pick<SampleKey, "key" | "source" | "domain" | "label"> {
  /** From 1; 0 is the original. */
  copy: number;
  /** Below the manifest's folder. */
  output?: string;
  /** Of the sample's image and of the output's: a file's bytes, or pixels where they are stored as such. */
  sha256?: { in: string; out: string };
  ops?: AugmentOp[];
  error?: ErrorReport;
  /** What methods ran on, where it is not what the header says: of several machines. */
  adapters?: Record<string, unknown>;
}

/** A manifest's first line. @throws StylizingError `ARGUMENT` for what is none */
export async function readHeader(file: string): Promise<ManifestHeader> {
  for await (const line of wholeLines(file)) return parseHeader(file, line);
  return parseHeader(file, "");
}

/** The one of a folder of results, where there is one. @throws StylizingError `ARGUMENT` where it is none that can be read */
export async function headerIn(folder: string): Promise<ManifestHeader | undefined> {
  const file = path.join(folder, MANIFEST);
  return (await stat(file).catch(() => undefined)) ? readHeader(file) : undefined;
}

/** Its other lines, one by one. @throws StylizingError `ARGUMENT` */
export async function* readLines(file: string): AsyncGenerator<ManifestLine, void, undefined> {
  let number = 0;
  for await (const line of wholeLines(file)) {
    if (++number === 1) continue;
    try {
      yield JSON.parse(line) as ManifestLine;
    } catch (error) {
      throw new StylizingError("ARGUMENT", `Line ${number} of ${file} is no JSON.`, "The manifest was changed: make it anew.", {
        cause: error,
      });
    }
  }
}

/** Lines that end; what a kill left of one is none. */
async function* wholeLines(file: string): AsyncGenerator<string, void, undefined> {
  let rest = "";
  try {
    for await (const chunk of createReadStream(file, "utf8")) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop()!;
      yield* lines;
    }
  } catch (error) {
    throw new StylizingError(
      "ARGUMENT",
      `The manifest ${file} cannot be read.`,
      "Give the manifest.jsonl that `augment` wrote.",
      { cause: error },
    );
  }
}

function parseHeader(file: string, line: string): ManifestHeader {
  try {
    const header = JSON.parse(line) as ManifestHeader;
    if (header["stylizing-vit manifest"] === MANIFEST_FORMAT) return header;
  } catch {}
  throw new StylizingError(
    "ARGUMENT",
    `${file} is no manifest that this version reads.`,
    "Give the manifest.jsonl that `augment` wrote.",
  );
}

/** A manifest that grows by the lines of whole groups. */
export class ManifestWriter {
  readonly #file: string;
  /** Lines behind the header. */
  lines: number;

  private constructor(file: string, lines: number) {
    this.#file = file;
    this.lines = lines;
  }

  /**
   * Begins a manifest, or goes on with one of the same header.
   * @param replace begins anew.
   * @throws StylizingError `ARGUMENT` where there is a manifest of something else, `OUTPUT`
   */
  static async open(folder: string, header: ManifestHeader, replace: boolean): Promise<ManifestWriter> {
    const file = path.join(folder, MANIFEST);
    if (replace || !(await stat(file).catch(() => undefined))) {
      await writeFileAtomic(file, `${JSON.stringify(header)}\n`);
      return new ManifestWriter(file, 0);
    }
    const differs = differences(await readHeader(file), header);
    if (differs.length > 0)
      throw new StylizingError(
        "ARGUMENT",
        `${file} is of another run: ${differs.join("; ")}.`,
        "Repeat that command to go on with it, give another --out, or --overwrite to begin anew.",
      );
    const writer = new ManifestWriter(file, 0);
    // What a kill left of a line is cut off.
    await writer.keep(Number.POSITIVE_INFINITY);
    return writer;
  }

  /** Cuts off what is behind the first lines. @throws StylizingError `OUTPUT` */
  async keep(lines: number): Promise<void> {
    let [count, bytes] = [-1, 0];
    for await (const line of wholeLines(this.#file)) {
      bytes += Buffer.byteLength(line) + 1;
      if (++count === lines) break;
    }
    try {
      await truncate(this.#file, bytes);
    } catch (error) {
      throw outputError(this.#file, error);
    }
    this.lines = count;
  }

  /** Appends the lines of a group. @throws StylizingError `OUTPUT` */
  async add(lines: readonly ManifestLine[]): Promise<void> {
    try {
      const handle = await open(this.#file, "a");
      try {
        await handle.appendFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
        await handle.sync();
        this.lines += lines.length;
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw outputError(this.#file, error);
    }
  }
}

/** Where two headers differ, for people. */
function differences(old: ManifestHeader, header: ManifestHeader): string[] {
  const flat = (value: unknown, name: string, into: Map<string, string>): Map<string, string> => {
    if (value && typeof value === "object" && !Array.isArray(value))
      for (const [key, one] of Object.entries(value)) flat(one, name ? `${name}.${key}` : key, into);
    else into.set(name, JSON.stringify(value));
    return into;
  };
  const [before, now] = [flat(old, "", new Map()), flat(JSON.parse(JSON.stringify(header)), "", new Map())];
  const names = [...new Set([...before.keys(), ...now.keys()])];
  return names
    .filter((name) => before.get(name) !== now.get(name))
    .map((name) => `${name} was ${before.get(name) ?? "not there"} and is ${now.get(name) ?? "not there"}`);
}
