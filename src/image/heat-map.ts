import { luma } from "./luma.js";
import { checkPixelImage, type PixelImage } from "./types.js";

/** From black over purple and orange to pale yellow: lightness grows evenly, so that it can be read without colours too. */
const RAMP = [
  [0, 0, 4],
  [66, 10, 104],
  [147, 38, 103],
  [221, 81, 58],
  [252, 165, 10],
  [252, 255, 164],
] as const;

/** Share of the colours where a value is 0, and how much more where it is the largest. */
const LEAST = 0.35;
const MORE = 0.5;

/** The ramp's colour at `value`, 0 to 1. */
function colourOf(value: number): [number, number, number] {
  const at = Math.min(Math.max(value, 0), 1) * (RAMP.length - 1);
  const below = Math.min(Math.floor(at), RAMP.length - 2);
  const mix = (channel: 0 | 1 | 2) => RAMP[below]![channel] + (at - below) * (RAMP[below + 1]![channel] - RAMP[below]![channel]);
  return [mix(0), mix(1), mix(2)];
}

/**
 * Values over an image as colours, each value over a rectangle of its own, nothing between them blended; below them the image shows
 * in grey. The largest value is the brightest.
 * @param values [rows, columns], from 0 on; sides of the image are multiples of both
 * @returns an image of the same size with 3 channels
 */
export function heatMap(image: PixelImage, values: ArrayLike<number>, rows: number, columns: number): PixelImage {
  checkPixelImage(image);
  const { data, width, height, channels } = image;
  let most = 0;
  for (let i = 0; i < rows * columns; i++) most = Math.max(most, values[i]!);
  const out = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const row = Math.floor((y * rows) / height) * columns;
    for (let x = 0; x < width; x++) {
      const value = most > 0 ? values[row + Math.floor((x * columns) / width)]! / most : 0;
      const share = LEAST + MORE * value;
      const from = (y * width + x) * channels;
      const grey = channels === 1 ? data[from]! : luma(data[from]!, data[from + 1]!, data[from + 2]!);
      const to = (y * width + x) * 3;
      for (const [c, colour] of colourOf(value).entries()) out[to + c] = Math.round((1 - share) * grey + share * colour);
    }
  }
  return { data: out, width, height, channels: 3 };
}

/** An image with every pixel `factor` times as wide and high. */
export function enlarged({ data, width, height, channels }: PixelImage, factor: number): PixelImage {
  const out = new Uint8Array(data.length * factor * factor);
  const wide = width * factor;
  for (let y = 0; y < height * factor; y++)
    for (let x = 0; x < wide; x++) {
      const from = (Math.floor(y / factor) * width + Math.floor(x / factor)) * channels;
      for (let c = 0; c < channels; c++) out[(y * wide + x) * channels + c] = data[from + c]!;
    }
  return { data: out, width: wide, height: height * factor, channels };
}
