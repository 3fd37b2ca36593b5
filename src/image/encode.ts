import { messageOf, StylizingError } from "../errors.js";
import { writeFileAtomic } from "./atomic-write.js";
import { loadSharp } from "./sharp.js";
import { checkPixelImage, type PixelImage } from "./types.js";

export type OutputFormat = "png" | "jpeg" | "webp";

export interface EncodeOptions {
  format: OutputFormat;
  /** 1 to 100 for JPEG and WebP, default 95; PNG is lossless and has none. */
  quality?: number | undefined;
}

/** The longest side each format can hold. */
const LONGEST: Record<OutputFormat, number> = { png: 2 ** 31 - 1, jpeg: 65535, webp: 16383 };

/**
 * An image as the bytes of a PNG, JPEG (4:4:4: stains are colour, and halving its resolution would blur them) or WebP.
 * Throws `ARGUMENT` for an unknown format, a quality out of range or an image whose data does not fit its size, and
 * `OUTPUT` for a size the format cannot hold.
 */
export async function encodeImage(image: PixelImage, options: EncodeOptions): Promise<Uint8Array> {
  const { format, quality = 95 } = options;
  const { data, width, height, channels } = image;
  checkPixelImage(image);
  if (!Object.hasOwn(LONGEST, format)) {
    throw new StylizingError(
      "ARGUMENT",
      `Images are not written as ${JSON.stringify(format)}.`,
      'Choose "png", "jpeg" or "webp".',
    );
  }
  if (!Number.isInteger(quality) || quality < 1 || quality > 100) {
    throw new StylizingError("ARGUMENT", `The quality is ${quality}.`, "Give a whole number from 1 to 100.");
  }
  if (Math.max(width, height) > LONGEST[format]) {
    const problem = `An image of ${width} × ${height} is too large for ${format}, whose sides end at ${LONGEST[format]}.`;
    throw new StylizingError("OUTPUT", problem, "Write it as PNG.");
  }
  const sharp = await loadSharp();
  const pipeline = sharp(data, { raw: { width, height, channels }, limitInputPixels: false });
  const space = pipeline.toColourspace(channels === 1 ? "b-w" : "srgb");
  try {
    // sharp reads a quality for PNG as a wish for a palette, so PNG is given none.
    if (format === "png") return await space.png().toBuffer();
    if (format === "jpeg") return await space.jpeg({ quality, chromaSubsampling: "4:4:4" }).toBuffer();
    return await space.webp({ quality, smartSubsample: true }).toBuffer();
  } catch (error) {
    throw new StylizingError("OUTPUT", `The image could not be encoded as ${format}: ${messageOf(error)}.`, "Try PNG.", {
      cause: error,
    });
  }
}

/**
 * {@link encodeImage} into a file, whole or not at all (see {@link writeFileAtomic}). The folder must exist; the name is
 * taken as given, whatever its ending. Throws as those two do.
 */
export async function saveImage(file: string, image: PixelImage, options: EncodeOptions): Promise<void> {
  await writeFileAtomic(file, await encodeImage(image, options));
}
