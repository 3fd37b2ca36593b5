import { readdir } from "node:fs/promises";
import path from "node:path";
import { byCodeUnits } from "../image/folder.js";
import { endingOf, type Part, readPart, stemOf } from "./sample.js";

export const MASK_SUFFIX = "_mask";

/** What a part is called of which only the end of its file's name is known: `_mask.png` is `mask.png`. */
export const partName = (behind: string): string => behind.replace(/^[^\p{L}\p{N}]+/u, "");

/** Names of a folder's masks by their stems. */
async function masksIn(folder: string, suffix: string): Promise<Map<string, string[]>> {
  const masks = new Map<string, string[]>();
  for (const name of await readdir(folder).catch(() => [])) {
    const stem = stemOf(name);
    if (stem.endsWith(suffix)) masks.set(stem, [...(masks.get(stem) ?? []), name]);
  }
  return masks;
}

/**
 * Finds masks beside images: `STEM_mask.ENDING` beside `STEM.png`. A folder is listed once while its images come in a row; several may be
 * asked for at a time.
 */
export class Masks {
  readonly suffix: string;
  #last: { folder: string; names: Promise<Map<string, string[]>> } | undefined;

  constructor(suffix = MASK_SUFFIX) {
    this.suffix = suffix;
  }

  /** Masks of an image file, with their bytes. @throws StylizingError `IMAGE` where one cannot be read. */
  async of(file: string): Promise<Part[]> {
    const folder = path.dirname(file);
    if (this.#last?.folder !== folder) this.#last = { folder, names: masksIn(folder, this.suffix) };
    const names = await this.#last.names;
    const masks = (names.get(stemOf(path.basename(file)) + this.suffix) ?? []).toSorted(byCodeUnits);
    return Promise.all(
      masks.map(async (name) => {
        const behind = `${this.suffix}.${endingOf(name)}`;
        const bytes = await readPart(path.join(folder, name), `The mask of ${file}`, "Put it back, or make it readable.");
        return { name: partName(behind), behind, bytes };
      }),
    );
  }
}
