import { type FileHandle, open, rename, rm, stat, statfs, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { messageOf, StylizingError } from "../errors.js";
import { outputError, partialOf, writableTarget } from "./atomic-write.js";
import { loadSharp } from "./sharp.js";
import { type StripImage, tiffHead, tiffTail } from "./strip-tiff.js";
import type { Resolution } from "./tiff.js";

export type SlideCompression = "jpeg" | "deflate";
export const COMPRESSIONS: readonly SlideCompression[] = ["jpeg", "deflate"];

export interface SlideFormat extends StripImage {
  compression: SlideCompression;
  resolution?: Resolution | undefined;
}

/** From 90 on libvips keeps colours at their full resolution. */
const QUALITY = 90;
const TILE = 256;
/** Bytes of a result for each of its pixels' bytes, its levels among them: JPEG takes a tenth to a quarter, deflate may gain nothing. */
const SHARE: Readonly<Record<SlideCompression, number>> = { jpeg: 0.5, deflate: 1.4 };
/** Of a result that are levels; libvips keeps them among the temporary files until the end. */
const LEVELS = 0.25;

/**
 * Holds the disk to what is written while a slide is: all its pixels, the result, and its levels among the temporary files.
 * @param folder where the result goes; it exists.
 * @throws StylizingError `OUTPUT` with the numbers.
 */
export async function checkRoom(folder: string, { width, height, channels, compression }: SlideFormat): Promise<void> {
  const pixels = width * height * channels;
  const result = pixels * SHARE[compression];
  const temporary = tmpdir();
  const [own, other] = await Promise.all([folder, temporary].map((place) => stat(place).catch(() => undefined)));
  const levels = result * LEVELS;
  const isOne = own !== undefined && own.dev === other?.dev;
  await check(folder, pixels + result + (isOne ? levels : 0), "Free some space, or give a folder on another disk with --out.");
  if (!isOne && other) await check(temporary, levels, "Free some space, or name a folder on another disk in TMPDIR.");
}

async function check(folder: string, needed: number, fix: string): Promise<void> {
  const about = await statfs(folder).catch(() => undefined);
  // A file system that does not say is not refused: a full disk is noticed later.
  if (!about || about.blocks === 0) return;
  const free = about.bavail * about.bsize;
  if (free >= needed) return;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(bytes < 1e11 ? 1 : 0)} GB`;
  const problem = `A slide of this size takes ${gigabytes(needed)} in ${folder} while it is written, and ${gigabytes(free)} are free there.`;
  throw new StylizingError("OUTPUT", problem, fix);
}

/**
 * Writes a slide as a tiled, pyramidal TIFF, whole or not at all. sharp takes no rows, so these go into an uncompressed file beside the
 * result, from which libvips makes a second one, which is renamed. Both go with `dispose`, whatever happened.
 */
export class SlideWriter implements AsyncDisposable {
  readonly #target: string;
  readonly #format: SlideFormat;
  readonly #rows: string;
  readonly #result: string;
  #handle: FileHandle | undefined;
  /** The last rows, on their way to the disk. */
  #writing: Promise<void> = Promise.resolve();

  private constructor(target: string, format: SlideFormat) {
    this.#target = target;
    this.#format = format;
    [this.#rows, this.#result] = [partialOf(target), partialOf(target)];
  }

  /** @throws StylizingError `OUTPUT` where the disk is too small, or the file cannot be written. */
  static async create(file: string, format: SlideFormat): Promise<SlideWriter> {
    try {
      const target = await writableTarget(file);
      await checkRoom(path.dirname(target), format);
      const writer = new SlideWriter(target, format);
      writer.#handle = await open(writer.#rows, "wx");
      await writer.write(tiffHead(format));
      return writer;
    } catch (error) {
      throw outputError(file, error);
    }
  }

  /**
   * The next rows, [rows, width, C]; they must not change any more. They are written while the next ones are made.
   * @throws StylizingError `OUTPUT`, of these or of the rows before.
   */
  async write(rows: Uint8Array): Promise<void> {
    await this.#written();
    // Node goes on where it stopped, and writes all of it.
    this.#writing = this.#handle!.writeFile(rows);
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
   * Makes the pyramid, and puts it in its place.
   * @throws StylizingError `OUTPUT`; the signal's reason when aborted, and the place is then as it was.
   */
  async finish(signal?: AbortSignal): Promise<void> {
    await this.write(tiffTail(this.#format));
    await this.#written();
    await this.#close();
    signal?.throwIfAborted();
    // sharp cannot be stopped; it stops by itself where its input ends.
    const stop = () => void truncate(this.#rows, 0).catch(() => {});
    signal?.addEventListener("abort", stop, { once: true });
    try {
      await this.#encode();
      signal?.throwIfAborted();
      const result = await open(this.#result, "r+");
      await result.sync().finally(() => result.close());
      await rename(this.#result, this.#target);
    } catch (error) {
      signal?.throwIfAborted();
      throw outputError(this.#target, error);
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  async #encode(): Promise<void> {
    const { width, height, channels, compression, resolution } = this.#format;
    const sharp = await loadSharp();
    sharp.cache(false);
    try {
      await sharp(this.#rows, { limitInputPixels: false, sequentialRead: true, failOn: "warning" })
        .toColourspace(channels === 1 ? "b-w" : "srgb")
        .tiff({
          ...{ compression, quality: QUALITY, predictor: compression === "deflate" ? "horizontal" : "none" },
          ...{ tile: true, tileWidth: TILE, tileHeight: TILE, pyramid: true },
          // Offsets of 32 bits end at 4 GB.
          bigtiff: width * height * channels * SHARE.deflate > 2 ** 32,
          // sharp takes pixels a millimetre, whatever the unit is that is written.
          ...(resolution ? { xres: resolution.x, yres: resolution.y, resolutionUnit: resolution.unit } : {}),
        })
        .toFile(this.#result);
    } catch (error) {
      const full = /no space left|disk quota|write error/i.test(messageOf(error));
      throw full ? Object.assign(new Error(messageOf(error)), { code: "ENOSPC" }) : error;
    }
  }

  async #close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing.catch(() => {});
    await this.#close().catch(() => {});
    for (const file of [this.#rows, this.#result]) await rm(file, { force: true }).catch(() => {});
  }
}
