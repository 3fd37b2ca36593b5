import { type FileHandle, open, rename, rm, statfs, unlink } from "node:fs/promises";
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
/** Tiles that are encoded at a time: two for each thread that does it. */
const AT_ONCE = 8;
/** Rows of a level that are in memory: an even number, of which a tile has some times as many. */
const STRIP = 8;
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

/** A slide, or a smaller version of it, of which a strip is in memory and a row of tiles in the scratch file. */
interface Level {
  readonly width: number;
  readonly height: number;
  /** Tiles side by side. */
  readonly across: number;
  /** [across, STRIP, TILE, C]: tile by tile, as the scratch file has it, strip after strip from `scratch` on. */
  readonly strip: Uint8Array;
  readonly scratch: number;
  /** Rows that came, and those of them whose tiles were written. */
  rows: number;
  written: number;
  readonly places: number[];
  readonly sizes: number[];
}

/** Whether a level's last strip, or row of tiles, has all of its rows. */
const isFull = ({ rows, height }: Level, size: number): boolean => rows % size === 0 || rows === height;

/** Halves, odd rows and columns left out, until there is one tile: as libvips does it. */
function levelsOf({ width, height, channels }: SlideFormat): Level[] {
  const levels: Level[] = [];
  let scratch = 0;
  for (let [w, h] = [width, height]; ; [w, h] = [Math.max(1, w >> 1), Math.max(1, h >> 1)]) {
    const across = Math.ceil(w / TILE);
    const strip = new Uint8Array(across * STRIP * TILE * channels);
    levels.push({ width: w, height: h, across, strip, scratch, rows: 0, written: 0, places: [], sizes: [] });
    if (w <= TILE && h <= TILE) return levels;
    scratch += (TILE / STRIP) * strip.length;
  }
}

/**
 * Writes a slide by rows as a tiled, pyramidal BigTIFF, whole or not at all. sharp takes a picture whole, so only tiles are given to it, and the
 * file around them is written here: each row of tiles of each level when it is full. Until then it is in a scratch file beside the result,
 * which takes one row of tiles of each level. What becomes the result is renamed at the end, and goes with `dispose` where it did not come
 * to that.
 */
export class SlideWriter implements AsyncDisposable {
  readonly #target: string;
  readonly #partial: string;
  readonly #scratchFile: string;
  readonly #format: SlideFormat;
  readonly #levels: readonly Level[];
  /** Pixels of the tiles that are being encoded. */
  readonly #tiles: readonly Uint8Array[];
  #handle: FileHandle | undefined;
  #scratch: FileHandle | undefined;
  #end = 0;
  /** The last rows, on their way into the file. */
  #writing: Promise<void> = Promise.resolve();

  private constructor(target: string, format: SlideFormat) {
    this.#target = target;
    this.#partial = partialOf(target);
    this.#scratchFile = partialOf(target);
    this.#format = format;
    this.#levels = levelsOf(format);
    this.#tiles = Array.from({ length: AT_ONCE }, () => new Uint8Array(TILE * TILE * format.channels));
  }

