import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import type { Metadata } from "sharp";
import { messageOf, StylizingError } from "../errors.js";
import { lumaLevel } from "./luma.js";
import { loadSharp } from "./sharp.js";
import { pagesAmong, type TiffImage, tiffImages } from "./tiff.js";
import type { PixelImage, Placement } from "./types.js";

/** 64 megapixels: 8 000 × 8 000, far above any tile and far below a whole slide. */
export const DEFAULT_MAX_PIXELS = 64e6;

export interface DecodeOptions {
  /** 3 gives sRGB, 1 gives grey (ITU-R 601 luma, as Pillow's `convert("L")`), "own" grey of what is grey and sRGB of the rest. */
  channels: 1 | 3 | "own";
  /** More pixels than this are refused before anything is decoded. Default {@link DEFAULT_MAX_PIXELS}. */
  maxPixels?: number | undefined;
  /** Checked between the steps; what sharp has begun it finishes. */
  signal?: AbortSignal | undefined;
  /** Which of several pages or frames, counted from 1; default the first. A file of one page gives that one, whatever is asked for. */
  page?: number | undefined;
  /**
   * The value of a 16-bit file that is white, where it uses fewer bits: a whole number up to 65535, or "auto", the least 2^n − 1
   * from 255 on that no value exceeds. Default 65535. An embedded colour profile is not applied where this is given.
   */
  white?: number | "auto" | undefined;
  /** What messages call the image; by default its file name, or "the image" for bytes. */
  name?: string | undefined;
}

export interface DecodedImage extends PixelImage {
  /** What the file was: "png", "jpeg", "webp", "tiff", "gif", "heif" (AVIF), "svg". */
  readonly format: string;
  /** Pages or frames in the file, of which one was decoded; reduced versions and a slide's label do not count. */
  readonly pages: number;
  /** The largest value of a 16-bit file's colours. */
  readonly largest?: number;
}

/** The largest value of 16 bits. */
export const MOST_LEVELS = 65535;

/**
 * Reads an image file, or the bytes of one, into 8-bit sRGB or grey.
 *
 * Everything sharp was built with is read: PNG, JPEG, WebP, TIFF, GIF, AVIF, SVG. EXIF orientation is applied, ICC
 * profiles and CMYK are converted to sRGB, transparency is laid over white (as on a light table; a fourth sample of a TIFF that is not
 * declared to be alpha is none), 16 bits become 8 by round(x / 257), and of an animation or a stack of pages the first is
 * taken, unless `page` says another.
 *
 * Throws `IMAGE`, naming the file, for one that is missing, not a file, empty, damaged or cut short, too large, or of
 * a kind that has no defined white (floating point, signed, 32-bit), or has no such page; `ARGUMENT` for an input that is
 * neither a path nor bytes, and for an impossible page or white; the signal's reason when it is aborted.
 */
export async function decodeImage(input: string | Uint8Array, options: DecodeOptions): Promise<DecodedImage> {
  const { maxPixels = DEFAULT_MAX_PIXELS, signal, white } = options;
  signal?.throwIfAborted();
  checkPage(options.page);
  checkWhite(white);
  const { bytes, name, sharp } = await openImage(input, maxPixels, options);
  const images = tiffImages(bytes);
  const found = await findPage(sharp, bytes, images, options.page ?? 1, name);
  const { header, pages, index } = found;
  checkSize(name, header, maxPixels);
  signal?.throwIfAborted();
  const channels = options.channels === "own" ? (header.channels < 3 ? 1 : 3) : options.channels;
  const read = { sharp, header, image: images?.[index], index, name, channels, maxPixels, white } as const;
  const { largest, ...image } = await readPixels(bytes, read);
  signal?.throwIfAborted();
  return { ...image, format: header.format, pages, ...(largest === undefined ? {} : { largest }) };
}

