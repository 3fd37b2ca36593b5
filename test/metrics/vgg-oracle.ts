import type { PixelImage } from "../../src/image/types.js";
import type { Stage } from "../../src/models/vgg/weights.js";
import { vggKeys } from "../../src/models/vgg/weights.js";

/** VGG in float64, written to be read and to share nothing with the kernels; images of any shape. */

/** [channels, height, width]. */
export interface Maps {
  channels: number;
  height: number;
  width: number;
  data: Float64Array;
}

/** (2x − 1 − shift) / scale, as LPIPS has it. */
export function normalised({ data, width, height, channels }: PixelImage): Maps {
  const [shift, scale] = [[-0.03, -0.088, -0.188], [0.458, 0.448, 0.45]]; // biome-ignore format: one table
  const out = new Float64Array(3 * height * width);
  for (let c = 0; c < 3; c++)
    for (let at = 0; at < height * width; at++) {
      const x = data[at * channels + (channels === 3 ? c : 0)]! / 255;
      out[c * height * width + at] = (2 * x - 1 - shift![c]!) / scale![c]!;
    }
  return { channels: 3, height, width, data: out };
}

function convolved(x: Maps, weight: Float32Array, bias: Float32Array): Maps {
  const { height, width } = x;
  const data = new Float64Array(bias.length * height * width);
  for (let o = 0; o < bias.length; o++) {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        let sum = bias[o]!;
        for (let c = 0; c < x.channels; c++) {
          for (let i = 0; i < 3; i++) {
            const y = row + i - 1;
            if (y < 0 || y >= height) continue;
            for (let j = 0; j < 3; j++) {
              const at = column + j - 1;
              if (at < 0 || at >= width) continue;
              sum += weight[((o * x.channels + c) * 3 + i) * 3 + j]! * x.data[(c * height + y) * width + at]!;
            }
          }
        }
        data[(o * height + row) * width + column] = Math.max(0, sum);
      }
    }
  }
  return { channels: bias.length, height, width, data };
}

function pooled(x: Maps): Maps {
  const [height, width] = [x.height >> 1, x.width >> 1];
  const data = new Float64Array(x.channels * height * width);
  for (let at = 0; at < data.length; at++) {
    const [column, row, c] = [at % width, Math.floor(at / width) % height, Math.floor(at / width / height)];
    const from = (i: number, j: number) => x.data[(c * x.height + 2 * row + i) * x.width + 2 * column + j]!;
    data[at] = Math.max(from(0, 0), from(0, 1), from(1, 0), from(1, 1));
  }
  return { channels: x.channels, height, width, data };
}

/** Behind the last ReLU of each stage. */
export async function levelsOf(
  image: PixelImage,
  stages: readonly Stage[],
  read: (key: string) => Promise<Float32Array>,
): Promise<Maps[]> {
  const levels: Maps[] = [];
  let x = normalised(image);
  for (const [stage, keys] of vggKeys(stages).entries()) {
    if (stage > 0) x = pooled(x);
    for (const key of keys) x = convolved(x, await read(`${key}.weight`), await read(`${key}.bias`));
    levels.push(x);
  }
  return levels;
}
