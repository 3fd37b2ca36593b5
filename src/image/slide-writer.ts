import { type FileHandle, open, rename, rm, statfs } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { deflate } from "node:zlib";
import { StylizingError } from "../errors.js";
import { outputError, partialOf, writableTarget } from "./atomic-write.js";
import { loadSharp } from "./sharp.js";
import type { Resolution } from "./tiff.js";
import { tiffDirectories, tiffHead } from "./tiled-tiff.js";

export type SlideCompression = "jpeg" | "deflate";
export const COMPRESSIONS: readonly SlideCompression[] = ["jpeg", "deflate"];

export interface SlideFormat {
  width: number;
  height: number;
  channels: 1 | 3;
  compression: SlideCompression;
  resolution?: Resolution | undefined;
}

/** Of JPEG, whose colours keep their full resolution: stains are colour. */
const QUALITY = 90;
const TILE = 256;
/** Tiles that are encoded at a time: several for each thread that does it. */
const AT_ONCE = 16;
/** Bytes of a result for each of its pixels' bytes, its levels among them: JPEG takes a tenth to a quarter, deflate may gain nothing. */
const SHARE: Readonly<Record<SlideCompression, number>> = { jpeg: 0.5, deflate: 1.4 };

/**
 * Holds the disk to what a slide may take there.
 * @param folder where it goes; it exists.
 * @throws StylizingError `OUTPUT` with the numbers.
 */