/** What is read of an image, and what is known of it. */
export interface PixelRead extends Pick<DecodeOptions, "white"> {
  channels: 1 | 3;
  sharp: Awaited<ReturnType<typeof loadSharp>>;
  header: Metadata;
  /** What a TIFF says of it. */
  image: TiffImage | undefined;
  /** The page's number in libvips. */
  index: number;
  /** What messages call it. */
  name: string;
  maxPixels: number | false;
  /** A part of it, as it is stored; without it all, upright. */
  region?: Placement;
}

/** Pixels of an image, or of a part of one, in 8 bits, as {@link decodeImage} says. @throws StylizingError `IMAGE` */
export async function readPixels(
  input: Uint8Array | string,
  { sharp, header, image, index, name, channels, maxPixels, white, region }: PixelRead,
): Promise<PixelImage & { largest: number | undefined }> {
  checkDepth(name, header);
  const wide = header.depth === "ushort";
  const { extra = 0, extraKind } = image ?? {};
  // "warning" is the strictest level: a file cut short must not become an image with a grey lower half. A TIFF that does not say
  // what its fourth sample is is one that libtiff warns of.
  const failOn = extra > 0 && extraKind === undefined ? "error" : "warning";
  const onPage = index > 0 ? { page: index } : {};
  let pipeline = sharp(input, { failOn, limitInputPixels: maxPixels, autoOrient: region === undefined, ...onPage });
  if (region) pipeline = pipeline.extract(region);
  // sharp converts embedded profiles of 8-bit images by itself, and of 16-bit images only when told to.
  if (wide && header.hasProfile && white === undefined) pipeline = pipeline.withIccProfile("srgb", { attach: false });
  let raw: { data: Buffer; info: { width: number; height: number; channels: number } };
  try {
    raw = await pipeline
      .toColourspace(wide ? "rgb16" : "srgb")
      .raw({ depth: wide ? "ushort" : "uchar" })
      .toBuffer({ resolveWithObject: true });
  } catch (error) {
    throw unreadable(name, error);
  }
  const { width, height } = raw.info;
  const { buffer, byteOffset, byteLength } = raw.data;
  const samples = wide ? new Uint16Array(buffer, byteOffset, byteLength / 2) : new Uint8Array(buffer, byteOffset, byteLength);
  const opaque = extra > 0 && !extraKind;
  const largest = wide ? largestOf(samples, raw.info.channels) : undefined;
  const top = !wide ? 255 : white === "auto" ? whiteAbove(largest!) : (white ?? MOST_LEVELS);
  return { data: toBytes(samples, raw.info.channels, channels, top, opaque), width, height, channels, largest };
}

/** Pages or frames of an image file. @throws StylizingError `IMAGE` as {@link decodeImage} does */
export async function countPages(file: string): Promise<number> {
  const { bytes, name, sharp } = await openImage(file, DEFAULT_MAX_PIXELS, {});
  return (await findPage(sharp, bytes, tiffImages(bytes), 1, name)).pages;
}

async function openImage(
  input: string | Uint8Array,
  maxPixels: number,
  options: Pick<DecodeOptions, "name" | "signal">,
): Promise<{ bytes: Uint8Array; name: string; sharp: Awaited<ReturnType<typeof loadSharp>> }> {
  if (typeof input !== "string" && !(input instanceof Uint8Array)) {
    throw new StylizingError("ARGUMENT", "An image to decode was neither a path nor bytes.", "Give a file path or a Uint8Array.");
  }
  if (!Number.isSafeInteger(maxPixels) || maxPixels < 1) {
    throw new StylizingError("ARGUMENT", `maxPixels is ${maxPixels}.`, "Give a whole number of pixels above 0.");
  }
  const name = options.name ?? (typeof input === "string" ? shortened(input) : "the image");
  // The bytes are read here and not by sharp: libvips remembers files by name and may answer with an older content.
  const bytes = typeof input === "string" ? await readBytes(input, name, maxPixels, options.signal) : input;
  if (bytes.length === 0) {
    throw new StylizingError(
      "IMAGE",
      `${name} is empty (0 bytes).`,
      "Export or copy it again; the writing was probably interrupted.",
    );
  }
  return { bytes, name, sharp: await loadSharp() };
}

