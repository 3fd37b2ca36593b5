import { type StyleImage, type StyleSource, sha256 } from "../augment/style-source.js";
import { StylizingError } from "../errors.js";
import { someOf } from "../image/folder.js";
import type { PixelImage } from "../image/types.js";
import { Refusal } from "./refusal.js";

/** Bytes of pixels that are kept, and styles. */
const MOST_BYTES = 2 ** 28;
const MOST_STYLES = 4096;

/** Styles that clients have uploaded, by name; all clients share them. They live in memory alone. */
export class NamedStyles {
  readonly #styles = new Map<string, StyleImage>();
  #bytes = 0;

  get size(): number {
    return this.#styles.size;
  }

  /**
   * Keeps a style under a name, for good: what a name means must not change under another client.
   * @returns it, and whether it is new. @throws Refusal 409 where the name has other pixels, 413 where there is no room; StylizingError `ARGUMENT`
   */
  put(name: string, image: PixelImage): { style: StyleImage; created: boolean } {
    if (!/^[\w.-]{1,100}$/.test(name))
      throw new StylizingError(
        "ARGUMENT",
        `"${name.slice(0, 100)}" is no name of a style.`,
        "Take up to 100 letters, digits, dots, hyphens and underscores.",
      );
    const style = { key: name, sha256: sha256(image.data), image };
    const known = this.#styles.get(name);
    if (known?.sha256 === style.sha256 && known.image.width === image.width && known.image.channels === image.channels)
      return { style: known, created: false };
    if (known)
      throw new Refusal(409, "CONFLICT", `The style ${name} has other pixels.`, "Take another name, or delete that one first.");
    if (this.#styles.size >= MOST_STYLES || this.#bytes + image.data.length > MOST_BYTES)
      throw new Refusal(
        413,
        "TOO_LARGE",
        `${this.#styles.size} styles of ${this.#bytes} bytes are kept, and ${MOST_STYLES} of ${MOST_BYTES} bytes are the most.`,
        "Delete some, or send smaller ones.",
      );
    // The body that it came in is not kept for it.
    this.#styles.set(name, { ...style, image: { ...image, data: image.data.slice() } });
    this.#bytes += image.data.length;
    return { style, created: true };
  }

  /** @throws Refusal 404 */
  delete(name: string): void {
    this.#bytes -= this.#named(name).image.data.length;
    this.#styles.delete(name);
  }

  /** Some of them, drawn from as `augment --style` draws from files in that order. @throws Refusal 404 for one that there is not */
  among(names: readonly string[]): Pick<StyleSource, "styleFor"> {
    const styles = names.map((name) => this.#named(name));
    return { styleFor: async (_, draw) => styles[Math.floor(draw * styles.length)]! };
  }

  #named(name: string): StyleImage {
    const style = this.#styles.get(name);
    if (style) return style;
    const there = this.#styles.size === 0 ? "There are none yet" : `There are ${someOf([...this.#styles.keys()])}`;
    throw new Refusal(
      404,
      "NOT_FOUND",
      `There is no style "${name.slice(0, 100)}".`,
      `${there}: upload it with POST /v1/styles/NAME.`,
    );
  }
}
