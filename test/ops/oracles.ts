import type { PixelFormat } from "../../src/ops/images.js";
import type { Epilogue } from "../../src/ops/linear.js";

/** Every op again, as its definition reads: float64, one loop per index, no tricks. */

/** erf to about 1e-15: the positive series erf(x) = 2/√π · e^(-x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!, which does not cancel. */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x); // 1 - 2e-17
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

export const gelu = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));

type Numbers = ArrayLike<number>;

/** input [rows, depth], weight [depth, cols], addend [rows, cols] (a residual), table [period, cols]. */
export function linear(
  {
    rows,
    depth,
    cols,
    epilogue,
    period = 1,
  }: { rows: number; depth: number; cols: number; epilogue: Epilogue; period?: number | undefined },
  input: Numbers,
  weight: Numbers,
  bias: Numbers,
  added: Numbers,
): Float64Array {
  const output = new Float64Array(rows * cols);
  for (let m = 0; m < rows; m++) {
    for (let k = 0; k < depth; k++) {
      const x = input[m * depth + k]!;
      for (let n = 0; n < cols; n++) output[m * cols + n]! += x * weight[k * cols + n]!;
    }
    for (let n = 0; n < cols; n++) {
      let value = output[m * cols + n]! + bias[n]!;
      if (epilogue === "gelu") value = gelu(value);
      if (epilogue === "residual") value += added[m * cols + n]!;
      if (epilogue === "table") value += added[(m % period) * cols + n]!;
      output[m * cols + n] = value;
    }
  }
  return output;
}

/** input [rows, width]. */
export function layerNorm(rows: number, width: number, input: Numbers, gamma?: Numbers, beta?: Numbers): Float64Array {
  const output = new Float64Array(rows * width);
  for (let m = 0; m < rows; m++) {
    let mean = 0;
    for (let i = 0; i < width; i++) mean += input[m * width + i]! / width;
    let variance = 0;
    for (let i = 0; i < width; i++) variance += (input[m * width + i]! - mean) ** 2 / width;
    for (let i = 0; i < width; i++) {
      const value = (input[m * width + i]! - mean) / Math.sqrt(variance + 1e-6);
      output[m * width + i] = gamma && beta ? value * gamma[i]! + beta[i]! : value;
    }
  }
  return output;
}

/** One head of one sequence: query, key, value [tokens, size]. The scale is the caller's. */
export function attend(tokens: number, size: number, query: Numbers, key: Numbers, value: Numbers): Float64Array {
  const output = new Float64Array(tokens * size);
  for (let t = 0; t < tokens; t++) {
    const scores = new Float64Array(tokens);
    for (let j = 0; j < tokens; j++) for (let c = 0; c < size; c++) scores[j]! += query[t * size + c]! * key[j * size + c]!;
    const highest = scores.reduce((a, b) => Math.max(a, b));
    const weights = scores.map((score) => Math.exp(score - highest));
    const total = weights.reduce((a, b) => a + b);
    for (let j = 0; j < tokens; j++)
      for (let c = 0; c < size; c++) output[t * size + c]! += (weights[j]! / total) * value[j * size + c]!;
  }
  return output;
}

export interface ImageDimensions {
  images: number;
  channels: number;
  imageSize: number;
}

/** Value of a pixel in a buffer, normalised. */
function pixel(
  { channels, imageSize: s }: ImageDimensions,
  format: PixelFormat,
  data: Numbers,
  b: number,
  c: number,
  y: number,
  x: number,
  mean: readonly number[],
  std: readonly number[],
) {
  if (format === "planes") return data[((b * channels + c) * s + y) * s + x]!;
  const value = data[((b * s + y) * s + x) * channels + c]!;
  return ((format === "bytes" ? value / 255 : value) - mean[c]!) / std[c]!;
}

/** Rows of patches, [images · (1 + patches), depth]; CLS rows and padding are zero. */
export function patchify(
  shape: ImageDimensions & { patchSize: number; depth: number; format: PixelFormat },
  data: Numbers,
  { mean, std }: { mean: readonly number[]; std: readonly number[] },
): Float64Array {
  const { images, channels, imageSize, patchSize: p, depth } = shape;
  const side = imageSize / p;
  const rows: number[] = [];
  for (let b = 0; b < images; b++) {
    rows.push(...new Array<number>(depth).fill(0));
    for (let py = 0; py < side; py++) {
      for (let px = 0; px < side; px++) {
        const row = new Array<number>(depth).fill(0);
        let k = 0;
        for (let c = 0; c < channels; c++) {
          for (let y = 0; y < p; y++)
            for (let x = 0; x < p; x++) row[k++] = pixel(shape, shape.format, data, b, c, py * p + y, px * p + x, mean, std);
        }
        rows.push(...row);
      }
    }
  }
  return Float64Array.from(rows);
}

