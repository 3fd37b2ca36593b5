import { StylizingError } from "../errors.js";
import { describeValue } from "../image/checks.js";
import type { Batch } from "../models/batch.js";

/** Numbers of a content and of a style. */
export interface Pair {
  content: number;
  style: number;
}

/** Numbers of styles, copied. @throws StylizingError `ARGUMENT` where they are no list */
export function chosenStyles(styles: readonly number[] | undefined): number[] | undefined {
  if (styles === undefined) return undefined;
  if (Array.isArray(styles) || ArrayBuffer.isView(styles)) return Array.from(styles);
  throw new StylizingError("ARGUMENT", `\`styles\` is ${describeValue(styles)}.`, "Give a list of numbers of the bank's styles.");
}

/** Which content goes with which style. */
export function pairUp(contents: number, styles: number, chosen: readonly number[] | undefined, bank: boolean): Pair[] {
  if (contents === 0 || styles === 0) {
    throw new StylizingError("ARGUMENT", `There are ${contents} contents and ${styles} styles.`, "Give at least one of each.");
  }
  if (chosen) {
    if (!bank)
      throw new StylizingError(
        "ARGUMENT",
        "`styles` chooses from a style bank, and images were given.",
        "Give a bank, or leave it away.",
      );
    const wrong = chosen.find((style) => !(Number.isSafeInteger(style) && style >= 0 && style < styles));
    if (wrong !== undefined)
      throw new StylizingError("ARGUMENT", `There is no style ${wrong} in a bank of ${styles}.`, `Use 0 to ${styles - 1}.`);
    if (contents !== 1 && chosen.length !== contents) {
      throw new StylizingError(
        "ARGUMENT",
        `${chosen.length} styles were chosen for ${contents} contents.`,
        "Choose one for each.",
      );
    }
    return chosen.map((style, index) => ({ content: contents === 1 ? 0 : index, style }));
  }
  if (contents !== styles && contents !== 1 && styles !== 1) {
    throw new StylizingError(
      "ARGUMENT",
      `${contents} contents cannot be paired with ${styles} styles.`,
      "Give as many of one as of the other, or one of either.",
    );
  }
  return Array.from({ length: Math.max(contents, styles) }, (_, index) => ({
    content: contents === 1 ? 0 : index,
    style: styles === 1 ? 0 : index,
  }));
}

/** Images of a batch by number, side by side. */
export function gather(batch: Batch, numbers: readonly number[]) {
  const parts = numbers.map((number) => batch.pixels(number, 1));
  if (!ArrayBuffer.isView(parts[0]))
    throw new StylizingError(
      "ARGUMENT",
      "One GPU buffer cannot be repeated over a batch.",
      "Give as many images as the other side has.",
    );
  const arrays = parts as (Uint8Array | Float32Array)[];
  const each = arrays[0]!.length;
  const all = arrays[0] instanceof Float32Array ? new Float32Array(each * arrays.length) : new Uint8Array(each * arrays.length);
  for (const [index, part] of arrays.entries()) all.set(part, index * each);
  return all;
}
