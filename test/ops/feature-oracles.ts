/**
 * The ops of feature maps, losses and the decoder's backward pass, as PyTorch's autograd would do them: float64, one loop per index.
 * Maps are [images, side, side, channels] here, without border and padding.
 */

type Numbers = ArrayLike<number>;

export interface Maps {
  images: number;
  side: number;
  channels: number;
}

export const EPSILON = 1e-5;

/** bytes [images, S, S, C] to planes [images, C, S, S]. */
export function normalizePixels(
  { images, side, channels }: Maps,
  bytes: Numbers,
  { mean, std }: { mean: readonly number[]; std: readonly number[] },
): Float64Array {
  const planes: number[] = [];
  for (let b = 0; b < images; b++) {
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < side; y++) {
        for (let x = 0; x < side; x++)
          planes.push((bytes[((b * side + y) * side + x) * channels + c]! / 255 - mean[c]!) / std[c]!);
      }
    }
  }
  return Float64Array.from(planes);
}

/** planes [images, C, S, S] to maps [images, S, S, C]. */
export function planesToMaps({ images, side, channels }: Maps, planes: Numbers): Float64Array {
  const maps: number[] = [];
  for (let b = 0; b < images; b++) {
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        for (let c = 0; c < channels; c++) maps.push(planes[((b * channels + c) * side + y) * side + x]!);
      }
    }
  }
  return Float64Array.from(maps);
}

/** The four pixels of a window, in the order of rows. */
const WINDOW = [
  [0, 0],
  [0, 1],
  [1, 0],
  [1, 1],
] as const;

const indexOf = ({ side, channels }: Omit<Maps, "images">, b: number, y: number, x: number, c: number) =>
  ((b * side + y) * side + x) * channels + c;

export const pooled = (shape: Maps): Maps => ({ ...shape, side: Math.floor(shape.side / 2) });

/** torch.max_pool2d(x, 2): for each output, the index of its first maximum. */
function firstMaxima(shape: Maps, f: Numbers): number[] {
  const small = pooled(shape);
  const indices: number[] = [];
  for (let b = 0; b < shape.images; b++) {
    for (let y = 0; y < small.side; y++) {
      for (let x = 0; x < small.side; x++) {
        for (let c = 0; c < shape.channels; c++) {
          let best = -1;
          for (const [i, j] of WINDOW) {
            const at = indexOf(shape, b, 2 * y + i, 2 * x + j, c);
            if (best < 0 || f[at]! > f[best]!) best = at;
          }
          indices.push(best);
        }
      }
    }
  }
  return indices;
}

export const maxPool = (shape: Maps, f: Numbers): Float64Array => Float64Array.from(firstMaxima(shape, f), (at) => f[at]!);

/** Backward of ReLU, tap and pooling: `tap` is the loss's own gradient of f, `next` that of the pooled maps. */
export function featureBackward(shape: Maps, f: Numbers, tap: Numbers, mask: boolean, next?: Numbers): Float64Array {
  const gradient = Float64Array.from({ length: f.length }, (_, at) => tap[at]!);
  if (next) for (const [at, from] of firstMaxima(shape, f).entries()) gradient[from]! += next[at]!;
  return mask ? gradient.map((value, at) => (f[at]! > 0 ? value : 0)) : gradient;
}

/** Numbers of one channel of one image. */
function channelOf(shape: Maps, maps: Numbers, b: number, c: number): number[] {
  const values: number[] = [];
  for (let y = 0; y < shape.side; y++) {
    for (let x = 0; x < shape.side; x++) values.push(maps[indexOf(shape, b, y, x, c)]!);
  }
  return values;
}

function momentsOf(values: readonly number[]): { mean: number; variance: number; deviation: number } {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  return { mean, variance, deviation: Math.sqrt(Math.max(variance, EPSILON)) };
}

