import { StylizingError } from "../errors.js";
import { resize } from "../image/resize.js";
import type { PixelImage } from "../image/types.js";
import { MOST_IMAGES } from "./batch.js";
import type { Records, RestyleEngine } from "./engine.js";
import type { RandStainTable } from "./methods.js";
import { recordWords } from "./programs.js";
import { TableAccumulator } from "./records.js";
import type { RestyleBank } from "./types.js";
import { statisticsKey, type Way } from "./ways.js";

/** Bytes of styles that one submission holds, and that are kept at other sizes. */
const STYLE_BYTES = 2 ** 26;

/** Styles of a closed form: their statistics stay on the device, each kind computed once; images stay for what needs them. */
export class ClosedFormBank implements RestyleBank {
  readonly styles: readonly PixelImage[];
  readonly #owner: unknown;
  readonly #records = new Map<string, Promise<Records>>();
  /** Styles at the sizes of contents, the oldest first. */
  readonly #resized = new Map<string, PixelImage>();
  #resizedBytes = 0;
  #engine: RestyleEngine | undefined;
  #measured: RandStainTable | undefined;
  #disposed = false;

  constructor(owner: unknown, styles: readonly PixelImage[]) {
    this.#owner = owner;
    this.styles = styles;
  }

  get size(): number {
    return this.styles.length;
  }

  /** RandStainNA's table of these styles, where it was asked for. */
  get measured(): RandStainTable | undefined {
    return this.#measured;
  }

  /** Refuses another owner's bank, and one that was disposed of. @throws StylizingError `ARGUMENT`, `DISPOSED` */
  checkOwner(owner: unknown): void {
    if (this.#disposed)
      throw new StylizingError("DISPOSED", "This style bank was disposed of.", "Make a new one with styleBank().");
    if (owner !== this.#owner)
      throw new StylizingError("ARGUMENT", "This style bank is of another restyler.", "Make one with this one's styleBank().");
  }

  /** The statistics that a way needs, on an engine; computed again where the engine is another one, as after a lost device. */
  async records(engine: RestyleEngine, way: Way, signal?: AbortSignal): Promise<Records | undefined> {
    if (recordWords(way) === 0) return undefined;
    signal?.throwIfAborted();
    if (this.#engine !== engine) this.#records.clear();
    this.#engine = engine;
    const key = statisticsKey(way);
    let records = this.#records.get(key);
    if (!records) {
      records = engine.keep(way, this.styles, cutsOf(this.styles));
      this.#records.set(key, records);
      records.catch(() => this.#records.delete(key));
    }
    return records;
  }

  /** A style at another size: data sets have few, so the last ones are kept. */
  async resized(style: number, width: number, height: number, signal?: AbortSignal): Promise<PixelImage> {
    const key = `${style} ${width} ${height}`;
    const known = this.#resized.get(key);
    if (known) return known;
    const image = await resize(this.styles[style]!, width, height, { signal });
    if (!this.#resized.has(key)) this.#resizedBytes += image.data.length;
    this.#resized.set(key, image);
    for (const [oldest, { data }] of this.#resized) {
      if (this.#resizedBytes <= STYLE_BYTES) break;
      this.#resized.delete(oldest);
      this.#resizedBytes -= data.length;
    }
    return image;
  }

  /** Measures RandStainNA's table, once. */
  async measure(engine: RestyleEngine, way: Way, signal?: AbortSignal): Promise<void> {
    if (this.#measured) return;
    const measured = new TableAccumulator();
    for (const [from, count] of cutsOf(this.styles)) {
      signal?.throwIfAborted();
      measured.add(await engine.measure(way, this.styles.slice(from, from + count)));
    }
    this.#measured = measured.table();
  }

  /** Frees the device's memory. Idempotent. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    const engine = this.#engine;
    for (const records of this.#records.values()) records.then((one) => engine!.release(one)).catch(() => {});
    this.#records.clear();
    this.#resized.clear();
  }
}

/** Runs of styles that a submission holds. */
export function cutsOf(styles: readonly PixelImage[]): [from: number, count: number][] {
  const cuts: [number, number][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const [index, { data }] of styles.entries()) {
    bytes += data.length;
    if (bytes > STYLE_BYTES || cuts.at(-1)![1] === MOST_IMAGES) {
      cuts.push([index, 0]);
      bytes = data.length;
    }
    cuts.at(-1)![1]++;
  }
  return cuts;
}
