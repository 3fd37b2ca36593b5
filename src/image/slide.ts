import { open, stat } from "node:fs/promises";
import path from "node:path";
import type { Metadata } from "sharp";
import { StylizingError } from "../errors.js";
import { choosePage, DEFAULT_MAX_PIXELS, type DecodeOptions, readPixels, unreadable } from "./decode.js";
import { paste } from "./preprocess.js";
import { loadSharp } from "./sharp.js";
import { pagesAmong, type TiffImage, tiffImages } from "./tiff.js";
import { type RowSource, reusedBytes } from "./types.js";

/** JPEG 2000 as Aperio's scanners write it: libtiff knows no such compression. */
const APERIO_JPEG_2000 = [33003, 33005];
/** Bytes of a row of tiles, of eight-bit colours, that are read at a time at most: no scanner comes near it, and damaged files do. */
const MOST_BYTES = 2 ** 30;
/** Pixels that libvips decodes at a time, at most: what it takes for that is memory that the C library keeps. */
const MOST_PIXELS = 2 ** 20;
/** Rows that are read at a time, at least: opening a file costs as much as some. */
const LEAST_ROWS = 128;

const CONVERT = "vips tiffsave FILE slide.tif --tile --pyramid --compression jpeg --bigtiff";

/** A file that is read by regions: a tiled TIFF of any size. */
export class Slide {
  readonly path: string;
  readonly #images: readonly TiffImage[];
  readonly #pages: readonly number[];

  private constructor(file: string, images: readonly TiffImage[]) {
    this.path = file;
    this.#images = images;
    this.#pages = pagesAmong(images);
  }

  /**
   * A file as a slide; of it only what stands before the pixels is read.
   * @returns undefined for what is none: another file than a .svs, and no TIFF of more pixels than an image may have.
   * @throws StylizingError `IMAGE` for a .svs that is no TIFF, or whose directory is damaged.
   */
  static async find(file: string): Promise<Slide | undefined> {
    const named = path.extname(file).toLowerCase() === ".svs";
    // Before it is opened: a pipe waits for its writer. Why a file cannot be opened, reading it will say.
    const about = await stat(file).catch(() => undefined);
    const handle = about?.isFile() ? await open(file, "r").catch(() => undefined) : undefined;
    if (!handle) return undefined;
    try {
      const images = tiffImages(handle.fd);
      if (images && (named || images[0]!.width * images[0]!.height > DEFAULT_MAX_PIXELS)) return new Slide(file, images);
      if (!named) return undefined;
    } finally {
      await handle.close();
    }
    const fix = "It is probably cut short or damaged: copy or export it again.";
    throw new StylizingError("IMAGE", `${file} is no TIFF, which every .svs is, or its directory is damaged.`, fix);
  }

  /** Levels, label and macro are none. */
  get pages(): number {
    return this.#pages.length;
  }

  /**
   * What the file says of a page, counted from 1; of a file with one page that is it, whatever is asked for.
   * @throws StylizingError `IMAGE` where there is no such page, and where it cannot be read by regions.
   */
  page(number = 1): TiffImage {
    const image = this.#images[this.#index(number)]!;
    const { compression, tile, orientation, width, height } = image;
    const refuse = (problem: string, fix: string): never => {
      throw new StylizingError("IMAGE", `${this.path} ${problem}.`, fix);
    };
    if (APERIO_JPEG_2000.includes(compression))
      refuse(
        `is compressed as JPEG 2000 (${compression}), which is not read`,
        `Convert it with a vips that has OpenSlide: vips copy FILE "slide.tif[tile,pyramid,compression=jpeg,bigtiff]"`,
      );
    if (!(width > 0 && height > 0)) refuse(`says that it is ${width} × ${height}`, "It is probably damaged: copy it again.");
    if (!tile)
      refuse(
        "lies in strips and not in tiles: each part of it would cost all that is above it",
        `Write it in tiles first: ${CONVERT}`,
      );
    else if (3 * width * Math.max(LEAST_ROWS, tile.height) > MOST_BYTES)
      refuse(
        `is ${width} pixels wide in tiles ${tile.height} pixels high, of which a row takes more than a gigabyte`,
        `Write it in smaller tiles: ${CONVERT}`,
      );
    if (orientation !== 1) refuse(`is stored turned (orientation ${orientation})`, "Turn it first: vips autorot");
    return image;
  }

