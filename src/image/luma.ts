import type { PixelImage } from "./types.js";

/** ITU-R BT.601 luma of three values on any one scale, not rounded. */
export const luma = (r: number, g: number, b: number): number => 0.299 * r + 0.587 * g + 0.114 * b;

/**
 * The same of 8-bit levels, by the weights and the rounding of Pillow's `convert("L")`, bit-exact. The nearest level to
 * {@link luma} is another one for 9716 of the 2²⁴ colours: Pillow's weights have 16 bits.
 */
export const lumaLevel = (r: number, g: number, b: number): number => (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;

/** An image in grey. */
export function greyOf(image: PixelImage): PixelImage {
  if (image.channels === 1) return image;
  const { data, width, height } = image;
  const grey = new Uint8Array(width * height);
  for (let at = 0; at < grey.length; at++) grey[at] = lumaLevel(data[3 * at]!, data[3 * at + 1]!, data[3 * at + 2]!);
  return { data: grey, width, height, channels: 1 };
}

/** A grey image in three equal channels. */
export function inColour(image: PixelImage): PixelImage {
  if (image.channels === 3) return image;
  const { data, width, height } = image;
  const colour = new Uint8Array(3 * data.length);
  for (const [at, level] of data.entries()) colour.fill(level, 3 * at, 3 * at + 3);
  return { data: colour, width, height, channels: 3 };
}