  /** @throws StylizingError `OUTPUT` where the disk is too small, or the file cannot be written. */
  static async create(file: string, format: SlideFormat): Promise<SlideWriter> {
    let writer: SlideWriter | undefined;
    try {
      const target = await writableTarget(file);
      await checkRoom(path.dirname(target), format);
      writer = new SlideWriter(target, format);
      writer.#handle = await open(writer.#partial, "wx");
      writer.#scratch = await open(writer.#scratchFile, "wx+");
      // Where an open file can lose its name, nothing is left of it when the process is killed.
      await unlink(writer.#scratchFile).catch(() => {});
      await writer.#append(tiffHead());
      return writer;
    } catch (error) {
      await writer?.[Symbol.asyncDispose]();
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
      await this.#append(Buffer.alloc(start - this.#end));
      await this.#append(tiffDirectories(images, start));
      const handle = this.#handle!;
      await writeAt(handle, tiffHead(start), 0);
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
    const { channels } = this.#format;
    const stride = level.width * channels;
    for (let at = 0; at < rows.length; at += stride) {
      if (level.rows === level.height) throw new RangeError("rows behind the last");
      addRow(level, rows.subarray(at, at + stride), channels);
      if (isFull(level, STRIP)) await this.#putStrip(0);
      if (isFull(level, TILE)) await this.#writeFull();
    }
  }

  /** Puts a full strip of a level into the scratch file and, halved, into the next one. */
  async #putStrip(number: number): Promise<void> {
    const [level, next] = [this.#levels[number]!, this.#levels[number + 1]];
    const { channels } = this.#format;
    const count = ((level.rows - 1) % STRIP) + 1;
    extendRows(level, count, channels);
    const before = Math.floor(((level.rows - count) % TILE) / STRIP);
    await writeAt(this.#scratch!, level.strip, level.scratch + before * level.strip.length);
    if (next && addHalved(level, count, next, channels) > 0 && isFull(next, STRIP)) await this.#putStrip(number + 1);
  }

  /** Writes the rows of tiles that are full: the slide's, and then each level's where that of the one before was. */
  async #writeFull(): Promise<void> {
    for (const level of this.#levels) {
      if (level.rows === level.written || !isFull(level, TILE)) return;
      await this.#writeTiles(level);
      level.written = level.rows;
    }
  }

  async #writeTiles(level: Level): Promise<void> {
    for (let first = 0; first < level.across; first += AT_ONCE) {
      const tiles = this.#tiles.slice(0, level.across - first);
      await this.#readTiles(level, first, tiles);
      for (const tile of await Promise.all(tiles.map((tile) => this.#encoded(tile)))) {
        level.places.push(this.#end);
        level.sizes.push(tile.length);
        await this.#append(tile);
      }
    }
  }

  /** Reads tiles of the row that is full; below the last row it goes on, which costs JPEG the least. */
  async #readTiles({ rows, written, scratch, strip }: Level, first: number, tiles: readonly Uint8Array[]): Promise<void> {
    const stride = TILE * this.#format.channels;
    const [count, piece] = [rows - written, STRIP * stride];
    for (let at = 0; at * STRIP < count; at++) {
      const pieces = tiles.map((tile) => tile.subarray(at * piece, (at + 1) * piece));
      const { bytesRead } = await this.#scratch!.readv(pieces, scratch + at * strip.length + first * piece);
      if (bytesRead < pieces.length * piece) throw new Error(`of its scratch file only ${bytesRead} bytes were read`);
    }
    for (const tile of tiles)
      for (let y = count; y < TILE; y++) tile.copyWithin(y * stride, (count - 1) * stride, count * stride);
  }

  async #append(bytes: Uint8Array): Promise<void> {
    await writeAt(this.#handle!, bytes, this.#end);
    this.#end += bytes.length;
  }

  /** @param tile its pixels, which may be changed. */
  async #encoded(tile: Uint8Array): Promise<Uint8Array> {
    const { channels, compression } = this.#format;
    if (compression === "deflate") return deflated(differences(tile, channels));
    const sharp = await loadSharp();
    return sharp(tile, { raw: { width: TILE, height: TILE, channels } })
      .toColourspace(channels === 1 ? "b-w" : "srgb")
      .jpeg({ quality: QUALITY, chromaSubsampling: "4:4:4", optimiseCoding: false })
      .toBuffer();
  }

  async #close(): Promise<void> {
    const [handle, scratch] = [this.#handle, this.#scratch];
    [this.#handle, this.#scratch] = [undefined, undefined];
    await scratch?.close();
    await handle?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing.catch(() => {});
    await this.#close().catch(() => {});
    for (const file of [this.#partial, this.#scratchFile]) await rm(file, { force: true }).catch(() => {});
  }
}

const deflated = promisify<Uint8Array, Buffer>(deflate);

/** Writes all of it: a disk that becomes full takes a part at first. */
async function writeAt(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
}

/** Adds a row, [width, C], to a level's strip. */
function addRow(level: Level, row: Uint8Array, channels: 1 | 3): void {
  const stride = TILE * channels;
  const start = (level.rows++ % STRIP) * stride;
  for (let column = 0; column < level.across; column++)
    level.strip.set(row.subarray(column * stride, (column + 1) * stride), column * STRIP * stride + start);
}

/** Beyond the right edge of a strip's first `count` rows their last pixels go on. */
function extendRows({ strip, width, across }: Level, count: number, channels: 1 | 3): void {
  const stride = TILE * channels;
  const beyond = width * channels - (across - 1) * stride;
  const last = (across - 1) * STRIP * stride;
  for (let start = last; start < last + count * stride; start += stride)
    for (let at = start + beyond; at < start + stride; at++) strip[at] = strip[at - channels]!;
}

/** Each pixel less the one on its left, in place: TIFF's second predictor. */
function differences(tile: Uint8Array, channels: 1 | 3): Uint8Array {
  const stride = TILE * channels;
  for (let row = 0; row < tile.length; row += stride)
    for (let at = row + stride - 1; at >= row + channels; at--) tile[at]! -= tile[at - channels]!;
  return tile;
}

/** Adds the first `count` rows of a level's strip to the next level at half their size, each pixel the mean of four. @returns the rows added. */
function addHalved({ strip, height, across }: Level, count: number, next: Level, channels: 1 | 3): number {
  const [stride, half] = [TILE * channels, (TILE / 2) * channels];
  const down = height === 1 ? 1 : count >> 1;
  const below = height === 1 ? 0 : stride;
  for (let column = 0; column < across; column++) {
    const most = Math.min(half, next.width * channels - column * half);
    for (let y = 0; y < down; y++) {
      let put = ((column >> 1) * STRIP + (next.rows % STRIP) + y) * stride + (column % 2) * half;
      // A slide one pixel wide goes on beyond its edge.
      for (let at = (column * STRIP + 2 * y) * stride, end = put + most; put < end; at += channels)
        for (let c = 0; c < channels; c++, at++)
          next.strip[put++] = (strip[at]! + strip[at + channels]! + strip[at + below]! + strip[at + below + channels]! + 2) >> 2;
    }
  }
  next.rows += down;
  return down;
}
