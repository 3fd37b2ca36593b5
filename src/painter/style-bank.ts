import { StylizingError } from "../errors.js";
import type { Batch } from "../models/batch.js";
import type { StylePage } from "../models/stylizing-vit/modes.js";
import type { Engine } from "./engine.js";

/** The model that a bank belongs to. */
export interface BankOwner {
  /** Images that one submission holds. */
  readonly batchSize: number;
}

/** Keys and values of a set of styles, kept on the device: painting in them costs 3L - 2 block passes a content, not 4L - 3. */
export class StyleBank {
  readonly #owner: BankOwner;
  readonly #styles: Batch;
  #pages: Promise<StylePage[]> | undefined;
  #engine: Engine | undefined;
  #disposed = false;

  /** @internal Made by `StylizingViT.styleBank()`. */
  constructor(owner: BankOwner, styles: Batch) {
    this.#owner = owner;
    this.#styles = styles;
  }

  /** Number of styles. */
  get size(): number {
    return this.#styles.count;
  }

  /** @internal The pages on an engine; made again where the engine is another one, as after a lost device. */
  pages(engine: Engine, owner: BankOwner, signal?: AbortSignal): Promise<StylePage[]> {
    if (this.#disposed)
      throw new StylizingError("DISPOSED", "This style bank was disposed of.", "Make a new one with styleBank().");
    if (owner !== this.#owner)
      throw new StylizingError(
        "ARGUMENT",
        "This style bank belongs to another model.",
        "Make one with this model's styleBank().",
      );
    if (!this.#pages || this.#engine !== engine) {
      this.#engine = engine;
      this.#pages = this.#fill(engine, signal);
      this.#pages.catch(() => {
        this.#pages = undefined;
      });
    }
    return this.#pages;
  }

  async #fill(engine: Engine, signal?: AbortSignal): Promise<StylePage[]> {
    const pages: StylePage[] = [];
    const capacity = engine.pageCapacity;
    try {
      for (let first = 0; first < this.size; first += capacity) {
        const page = await engine.createPage(Math.min(capacity, this.size - first));
        pages.push(page);
        const batch = engine.largestBatch("style", this.#owner.batchSize);
        for (let at = 0; at < page.capacity; at += batch) {
          signal?.throwIfAborted();
          const images = Math.min(batch, page.capacity - at);
          const style = this.#styles.pixels(first + at, images);
          await engine.run({ mode: "style", images, input: this.#styles.format, output: "none", style, page, firstStyle: at });
        }
      }
      return pages;
    } catch (error) {
      for (const page of pages) await engine.disposePage(page).catch(() => {});
      throw error;
    }
  }

  /** Frees the device's memory. Idempotent; also done when the model is disposed of. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    const engine = this.#engine;
    this.#pages?.then((pages) => Promise.all(pages.map((page) => engine?.disposePage(page)))).catch(() => {});
    this.#pages = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
