import { createReadStream } from "node:fs";
import { readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { StylizingError } from "../errors.js";
import { outputError, removeStale, writeFileAtomic } from "../image/atomic-write.js";
import { makeFolder } from "../image/make-folder.js";

/** Where parts lie below the output until all are there. */
const FOLDER = ".stylizing-vit-parts";

/**
 * Parts of a file that can be written only when all groups are there: a file for each group, whole or not at all. They are removed when
 * the file stands, so that finishing may be repeated after a kill at any moment.
 */
export class GroupParts {
  readonly #folder: string;
  readonly #done: string;
  #ready: Promise<void> | undefined;

  /** @param joins whether the folder is another one's, who has made it: nothing is written where it is no more. */
  constructor(out: string, joins = false) {
    if (joins) this.#ready = Promise.resolve();
    this.#folder = path.join(out, FOLDER);
    this.#done = path.join(out, `${FOLDER}.done`);
  }

  file(group: number, name: string): string {
    return path.join(this.#folder, `${String(group).padStart(6, "0")}.${name}`);
  }

  async write(group: number, name: string, bytes: Uint8Array | string | AsyncIterable<Uint8Array>): Promise<void> {
    await this.open();
    await writeFileAtomic(this.file(group, name), bytes);
  }

  /** Makes the folder. */
  open(): Promise<void> {
    this.#ready ??= this.#prepare();
    return this.#ready;
  }

  async #prepare(): Promise<void> {
    try {
      await rm(this.#done, { recursive: true, force: true });
      await makeFolder(this.#folder);
    } catch (error) {
      throw outputError(this.#folder, error, "folder");
    }
    await removeStale(this.#folder);
  }

  /** Bytes of a part, in pieces. */
  read(group: number, name: string): AsyncIterable<Uint8Array> {
    return createReadStream(this.file(group, name), { highWaterMark: 1 << 16 });
  }

  /**
   * Makes the file of the parts, unless it stands already and they are gone.
   * @param name of the part that a group has as its last.
   * @throws StylizingError `OUTPUT` where a group is missing.
   */
  async assemble(groups: number, name: string, file: string, make: () => Promise<void>): Promise<void> {
    const there = new Set(await readdir(this.#folder).catch(() => []));
    if (there.size === 0 && (await stat(file).catch(() => undefined))?.isFile()) {
      await rm(this.#done, { recursive: true, force: true });
      return;
    }
    for (let group = 0; group < groups; group++) {
      if (there.has(path.basename(this.file(group, name)))) continue;
      const fix = "Write that group again: its part of the result is gone.";
      throw new StylizingError("OUTPUT", `${file} cannot be written: group ${group} of ${groups} is missing.`, fix);
    }
    await make();
    // All at once: what is left of them after a kill must not be taken for all.
    await rm(this.#done, { recursive: true, force: true });
    await rename(this.#folder, this.#done).catch(() => {});
    await rm(this.#done, { recursive: true, force: true });
    this.#ready = undefined;
  }
}