/** [images, 2, channels]: means, then deviations. */
export function statistics(shape: Maps, maps: Numbers): Float64Array {
  const { images, channels } = shape;
  const output = new Float64Array(images * 2 * channels);
  for (let b = 0; b < images; b++) {
    for (let c = 0; c < channels; c++) {
      const { mean, deviation } = momentsOf(channelOf(shape, maps, b, c));
      output[2 * b * channels + c] = mean;
      output[(2 * b + 1) * channels + c] = deviation;
    }
  }
  return output;
}

/** Share of each image and channel in Σ counts · MSE. */
export function consistency(shape: Maps, batch: number, f: Numbers, g: Numbers, counts: Numbers): Float64Array {
  const { images, side, channels } = shape;
  const output = new Float64Array(images * channels);
  for (let b = 0; b < images; b++) {
    for (let c = 0; c < channels; c++) {
      const [x, y] = [channelOf(shape, f, b, c), channelOf(shape, g, b, c)];
      const squares = x.reduce((sum, value, at) => sum + (value - y[at]!) ** 2, 0);
      output[b * channels + c] = (counts[b]! * squares) / (batch * channels * side * side);
    }
  }
  return output;
}

export function consistencyGradient(shape: Maps, batch: number, f: Numbers, g: Numbers, counts: Numbers): Float64Array {
  const { side, channels } = shape;
  const each = side * side * channels;
  return Float64Array.from(
    { length: f.length },
    (_, at) => (2 * counts[Math.floor(at / each)]! * (f[at]! - g[at]!)) / (batch * each),
  );
}

/** What the stylized images are held against: their contents' maps, and statistics [rows, 2, channels] with each style's row. */
export interface Targets {
  g: Numbers;
  statistics: Numbers;
  styles: Numbers;
}

/** Share of each image and channel in both terms. */
export function stylized(
  shape: Maps,
  batch: number,
  f: Numbers,
  { g, statistics: rows, styles }: Targets,
): { anatomical: Float64Array; style: Float64Array } {
  const { images, side, channels } = shape;
  const anatomical = new Float64Array(images * channels);
  const style = new Float64Array(images * channels);
  for (let b = 0; b < images; b++) {
    for (let c = 0; c < channels; c++) {
      const [x, y] = [channelOf(shape, f, b, c), channelOf(shape, g, b, c)];
      const [ours, content] = [momentsOf(x), momentsOf(y)];
      const normal = (value: number, { mean, deviation }: typeof ours) => (value - mean) / deviation;
      const squares = x.reduce((sum, value, at) => sum + (normal(value, ours) - normal(y[at]!, content)) ** 2, 0);
      anatomical[b * channels + c] = squares / (batch * channels * side * side);
      const [mean, deviation] = [rows[2 * styles[b]! * channels + c]!, rows[(2 * styles[b]! + 1) * channels + c]!];
      style[b * channels + c] = ((ours.mean - mean) ** 2 + (ours.deviation - deviation) ** 2) / (batch * channels);
    }
  }
  return { anatomical, style };
}

/** Gradient of both terms, weighted, as reverse mode walks through mean, variance, clamp, root and normalisation. */
export function stylizedGradient(
  shape: Maps,
  batch: number,
  f: Numbers,
  { g, statistics: rows, styles }: Targets,
  weights: { anatomical: number; style: number },
): Float64Array {
  const { images, side, channels } = shape;
  const count = side * side;
  const output = new Float64Array(f.length);
  for (let b = 0; b < images; b++) {
    for (let c = 0; c < channels; c++) {
      const [x, y] = [channelOf(shape, f, b, c), channelOf(shape, g, b, c)];
      const [ours, content] = [momentsOf(x), momentsOf(y)];
      const dNormal = x.map(
        (value, at) =>
          (2 * weights.anatomical * ((value - ours.mean) / ours.deviation - (y[at]! - content.mean) / content.deviation)) /
          (batch * channels * count),
      );
      let dMean = (2 * weights.style * (ours.mean - rows[2 * styles[b]! * channels + c]!)) / (batch * channels);
      let dDeviation = (2 * weights.style * (ours.deviation - rows[(2 * styles[b]! + 1) * channels + c]!)) / (batch * channels);
      for (const [at, d] of dNormal.entries()) {
        dMean -= d / ours.deviation;
        dDeviation -= (d * (x[at]! - ours.mean)) / ours.deviation ** 2;
      }
      const dVariance = ours.variance >= EPSILON ? dDeviation / (2 * ours.deviation) : 0;
      for (let at = 0; at < count; at++) {
        output[indexOf(shape, b, Math.floor(at / side), at % side, c)] =
          dNormal[at]! / ours.deviation + (dVariance * 2 * (x[at]! - ours.mean)) / count + dMean / count;
      }
    }
  }
  return output;
}