export async function checkRoom(folder: string, { width, height, channels, compression }: SlideFormat): Promise<void> {
  const needed = width * height * channels * SHARE[compression];
  const about = await statfs(folder).catch(() => undefined);
  // A file system that does not say is not refused: a full disk is noticed later.
  if (!about || about.blocks === 0) return;
  const free = about.bavail * about.bsize;
  if (free >= needed) return;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(bytes < 1e11 ? 1 : 0)} GB`;
  const problem = `A slide of ${width} × ${height} takes up to ${gigabytes(needed)} as ${compression}, and ${gigabytes(free)} are free in ${folder}.`;
  throw new StylizingError("OUTPUT", problem, "Free some space, or give a folder on another disk with --out.");
}

/** A slide, or a smaller version of it, of which a row of tiles is in memory. */
interface Level {
  readonly width: number;
  readonly height: number;
  readonly band: Uint8Array;
  /** Rows in the band, and those that were written before. */
  rows: number;
  written: number;
  readonly places: number[];
  readonly sizes: number[];
}

/** Rows that a level's row of tiles still takes. */
const missingRows = ({ height, rows, written }: Level): number => Math.min(TILE, height - written) - rows;

/** Halves, odd rows and columns left out, until there is one tile: as libvips does it. */
function levelsOf({ width, height, channels }: SlideFormat): Level[] {
  const levels: Level[] = [];
  for (let [w, h] = [width, height]; ; [w, h] = [Math.max(1, w >> 1), Math.max(1, h >> 1)]) {
    const band = new Uint8Array(Math.min(TILE, h) * w * channels);
    levels.push({ width: w, height: h, band, rows: 0, written: 0, places: [], sizes: [] });
    if (w <= TILE && h <= TILE) return levels;
  }
}

/**
 * Writes a slide by rows as a tiled, pyramidal BigTIFF, whole or not at all. sharp takes a picture whole, so only tiles are given to it, and the
 * file around them is written here: each row of tiles of each level when it is full. What becomes the result is renamed at the end,
 * and goes with `dispose` where it did not come to that.
 */
export class SlideWriter implements AsyncDisposable {
  readonly #target: string;
  readonly #partial: string;
  readonly #format: SlideFormat;
  readonly #levels: readonly Level[];
  /** Pixels of the tiles that are being encoded. */
  readonly #tiles: readonly Uint8Array[];
  #handle: FileHandle | undefined;
  #end = 0;
  /** The last rows, on their way into the file. */
  #writing: Promise<void> = Promise.resolve();

  private constructor(target: string, format: SlideFormat) {
    this.#target = target;
    this.#partial = partialOf(target);
    this.#format = format;
    this.#levels = levelsOf(format);
    this.#tiles = Array.from({ length: AT_ONCE }, () => new Uint8Array(TILE * TILE * format.channels));
  }

  /** @throws StylizingError `OUTPUT` where the disk is too small, or the file cannot be written. */
  static async create(file: string, format: SlideFormat): Promise<SlideWriter> {
    try {
      const target = await writableTarget(file);
      await checkRoom(path.dirname(target), format);
      const writer = new SlideWriter(target, format);
      writer.#handle = await open(writer.#partial, "wx");
      await writer.#append([tiffHead()]);
      return writer;
    } catch (error) {
      throw outputError(file, error);
    }
  }

  /**
   * The next rows, [rows, width, C]; they must not change before the next ones are given, and are written meanwhile.
   * @throws StylizingError `OUTPUT`, of the rows before.
   */
  async write(rows: Uint8Array): Promise<void> {
    await this.#written();
    this.#writing = this.#add(rows);
    this.#writing.catch(() => {});
  }

  async #written(): Promise<void> {
    try {
      await this.#writing;
    } catch (error) {
      throw outputError(this.#target, error);
    }
  }

  /**
   * Writes the rest, and puts the slide in its place.
   * @throws StylizingError `OUTPUT`; the signal's reason when aborted, and the place is then as it was.
   */
  async finish(signal?: AbortSignal): Promise<void> {
    await this.#written();
    signal?.throwIfAborted();
    const { width, height } = this.#format;
    if (this.#levels.some((level) => level.written < level.height)) throw new RangeError("rows are missing");
    const { channels, compression, resolution } = this.#format;
    const images = this.#levels.map((level) => {
      const own = resolution && {
        ...{ x: (resolution.x * level.width) / width, y: (resolution.y * level.height) / height, unit: resolution.unit },
      };
      return { ...level, channels, compression, resolution: own, tile: TILE };
    });
    try {
      // A directory begins at a word.
      const start = 8 * Math.ceil(this.#end / 8);
      await this.#append([Buffer.alloc(start - this.#end), tiffDirectories(images, start)]);
      const handle = this.#handle!;
      await handle.write(tiffHead(start), 0, undefined, 0);
      await handle.sync();
      await this.#close();
      signal?.throwIfAborted();
      await rename(this.#partial, this.#target);
    } catch (error) {
      signal?.throwIfAborted();
      throw outputError(this.#target, error);
    }
  }

  /** Adds rows to the slide; each row of tiles that is full goes into the file. */
  async #add(rows: Uint8Array): Promise<void> {
    const level = this.#levels[0]!;
    const stride = level.width * this.#format.channels;
    for (let at = 0; at < rows.length; ) {
      const missing = missingRows(level);
      if (missing === 0) throw new RangeError("rows behind the last");
      const some = rows.subarray(at, at + missing * stride);
      level.band.set(some, level.rows * stride);
      level.rows += some.length / stride;
      at += some.length;
      if (missingRows(level) === 0) await this.#empty(0);
    }
  }

  /** Writes a full row of tiles of a level and, halved, adds it to the next one. */
  async #empty(number: number): Promise<void> {
    const [level, next] = [this.#levels[number]!, this.#levels[number + 1]];
    await this.#writeTiles(level);
    if (next) addHalved(level, next, this.#format.channels);
    level.written += level.rows;
    level.rows = 0;
    if (next && next.rows > 0 && missingRows(next) === 0) await this.#empty(number + 1);
  }

  async #writeTiles(level: Level): Promise<void> {
    const across = Math.ceil(level.width / TILE);
    for (let first = 0; first < across; first += AT_ONCE) {
      const some = this.#tiles.slice(0, across - first).map((tile, k) => this.#encoded(level, first + k, tile));
      const tiles = await Promise.all(some);
      for (const [k, { length }] of tiles.entries()) {
        level.places.push(this.#end + tiles.slice(0, k).reduce((sum, tile) => sum + tile.length, 0));
        level.sizes.push(length);
      }
      await this.#append(tiles);
    }
  }

  async #append(parts: readonly Uint8Array[]): Promise<void> {
    const bytes = Buffer.concat(parts);
    // Node goes on where it stopped, and writes all of it.
    await this.#handle!.writeFile(bytes);
    this.#end += bytes.length;
  }

  /** @param tile takes its pixels. */
  async #encoded(level: Level, column: number, tile: Uint8Array): Promise<Uint8Array> {
    const { channels, compression } = this.#format;
    cutTile(level, column, channels, tile);
    if (compression === "deflate") return deflated(differences(tile, channels));
    const sharp = await loadSharp();
    return sharp(tile, { raw: { width: TILE, height: TILE, channels } })
      .toColourspace(channels === 1 ? "b-w" : "srgb")
      .jpeg({ quality: QUALITY, chromaSubsampling: "4:4:4", optimiseCoding: false })
      .toBuffer();
  }

  async #close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing.catch(() => {});
    await this.#close().catch(() => {});
    await rm(this.#partial, { force: true }).catch(() => {});
  }
}

const deflated = promisify<Uint8Array, Buffer>(deflate);

/** Cuts a tile of the row that is in memory; beyond the edges their last pixels go on, which costs JPEG the least. */
function cutTile({ band, width, rows }: Level, column: number, channels: 1 | 3, tile: Uint8Array): void {
  const [left, stride] = [column * TILE * channels, TILE * channels];
  const some = Math.min(stride, width * channels - left);
  for (let y = 0; y < TILE; y++) {
    const from = Math.min(y, rows - 1) * width * channels + left;
    const row = tile.subarray(y * stride, (y + 1) * stride);
    row.set(band.subarray(from, from + some));
    for (let at = some; at < stride; at++) row[at] = row[at - channels]!;
  }
}

/** Each pixel less the one on its left, in place: TIFF's second predictor. */
function differences(tile: Uint8Array, channels: 1 | 3): Uint8Array {
  const stride = TILE * channels;
  for (let row = 0; row < tile.length; row += stride)
    for (let at = row + stride - 1; at >= row + channels; at--) tile[at]! -= tile[at - channels]!;
  return tile;
}

/** Adds the rows of a level that are in memory to the next one at half their size, each pixel the mean of four. */
function addHalved({ band, width, height, rows }: Level, next: Level, channels: 1 | 3): void {
  const down = height === 1 ? 1 : rows >> 1;
  const [stride, right] = [width * channels, width > 1 ? channels : 0];
  const below = height > 1 ? stride : 0;
  let put = next.rows * next.width * channels;
  for (let y = 0; y < down; y++)
    for (let x = 0; x < next.width; x++)
      for (let c = 0; c < channels; c++) {
        const at = 2 * y * stride + 2 * x * channels + c;
        next.band[put++] = (band[at]! + band[at + right]! + band[at + below]! + band[at + below + right]! + 2) >> 2;
      }
  next.rows += down;
}
