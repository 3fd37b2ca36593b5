import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { DataSet, Sample, SampleKey } from "../datasets/types.js";
import { StylizingError } from "../errors.js";
import { byCodeUnits, someOf } from "../image/folder.js";
import type { ImagePool } from "../image/pool.js";
import type { PixelImage } from "../image/types.js";
import { fnv1a, fraction } from "../random.js";

/** A style, and what a manifest calls it. */
export interface StyleImage {
  /** A sample's key, or a file's path. */
  key: string;
  sha256: string;
  image: PixelImage;
}

/** Styles that samples draw from. */
export interface StyleSource {
  /** @param draw [0, 1) @throws StylizingError where there is none for this sample */
  styleFor(sample: Pick<SampleKey, "key" | "domain">, draw: number): Promise<StyleImage>;
  named(key: string): Promise<StyleImage> | undefined;
}

/** A style that is decoded when it is needed. */
export interface StyleEntry {
  key: string;
  domain?: string | undefined;
  read(): Promise<Sample["image"]>;
}

/** Bytes of decoded styles that are kept. */
const KEPT = 2 ** 28;
/** Styles of a domain, which are drawn by their keys. */
const A_DOMAIN = 64;

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** What a manifest's hash is of: a file's bytes, or pixels where they are stored as such. */
export const bytesOf = (image: Sample["image"]): Uint8Array => ("bytes" in image ? image.bytes : image.data);

/** @throws StylizingError `IMAGE` */
export function decode(image: Sample["image"], name: string, pool: ImagePool, signal?: AbortSignal): Promise<PixelImage> {
  if (!("bytes" in image)) return Promise.resolve(image);
  return pool.decode({ input: image.bytes, name, channels: "own" }, signal);
}

/** Entries, of which the last ones used are kept decoded. */
export class StyleList implements StyleSource {
  readonly #entries: readonly StyleEntry[];
  readonly #pool: ImagePool;
  readonly #decoded = new Map<StyleEntry, Promise<StyleImage>>();
  readonly #sizes = new Map<StyleEntry, number>();
  readonly #byDomain = new Map<string | undefined, readonly StyleEntry[]>();
  readonly #domains: boolean;

  /** @param domains whether a sample's style is of another domain than itself. */
  constructor(entries: readonly StyleEntry[], pool: ImagePool, domains = false) {
    this.#entries = entries;
    this.#pool = pool;
    this.#domains = domains;
  }

  styleFor({ key, domain }: Pick<SampleKey, "key" | "domain">, draw: number): Promise<StyleImage> {
    const among = this.#domains ? this.#others(domain) : this.#entries;
    if (among.length === 0)
      throw new StylizingError("ARGUMENT", `There is no domain but that of ${key}.`, "Take --styles roll, or give --style.");
    return this.#load(among[Math.floor(draw * among.length)]!);
  }

  #others(domain: string | undefined): readonly StyleEntry[] {
    let others = this.#byDomain.get(domain);
    if (!others) {
      others = this.#entries.filter((entry) => entry.domain !== domain);
      this.#byDomain.set(domain, others);
    }
    return others;
  }

  /** All of them, one after another. @throws StylizingError `IMAGE` */
  async *images(): AsyncGenerator<PixelImage, void, undefined> {
    for (const entry of this.#entries) yield (await this.#load(entry)).image;
  }

  /** By its key, where it is among them. @throws StylizingError `IMAGE` */
  named(key: string): Promise<StyleImage> | undefined {
    const entry = this.#entries.find((one) => one.key === key);
    return entry && this.#load(entry);
  }

  /** @throws StylizingError `IMAGE` */
  #load(entry: StyleEntry): Promise<StyleImage> {
    const known = this.#decoded.get(entry);
    // Those that were used last stand last.
    if (known) this.#decoded.delete(entry);
    const image = known ?? this.#read(entry);
    this.#decoded.set(entry, image);
    return image;
  }

  async #read(entry: StyleEntry): Promise<StyleImage> {
    const stored = await entry.read();
    const image = await decode(stored, entry.key, this.#pool);
    this.#sizes.set(entry, image.data.length);
    let sum = [...this.#decoded.keys()].reduce((total, one) => total + (this.#sizes.get(one) ?? 0), 0);
    for (const one of this.#decoded.keys()) {
      if (sum <= KEPT || one === entry) break;
      sum -= this.#sizes.get(one) ?? 0;
      this.#decoded.delete(one);
    }
    return { key: entry.key, sha256: sha256(bytesOf(stored)), image };
  }
}

/** Files as styles. @throws StylizingError `ARGUMENT` where one of them is among `excluded` hashes */
export async function fileStyles(files: readonly string[], excluded: ReadonlyMap<string, string>): Promise<StyleEntry[]> {
  if (files.length === 0)
    throw new StylizingError("ARGUMENT", "There is no style image.", "Give images, or folders that hold some, with --style.");
  if (excluded.size > 0) {
    const shared: string[] = [];
    for (const file of files) {
      const same = excluded.get(sha256(await readFile(file)));
      if (same !== undefined) shared.push(`${file} (${same})`);
    }
    if (shared.length > 0)
      throw new StylizingError(
        "ARGUMENT",
        `Of the styles ${shared.length === 1 ? "one is" : `${shared.length} are`} excluded: ${someOf(shared)}.`,
        "Take styles from the training split alone.",
      );
  }
  return files.map((file) => ({ key: file, read: async () => ({ bytes: await readFile(file), ending: "" }) }));
}

/**
 * Styles of every domain of a data set: of each the 64 samples that come first in a seeded order of their keys. Two passes, one
 * of them over images; what is kept is as it is stored.
 * @throws StylizingError `ARGUMENT` where there are no domains
 */
export async function domainStyles(data: DataSet, seed: number, signal?: AbortSignal): Promise<StyleEntry[]> {
  const byDomain = new Map<string, { key: string; place: number }[]>();
  for await (const sample of data.keys(signal)) {
    if ("error" in sample || sample.domain === undefined) continue;
    const list = byDomain.get(sample.domain) ?? [];
    byDomain.set(sample.domain, list);
    list.push({ key: sample.key, place: fraction(seed, fnv1a(sample.key)) });
    if (list.length > 4 * A_DOMAIN) firstOf(list);
  }
  if (byDomain.size < 2)
    throw new StylizingError(
      "ARGUMENT",
      byDomain.size === 0 ? "The samples have no domain." : `All samples are of one domain, ${[...byDomain.keys()][0]}.`,
      "Say with --domain which column or folder it is, or take --styles roll or bank.",
    );
  const chosen = new Map<string, string>();
  for (const [domain, list] of byDomain) for (const { key } of firstOf(list)) chosen.set(key, domain);
  const entries: StyleEntry[] = [];
  for await (const sample of data.samples({ signal })) {
    if ("error" in sample || !chosen.has(sample.key)) continue;
    entries.push({ key: sample.key, domain: sample.domain, read: () => Promise.resolve(sample.image) });
    if (entries.length === chosen.size) break;
  }
  return entries.sort((a, b) => byCodeUnits(a.domain ?? "", b.domain ?? "") || byCodeUnits(a.key, b.key));
}

/** The first ones in the seeded order, in place. */
function firstOf(list: { key: string; place: number }[]): typeof list {
  list.sort((a, b) => a.place - b.place || byCodeUnits(a.key, b.key));
  list.length = Math.min(list.length, A_DOMAIN);
  return list;
}
