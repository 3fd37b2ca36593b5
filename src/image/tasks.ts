import { type OutputFormat, saveImage } from "./encode.js";
import { type FittedImage, loadSquare, unfit } from "./preprocess.js";
import type { PixelImage } from "./types.js";

/** What a worker is asked to do; everything in it survives being sent to another thread. */
export type ImageTask = LoadTask | SaveTask;

export interface LoadTask {
  kind: "load";
  file: string;
  /** Side of the square, the model's image size. */
  size: number;
  channels: 1 | 3;
}

export interface SaveTask {
  kind: "save";
  file: string;
  image: PixelImage;
  format: OutputFormat;
  /** The content whose own size the result gets back; without it the result keeps the model's. */
  fit?: Pick<FittedImage, "placement" | "originalWidth" | "originalHeight"> | undefined;
}

/** A file's picture as the model takes it, and how long reading, decoding and scaling it took, in milliseconds. */
export interface LoadedImage extends FittedImage {
  readonly milliseconds: number;
}

/** Reads a picture. Throws as {@link loadSquare} does. */
export async function load({ file, size, channels }: LoadTask): Promise<LoadedImage> {
  const start = performance.now();
  const image = await loadSquare(file, size, channels);
  return { ...image, milliseconds: performance.now() - start };
}

/** Writes a result, whole or not at all, and says how long that took, in milliseconds. Throws as {@link saveImage} does. */
export async function save({ file, image, format, fit }: SaveTask): Promise<number> {
  const start = performance.now();
  // sharp is not known to take memory that other threads may write to.
  const own = image.data.buffer instanceof SharedArrayBuffer ? { ...image, data: new Uint8Array(image.data) } : image;
  const { placement, originalWidth, originalHeight } = fit ?? {};
  await saveImage(file, placement ? await unfit(own, placement, originalWidth!, originalHeight!) : own, { format });
  return performance.now() - start;
}