/** The header of a page, how many there are, and by which number libvips knows it. */
async function findPage(
  sharp: Awaited<ReturnType<typeof loadSharp>>,
  bytes: Uint8Array,
  images: readonly TiffImage[] | undefined,
  wanted: number,
  name: string,
): Promise<{ header: Metadata; pages: number; index: number }> {
  const own = images && pagesAmong(images);
  try {
    const header = await sharp(bytes, { limitInputPixels: false }).metadata();
    const pages = own?.length ?? header.pages ?? 1;
    const page = choosePage(name, pages, wanted);
    const index = own?.[page - 1] ?? page - 1;
    if (index === 0) return { header, pages, index };
    return { header: await sharp(bytes, { limitInputPixels: false, page: index }).metadata(), pages, index };
  } catch (error) {
    throw error instanceof StylizingError ? error : unreadable(name, error);
  }
}

/** The page that is meant, counted from 1: of a file of one page that one. @throws StylizingError `IMAGE` where there is no such page */
export function choosePage(name: string, pages: number, wanted: number): number {
  const page = pages === 1 ? 1 : wanted;
  if (page <= pages) return page;
  throw new StylizingError("IMAGE", `${name} has ${pages} pages, and page ${page} was asked for.`, `Use 1 to ${pages}.`);
}

function checkPage(page: number | undefined): void {
  if (page === undefined || (Number.isSafeInteger(page) && page >= 1)) return;
  throw new StylizingError("ARGUMENT", `The page is ${page}.`, "Give a whole number from 1 on.");
}

function checkWhite(white: number | "auto" | undefined): void {
  if (white === undefined || white === "auto" || (Number.isSafeInteger(white) && white >= 1 && white <= MOST_LEVELS)) return;
  throw new StylizingError(
    "ARGUMENT",
    `The value that is white is ${white}.`,
    `Give a whole number from 1 to ${MOST_LEVELS}, or "auto".`,
  );
}

/** The least 2^n − 1 that no value exceeds; fewer than eight bits no file of sixteen is meant to have. */
const whiteAbove = (largest: number): number => Math.max(255, 2 ** Math.ceil(Math.log2(largest + 1)) - 1);

/** The largest value of the colours of pixels. */
function largestOf(samples: Uint8Array | Uint16Array, channels: number): number {
  const colours = channels < 3 ? 1 : 3;
  let largest = 0;
  for (let at = 0; at < samples.length; at += channels)
    for (let c = 0; c < colours; c++) if (samples[at + c]! > largest) largest = samples[at + c]!;
  return largest;
}

/**
 * Pixels of 1 to 4 channels, 8 or 16 bits, to 8-bit grey or RGB; alpha over white, unless all is `opaque`. No copy where nothing
 * changes.
 */
function toBytes(samples: Uint8Array | Uint16Array, from: number, to: 1 | 3, white: number, opaque: boolean): Uint8Array {
  if (samples instanceof Uint8Array && from === to) return samples;
  const solid = samples instanceof Uint16Array ? MOST_LEVELS : 255;
  const alpha = !opaque && (from === 2 || from === 4) ? from - 1 : undefined;
  const grey = from < 3;
  const count = samples.length / from;
  const out = new Uint8Array(count * to);
  for (let i = 0, at = 0, put = 0; i < count; i++, at += from) {
    const opacity = alpha === undefined ? 1 : samples[at + alpha]! / solid;
    const level = (c: number): number => (((Math.min(samples[at + c]!, white) * opacity) / white + 1 - opacity) * 255 + 0.5) | 0;
    const r = level(0);
    const g = grey ? r : level(1);
    const b = grey ? r : level(2);
    if (to === 3) {
      out[put++] = r;
      out[put++] = g;
      out[put++] = b;
    } else {
      out[put++] = lumaLevel(r, g, b);
    }
  }
  return out;
}