/** tokens [images, 1 + n, 2 · channels · patch · rank] → [images, channels, S, S]: `decode` of the reference, line by line. */
export function patchProduct(shape: ImageDimensions & { patchSize: number; rank: number }, tokens: Numbers): Float64Array {
  const { images: b, channels: ch, imageSize, patchSize: p, rank } = shape;
  const side = imageSize / p;
  const n = side * side;
  const half = ch * p * rank;
  // left, right = (h[:, 1:] for h in z.chunk(2, -1)), as [b, n, half]
  const left = new Float64Array(b * n * half);
  const right = new Float64Array(b * n * half);
  for (let image = 0; image < b; image++) {
    for (let patch = 0; patch < n; patch++) {
      for (let i = 0; i < half; i++) {
        const token = (image * (n + 1) + patch + 1) * 2 * half;
        left[(image * n + patch) * half + i] = tokens[token + i]!;
        right[(image * n + patch) * half + i] = tokens[token + half + i]!;
      }
    }
  }
  // patches = left.reshape(b, n, ch, p, rank) @ right.reshape(b, n, ch, rank, p)
  const patches: number[] = [];
  for (let matrix = 0; matrix < b * n * ch; matrix++) {
    for (let row = 0; row < p; row++) {
      for (let column = 0; column < p; column++) {
        let sum = 0;
        for (let r = 0; r < rank; r++) sum += left[(matrix * p + row) * rank + r]! * right[(matrix * rank + r) * p + column]!;
        patches.push(sum);
      }
    }
  }
  // patches.reshape(b, side, side, p, p, ch), then einsum nhwpqc -> nchpwq, then reshape(b, ch, side * p, side * p)
  const image = new Float64Array(b * ch * imageSize * imageSize);
  let at = 0;
  for (let i = 0; i < b; i++) {
    for (let h = 0; h < side; h++) {
      for (let w = 0; w < side; w++) {
        for (let pp = 0; pp < p; pp++) {
          for (let q = 0; q < p; q++) {
            for (let c = 0; c < ch; c++) image[(((i * ch + c) * side + h) * p + pp) * side * p + w * p + q] = patches[at++]!;
          }
        }
      }
    }
  }
  return image;
}

/** input [images, channels, S, S], weight [channels, channels, K, K]; zeros around. */
export function convolution(
  { images, channels, imageSize: s, kernelSize: k }: ImageDimensions & { kernelSize: number },
  input: Numbers,
  weight: Numbers,
): Float64Array {
  const output = new Float64Array(images * channels * s * s);
  const reach = (k - 1) / 2;
  for (let b = 0; b < images; b++) {
    for (let o = 0; o < channels; o++) {
      for (let y = 0; y < s; y++) {
        for (let x = 0; x < s; x++) {
          let sum = 0;
          for (let c = 0; c < channels; c++) {
            for (let i = 0; i < k; i++) {
              for (let j = 0; j < k; j++) {
                const [row, column] = [y + i - reach, x + j - reach];
                if (row < 0 || row >= s || column < 0 || column >= s) continue;
                sum += weight[((o * channels + c) * k + i) * k + j]! * input[((b * channels + c) * s + row) * s + column]!;
              }
            }
          }
          output[((b * channels + o) * s + y) * s + x] = sum;
        }
      }
    }
  }
  return output;
}

/** Pixels [images, S, S, channels] in [0, 1]. */
export function denormalize(
  { images, channels, imageSize: s }: ImageDimensions,
  planes: Numbers,
  mean: readonly number[],
  std: readonly number[],
): Float64Array {
  const output = new Float64Array(images * s * s * channels);
  for (let b = 0; b < images; b++) {
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < s * s; i++) {
        const value = planes[(b * channels + c) * s * s + i]! * std[c]! + mean[c]!;
        output[(b * s * s + i) * channels + c] = Math.min(1, Math.max(0, value));
      }
    }
  }
  return output;
}