  #index(number: number): number {
    return this.#pages[choosePage(this.path, this.pages, number) - 1]!;
  }

  /**
   * A page's rows, [count, width, C] bytes, as `decodeImage` would give them. Rows of tiles are decoded once where they are asked for from
   * top to bottom, the next one ahead of its time; more is not held.
   * @throws StylizingError `IMAGE`, also where rows are read; the signal's reason when aborted.
   */
  async read(
    { page, channels, white }: Pick<DecodeOptions, "page" | "white"> & { channels: 1 | 3 },
    signal?: AbortSignal,
  ): Promise<RowSource> {
    const image = this.page(page);
    const { width, height, tile } = image;
    const sharp = await loadSharp();
    // What libvips remembers of files and of their regions grows, and it may answer with an older content.
    sharp.cache(false);
    const index = this.#index(page ?? 1);
    const about = { limitInputPixels: false, page: index } as const;
    const header = await sharp(this.path, about)
      .metadata()
      .catch((error: unknown): Metadata => {
        throw unreadable(this.path, error);
      });
    if (header.width !== width || header.height !== height)
      throw unreadable(this.path, `it says ${width} × ${height}, and libvips ${header.width} × ${header.height}`);
    if (header.depth === "ushort" && white === "auto")
      throw new StylizingError(
        "IMAGE",
        `${this.path} has 16 bits, and its largest value is not known before all of it was read.`,
        "Give the value that is white: --white 4095 for twelve bits.",
      );
    const read = { sharp, header, image, index, name: this.path, channels, white, maxPixels: false } as const;
    const most = tile!.height * Math.ceil(LEAST_ROWS / tile!.height);
    const wide = tile!.width * Math.max(1, Math.floor(MOST_PIXELS / (most * tile!.width)));
    return inChunks({ width, height }, channels, most, async (top, count, rows) => {
      for (let left = 0; left < width; left += wide) {
        signal?.throwIfAborted();
        const region = { left, top, width: Math.min(wide, width - left), height: count };
        const { data } = await readPixels(this.path, { ...read, region });
        paste(data, region, channels, { data: rows, place: { left: 0, top, width, height: count } });
      }
    });
  }
}

/**
 * Rows that are read in chunks of `most`, each once, and one ahead.
 * @param read puts rows into an array
 */
function inChunks(
  { width, height }: { width: number; height: number },
  channels: 1 | 3,
  most: number,
  read: (top: number, count: number, rows: Uint8Array) => Promise<void>,
): RowSource {
  const stride = width * channels;
  const chunks = new Map<number, { rows: Uint8Array; reading: Promise<void> }>();
  const free: Uint8Array[] = [];
  const room = reusedBytes();
  const start = (index: number): void => {
    const top = index * most;
    if (top >= height || chunks.has(index)) return;
    const rows = free.pop() ?? new Uint8Array(Math.min(most, height) * stride);
    const reading = read(top, Math.min(most, height - top), rows);
    // Whoever asks for it hears of it.
    reading.catch(() => {});
    chunks.set(index, { rows, reading });
  };
  return {
    width,
    height,
    rows: async (top, count) => {
      const target = room(count * stride);
      for (let at = top; at < top + count; ) {
        const index = Math.floor(at / most);
        start(index);
        const { rows, reading } = chunks.get(index)!;
        await reading;
        // Rows are asked for from top to bottom: those before have been read, and their memory takes the next ones.
        for (const [old, chunk] of chunks) {
          if (old >= index) continue;
          chunks.delete(old);
          await chunk.reading;
          free.push(chunk.rows);
        }
        start(index + 1);
        const from = at - index * most;
        const some = Math.min(top + count - at, most - from);
        target.set(rows.subarray(from * stride, (from + some) * stride), (at - top) * stride);
        at += some;
      }
      if (top + count === height) {
        chunks.clear();
        free.length = 0;
      }
      return target;
    },
  };
}