interface Convolution extends Maps {
  kernelSize: number;
}

/** Calls `each` with the indices of every product that a convolution sums: output, weight, input. */
function everyProduct(
  { images, channels, side, kernelSize: k }: Convolution,
  each: (output: number, weight: number, input: number) => void,
): void {
  const reach = (k - 1) / 2;
  for (let b = 0; b < images; b++) {
    for (let o = 0; o < channels; o++) {
      for (let c = 0; c < channels; c++) {
        for (let y = 0; y < side; y++) {
          for (let x = 0; x < side; x++) {
            for (let i = 0; i < k; i++) {
              for (let j = 0; j < k; j++) {
                const [row, column] = [y + i - reach, x + j - reach];
                if (row < 0 || row >= side || column < 0 || column >= side) continue;
                each(
                  ((b * channels + o) * side + y) * side + x,
                  ((o * channels + c) * k + i) * k + j,
                  ((b * channels + c) * side + row) * side + column,
                );
              }
            }
          }
        }
      }
    }
  }
}

export function convolutionInputGradient(shape: Convolution, dOutput: Numbers, weight: Numbers): Float64Array {
  const gradient = new Float64Array(dOutput.length);
  everyProduct(shape, (o, w, i) => {
    gradient[i]! += dOutput[o]! * weight[w]!;
  });
  return gradient;
}

export function convolutionWeightGradient(shape: Convolution, dOutput: Numbers, input: Numbers): Float64Array {
  const gradient = new Float64Array(shape.channels ** 2 * shape.kernelSize ** 2);
  everyProduct(shape, (o, w, i) => {
    gradient[w]! += dOutput[o]! * input[i]!;
  });
  return gradient;
}

/** dImage [images, channels, S, S], tokens and result [images, 1 + n, 2 · channels · patch · rank]. */
export function patchProductGradient(
  { images, channels: ch, side: size, patchSize: p, rank }: Maps & { patchSize: number; rank: number },
  dImage: Numbers,
  tokens: Numbers,
): Float64Array {
  const side = size / p;
  const half = ch * p * rank;
  const gradient = new Float64Array(tokens.length);
  for (let b = 0; b < images; b++) {
    for (let patch = 0; patch < side * side; patch++) {
      const token = (b * (side * side + 1) + 1 + patch) * 2 * half;
      for (let c = 0; c < ch; c++) {
        for (let i = 0; i < p; i++) {
          for (let j = 0; j < p; j++) {
            // The product's number f, read back as [p, p, ch].
            const f = (c * p + i) * p + j;
            const [row, column, channel] = [Math.floor(f / ch / p), Math.floor(f / ch) % p, f % ch];
            const [y, x] = [Math.floor(patch / side) * p + row, (patch % side) * p + column];
            const d = dImage[((b * ch + channel) * size + y) * size + x]!;
            for (let r = 0; r < rank; r++) {
              const left = token + (c * p + i) * rank + r;
              const right = token + half + (c * rank + r) * p + j;
              gradient[left]! += d * tokens[right]!;
              gradient[right]! += d * tokens[left]!;
            }
          }
        }
      }
    }
  }
  return gradient;
}
