import { posix } from "node:path";
import { countPages, type DecodeOptions, MOST_LEVELS } from "../image/decode.js";
import type { ImagePool } from "../image/pool.js";
import type { Fit, FittedImage } from "../image/preprocess.js";
import type { LoadedImage, LoadTask } from "../image/tasks.js";
import type { PixelImage } from "../image/types.js";
import type { InputFile } from "./inputs.js";

export type Loaded = { image: FittedImage } | { error: unknown };

/** How image files are read. */
export interface ReadOptions extends Pick<DecodeOptions, "white"> {
  /** Which of several pages of a file: a number from 1 on, or an image for each; default the first. */
  page?: number | "all" | undefined;
  /** How an image that is no square becomes one. */
  fit?: Fit | undefined;
}

/** Reads images of inputs, and says what may not be expected of them: other pages, 16 bits of which few are used. */
export class InputReader {
  readonly #pool: Pick<ImagePool, "load" | "decode">;
  readonly #options: ReadOptions;
  readonly #onNote: ((note: string) => void) | undefined;
  readonly #inputs = new Map<string, InputFile>();
  readonly #noted = new Set<string>();

  constructor(pool: Pick<ImagePool, "load" | "decode">, options: ReadOptions, onNote: ((note: string) => void) | undefined) {
    this.#pool = pool;
    this.#options = options;
    this.#onNote = onNote;
  }

  /** What stands for an input where a path is wanted: a file's pages have it in common. */
  key(input: InputFile): string {
    const key = input.page === undefined ? input.path : `${input.path}\0${input.page}`;
    this.#inputs.set(key, input);
    return key;
  }

  /** As the pool's own, of a file or a key. */
  async load({ file, ...task }: Omit<LoadTask, "kind">, signal?: AbortSignal): Promise<LoadedImage> {
    const { fit } = this.#options;
    const { path, ...how } = this.#how(file);
    const image = await this.#pool.load({ fit, ...task, file: path, ...how }, signal);
    this.#tell(path, image);
    return image;
  }

  /** An input at its own size and channels. Throws as `load` does. */
  async decode(input: InputFile, signal?: AbortSignal): Promise<PixelImage> {
    if (input.error !== undefined) throw input.error;
    const { path, ...how } = this.#how(this.key(input));
    const image = await this.#pool.decode({ input: path, channels: "own", ...how }, signal);
    this.#tell(path, image);
    return image;
  }

  #how(file: string): { path: string } & Pick<LoadTask, "page" | "white"> {
    const { page, white } = this.#options;
    const { path, page: own } = this.#inputs.get(file) ?? { path: file };
    return { path, page: own ?? (page === "all" ? 1 : page), white };
  }

  #tell(path: string, { pages, largest }: Pick<LoadedImage, "pages" | "largest">): void {
    const { page, white } = this.#options;
    if (pages > 1 && page === undefined)
      this.#say("pages", `${path} has ${pages} pages: the first is taken; --page N or all takes others`);
    if (largest !== undefined && largest < MOST_LEVELS / 4 && white === undefined)
      this.#say(
        "white",
        `${path} has 16 bits and no value above ${largest}: if it is too dark, --white 4095 or auto says what is white`,
      );
  }

  /** Once a run: a folder of such files is the rule. */
  #say(what: string, text: string): void {
    if (this.#noted.has(what)) return;
    this.#noted.add(what);
    this.#onNote?.(`${text} (said of the first such file only)`);
  }

  /** Loads images, as many at a time as the pool takes; those whose turn has not come when the signal is raised have its reason. */
  loadAll(files: readonly InputFile[], size: number, channels: number, signal?: AbortSignal): Promise<Loaded[]> {
    return Promise.all(
      files.map((input) =>
        this.load({ file: this.key(input), size, channels: channels as 1 | 3 }, signal).then(
          (image) => ({ image }),
          (error: unknown) => ({ error }),
        ),
      ),
    );
  }
}

/** In front of the ending, which names of results are without. */
function pageName(name: string, page: number): string {
  const ending = posix.extname(name);
  return `${name.slice(0, name.length - ending.length)}-p${String(page).padStart(4, "0")}${ending}`;
}

/** Files whose pages are counted at a time. */
const COUNTED_AT_ONCE = 4;

/** An input for each page of files that have several, `NAME-p0001` and so on. What cannot be read stays, and fails in its turn. */
export async function inPages(files: readonly InputFile[], page: ReadOptions["page"]): Promise<InputFile[]> {
  if (page !== "all") return [...files];
  const all: InputFile[] = [];
  for (let from = 0; from < files.length; from += COUNTED_AT_ONCE) {
    const some = files.slice(from, from + COUNTED_AT_ONCE);
    const counts = await Promise.all(some.map(({ path, slide }) => slide?.pages ?? countPages(path).catch(() => 1)));
    for (const [index, file] of some.entries()) {
      const pages = counts[index]!;
      if (pages === 1) all.push(file);
      else for (let number = 1; number <= pages; number++) all.push({ ...file, name: pageName(file.name, number), page: number });
    }
  }
  return all;
}
