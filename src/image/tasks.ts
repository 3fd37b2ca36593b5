import { type DecodedImage, type DecodeOptions, decodeImage } from "./decode.js";
import { encodeImage, type OutputFormat, saveImage } from "./encode.js";
import { cut, type Fit, type FittedImage, fitSquare, unfit } from "./preprocess.js";
import { type PixelImage, wholeOf } from "./types.js";

/** What a worker is asked to do; everything in it survives being sent to another thread. */
export type ImageTask = LoadTask | SaveTask | DecodeTask | EncodeTask;

/** What a worker gives back: images, the milliseconds that saving took, or a file's bytes. */
export type ImageResult = LoadedImage | DecodedImage | number | Uint8Array;

/** All of an image, at its own size. */
export interface DecodeTask extends Pick<DecodeOptions, "name" | "channels" | "page" | "white"> {
  kind: "decode";
  input: string | Uint8Array;
}

/** The bytes of an image file. */
export interface EncodeTask {
  kind: "encode";
  image: PixelImage;
  format: OutputFormat;
}

export interface LoadTask extends Pick<DecodeOptions, "page" | "white"> {
  kind: "load";
  file: string;
  /** Side of the square, the model's image size. */
  size: number;
  channels: 1 | 3;
  /**
   * Instead of fitting the image: a square of it at its own resolution, at these fractions of the way from left to right
   * and from top to bottom; or "original", all of it. An image with a side shorter than the square's is fitted nevertheless.
   */
  crop?: { x: number; y: number } | "original" | undefined;
  /** How an image that is no square becomes one; padded where nothing is said. */
  fit?: Fit | undefined;
  /** Whether the image comes at its own size too. */
  original?: boolean | undefined;
}

/** Where a square lies that is cut from an image at fractions, in [0, 1), of the way from left to right and from top to bottom. */
export function cropPlacement(image: Pick<PixelImage, "width" | "height">, size: number, { x, y }: { x: number; y: number }) {
  const [left, top] = [Math.floor(x * (image.width - size + 1)), Math.floor(y * (image.height - size + 1))];
  return { left, top, width: size, height: size };
}

export interface SaveTask {
  kind: "save";
  file: string;
  image: PixelImage;
  format: OutputFormat;
  /** The content whose own size the result gets back; without it the result keeps its own. */
  fit?: Pick<FittedImage, "placement" | "source"> | undefined;
}

/** A file's image as the model takes it, what its reader may want to know of the file, and how long reading, decoding and scaling it took, in milliseconds. */
export interface LoadedImage extends FittedImage, Pick<DecodedImage, "pages" | "largest"> {
  readonly milliseconds: number;
  /** At its own size, where that was asked for. */
  readonly original?: PixelImage;
}

/**
 * Reads an image, as {@link fitSquare} gives it or, where a crop is asked for, with a placement that fills it.
 * Throws as `loadSquare` does.
 */
export async function load({ file, size, channels, crop, fit, original = false, page, white }: LoadTask): Promise<LoadedImage> {
  const start = performance.now();
  const decoded = await decodeImage(file, { channels, page, white });
  const { width, height, pages, largest } = decoded;
  let image: FittedImage;
  if (crop === undefined || width < size || height < size) image = await fitSquare(decoded, size, { fit });
  else {
    const placement = crop === "original" ? wholeOf(decoded) : cropPlacement(decoded, size, crop);
    const part = crop === "original" ? { data: decoded.data, width, height, channels } : cut(decoded, placement);
    image = { ...part, placement: wholeOf(part), source: placement, originalWidth: width, originalHeight: height };
  }
  const own = original ? { original: { data: decoded.data, width, height, channels } } : {};
  const about = { pages, ...(largest === undefined ? {} : { largest }) };
  return { ...image, ...own, ...about, milliseconds: performance.now() - start };
}

const ownPixels = (image: PixelImage): PixelImage =>
  // sharp is not known to take memory that other threads may write to.
  image.data.buffer instanceof SharedArrayBuffer ? { ...image, data: new Uint8Array(image.data) } : image;

/** Does a task. Throws as what it calls. */
export function perform(task: ImageTask): Promise<ImageResult> {
  if (task.kind === "load") return load(task);
  if (task.kind === "save") return save(task);
  if (task.kind === "encode") return encodeImage(ownPixels(task.image), task);
  return decodeImage(task.input, task);
}

/** Writes a result, whole or not at all, and says how long that took, in milliseconds. Throws as {@link saveImage} does. */
export async function save({ file, image, format, fit }: SaveTask): Promise<number> {
  const start = performance.now();
  const own = ownPixels(image);
  const sized = fit ? await unfit(own, fit.placement, fit.source.width, fit.source.height) : own;
  await saveImage(file, sized, { format });
  return performance.now() - start;
}