async function readBytes(file: string, name: string, maxPixels: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const scheme = /^(data):|^([a-z][a-z0-9+.-]+):\/\//i.exec(file);
  if (scheme) {
    const fix = /^file$/i.test(scheme[2] ?? "")
      ? "Give the path itself; fileURLToPath() of node:url makes one."
      : scheme[1]
        ? "Decode its base64 part and pass the bytes as a Uint8Array."
        : "Download it first and give the file's path, or pass the bytes as a Uint8Array.";
    throw new StylizingError("IMAGE", `${name} is a URL, and images are read from files or bytes only.`, fix);
  }
  try {
    const about = await stat(file); // before opening it: opening a pipe waits for its writer
    if (about.isDirectory()) {
      throw new StylizingError("IMAGE", `${name} is a folder, not an image.`, "Give the image files in it.");
    }
    if (!about.isFile()) {
      throw new StylizingError("IMAGE", `${name} is a device or a pipe, not a file.`, "Give a regular file, or pass the bytes.");
    }
    // No file within the pixel limit needs more than four 16-bit channels a pixel; this spares reading a whole slide.
    const most = maxPixels * 8 + 2 ** 24;
    if (about.size > most) {
      throw new StylizingError(
        "IMAGE",
        `${name} has ${megabytes(about.size)} MB; an image of ${megapixels(maxPixels)} megapixels, the limit, has at most ${megabytes(most)}.`,
        "`stylize` takes a tiled TIFF of any size that is named itself as content; other images have to be cut into tiles first.",
      );
    }
    return await readFile(file, { signal });
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof StylizingError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") {
      const fix = `Check the path; it was looked for as ${path.resolve(file)}.`;
      throw new StylizingError("IMAGE", `${name} does not exist.`, fix, { cause: error });
    }
    if (code === "EACCES" || code === "EPERM") {
      throw new StylizingError("IMAGE", `${name} may not be read.`, "Change its permissions or copy it.", { cause: error });
    }
    throw new StylizingError("IMAGE", `${name} could not be read: ${messageOf(error)}.`, "Check the path and the disk.", {
      cause: error,
    });
  }
}

function checkSize(name: string, { width, height }: Metadata, maxPixels: number): void {
  if (width * height <= maxPixels) return;
  throw new StylizingError(
    "IMAGE",
    `${name} is ${width} × ${height} = ${megapixels(width * height)} megapixels; the limit is ${megapixels(maxPixels)}.`,
    "Cut out the region of interest or scale it down; `stylize` takes a tiled TIFF of any size that is named itself as content.",
  );
}

function checkDepth(name: string, { depth }: Metadata): void {
  if (depth === "uchar" || depth === "ushort") return;
  throw new StylizingError(
    "IMAGE",
    `${name} has pixels of type ${depth}, and which value means white is not recorded in such a file.`,
    "Save it with 8 or 16 unsigned bits a channel, scaled as it should be seen.",
  );
}

/** What libvips says of a file that it cannot read, as an error of ours. */
export function unreadable(name: string, error: unknown): StylizingError {
  const message = messageOf(error)
    .trim()
    .replace(/\s*\n\s*/g, "; ")
    .slice(0, 300);
  if (/unsupported image format/i.test(message)) {
    const fix = "Give a PNG, JPEG, WebP, TIFF, GIF or AVIF file; what counts is the content, not the ending of the name.";
    return new StylizingError(
      "IMAGE",
      `${name} is not an image in a format that is known here, or its first bytes are damaged.`,
      fix,
      {
        cause: error,
      },
    );
  }
  const fix = "It is probably cut short or damaged: copy or export it again.";
  return new StylizingError("IMAGE", `${name} could not be decoded (${message}).`, fix, { cause: error });
}

const shortened = (text: string): string => (text.length > 200 ? `${text.slice(0, 80)}…` : text);
const megapixels = (pixels: number): string =>
  (pixels / 1e6).toLocaleString("en", { maximumFractionDigits: 1, useGrouping: false });
const megabytes = (bytes: number): string => Math.ceil(bytes / 1e6).toString();
