import type { Mapping } from "../../src/detail/tiles.js";
import type { PixelImage } from "../../src/image/types.js";
import { coefficients, tissueWeight } from "../ops/guided.oracle.js";

/** An image of soft colours, others for every seed; alike at any size. */
export function smooth(width: number, height: number, seed: number, channels: 1 | 3 = 3): PixelImage {
  const data = Uint8Array.from({ length: width * height * channels }, (_, at) => {
    const [pixel, c] = [Math.floor(at / channels), at % channels];
    const [x, y] = [((pixel % width) + 0.5) / width, (Math.floor(pixel / width) + 0.5) / height];
    const wave = Math.sin(x * (7 + 3 * seed) + c) + Math.cos(y * (9 - 2 * seed) - c * seed) + Math.sin(41 * x * y + seed);
    return Math.round(130 + 38 * wave);
  });
  return { data, width, height, channels };
}

/**
 * Guided detail of a whole image in float64, in levels and not rounded.
 * @param painted bytes, or values in [0, 1].
 */
export function restoredByOracle(
  full: PixelImage,
  { source, low }: Mapping,
  content: PixelImage,
  painted: PixelImage | { data: Float32Array },
  radius: number,
  epsilon: number,
  background?: readonly number[],
): Float64Array {
  const { channels } = full;
  const spread = (data: ArrayLike<number>, scale: number) =>
    Float64Array.from({ length: content.width * content.height * 3 }, (_, at) => {
      const [pixel, c] = [Math.floor(at / 3), at % 3];
      return data[pixel * channels + (channels === 1 ? 0 : c)]! / scale;
    });
  const values = painted.data instanceof Float32Array ? spread(painted.data, 1) : spread(painted.data, 255);
  const maps = coefficients(spread(content.data, 255), values, content, low, radius, epsilon);
  const result = new Float64Array(full.data.length);
  const place = (at: number, from: number, size: number, first: number, count: number) =>
    first + Math.min(count - 1, Math.max(0, ((at - from + 0.5) * count) / size - 0.5));
  const level = (x: number, y: number, c: number) => full.data[(y * full.width + x) * channels + (channels === 1 ? 0 : c)]! / 255;
  for (let y = 0; y < full.height; y++) {
    const py = place(y, source.top, source.height, low.top, low.height);
    const y0 = Math.floor(py);
    const y1 = Math.min(y0 + 1, low.top + low.height - 1);
    for (let x = 0; x < full.width; x++) {
      const px = place(x, source.left, source.width, low.left, low.width);
      const x0 = Math.floor(px);
      const x1 = Math.min(x0 + 1, low.left + low.width - 1);
      const map = (k: number) => {
        const of = (yy: number, xx: number) => maps[(yy * content.width + xx) * 12 + k]!;
        const upper = of(y0, x0) * (1 - px + x0) + of(y0, x1) * (px - x0);
        return upper * (1 - py + y0) + (of(y1, x0) * (1 - px + x0) + of(y1, x1) * (px - x0)) * (py - y0);
      };
      let weight = 1;
      if (background) {
        const sums = [0, 0, 0];
        let count = 0;
        for (let j = Math.max(0, y - 2); j <= Math.min(full.height - 1, y + 2); j++)
          for (let i = Math.max(0, x - 2); i <= Math.min(full.width - 1, x + 2); i++, count++)
            for (let c = 0; c < 3; c++) sums[c]! += level(i, j, c);
        weight = tissueWeight(
          sums.map((sum) => sum / count),
          background,
        );
      }
      for (let c = 0; c < channels; c++) {
        const value = [0, 1, 2].reduce((sum, k) => sum + map(4 * c + k) * level(x, y, k), map(4 * c + 3));
        const restyled = Math.min(1, Math.max(0, value));
        result[(y * full.width + x) * channels + c] = 255 * (weight * restyled + (1 - weight) * level(x, y, c));
      }
    }
  }
  return result;
}
