import type { MapsShape } from "../../src/ops/features.js";
import { paddedChannels } from "../../src/ops/features.js";
import { inUnits, type Result } from "../support/op.js";
import { Random } from "../support/random.js";
import { channelOf, countOf, EPSILON, type MapsCase, momentsOf, statisticsOf } from "./maps.js";

/** The losses in float64, and what their ops share. A loss's coefficients are compared by the gradient that they stand for. */

type Numbers = ArrayLike<number>;

/** Images of a batch that the terms are means over. */
export const BATCH = 7;

/** How often each image counts. */
export const countsOf = (images: number): Float32Array => Float32Array.from({ length: images }, (_, at) => 1 + (at % 2));

/** One number of a loss's gradient with respect to f, from its coefficients [images, 5, stride]. */
export function gradientAt(
  { side, channels }: Omit<MapsShape, "images">,
  coefficients: Numbers,
  f: Numbers,
  g: Numbers,
  at: number,
): number {
  const stride = paddedChannels(channels);
  const [b, c] = [Math.floor(at / (side * side * channels)), at % channels];
  const of = (which: number) => coefficients[(5 * b + which) * stride + c]!;
  return of(2) * (f[at]! - of(0)) + of(3) * (g[at]! - of(1)) + of(4);
}

/** [rows, channels] with zeros behind. */
export function padded(channels: number, values: Numbers): Float64Array {
  const stride = paddedChannels(channels);
  return Float64Array.from({ length: (values.length / channels) * stride }, (_, at) =>
    at % stride < channels ? values[Math.floor(at / stride) * channels + (at % stride)]! : 0,
  );
}

/** A term's share of each image and channel, with zeros behind the channels. */
export function termResult(
  name: string,
  { images, channels }: MapsCase,
  term: (image: number, c: number) => number,
  first = 0,
): Result {
  const stride = paddedChannels(channels);
  return {
    name,
    of: 1,
    size: images * stride,
    value: (numbers, at) => numbers[first + at]!,
    expected: inUnits(stride, (image) => Float64Array.from({ length: stride }, (_, c) => (c < channels ? term(image, c) : 0))),
  };
}

/** Coefficients behind the channels are zero: those in the rows for which `counts` is true. */
export function paddingResult({ images, channels }: MapsCase, counts: (row: number) => boolean): Result {
  const stride = paddedChannels(channels);
  const places = Array.from({ length: images * 5 * stride }, (_, at) => at).filter(
    (at) => at % stride >= channels && counts(Math.floor(at / stride) % 5),
  );
  return {
    name: "padding",
    size: places.length,
    value: (numbers, at) => numbers[places[at]!]!,
    expected: () => 0,
    tolerance: () => ({ bound: 0 }),
  };
}

/** Share of one image and channel in Σ counts · MSE. */
export function consistencyAt(
  shape: Omit<MapsShape, "images">,
  batch: number,
  f: Numbers,
  g: Numbers,
  counts: Numbers,
  [image, c]: readonly [number, number],
): number {
  const [x, y] = [channelOf(shape, f, image, c), channelOf(shape, g, image, c)];
  const squares = x.reduce((sum, value, at) => sum + (value - y[at]!) ** 2, 0);
  return (counts[image]! * squares) / (batch * shape.channels * shape.side ** 2);
}

/** One number of its gradient with respect to f. */
export function consistencyGradientAt(
  { side, channels }: Omit<MapsShape, "images">,
  batch: number,
  f: Numbers,
  g: Numbers,
  counts: Numbers,
  at: number,
): number {
  const each = side * side * channels;
  return (2 * counts[Math.floor(at / each)]! * (f[at]! - g[at]!)) / (batch * each);
}

/** What the stylized images are held against: their contents' maps, and statistics [rows, 2, channels] with each style's row. */
export interface Targets {
  g: Numbers;
  statistics: Numbers;
  styles: Numbers;
}

/** Mean and deviation of one channel of an image's style. */
function styleOf({ channels }: Omit<MapsShape, "images">, { statistics, styles }: Targets, image: number, c: number) {
  const row = 2 * styles[image]! * channels + c;
  return { mean: statistics[row]!, deviation: statistics[row + channels]! };
}

/** Share of one image and channel in both terms. */
export function stylizedAt(
  shape: Omit<MapsShape, "images">,
  batch: number,
  f: Numbers,
  targets: Targets,
  [image, c]: readonly [number, number],
): { anatomical: number; style: number } {
  const [x, y] = [channelOf(shape, f, image, c), channelOf(shape, targets.g, image, c)];
  const [ours, content] = [momentsOf(x), momentsOf(y)];
  const normal = (value: number, { mean, deviation }: typeof ours) => (value - mean) / deviation;
  const squares = x.reduce((sum, value, at) => sum + (normal(value, ours) - normal(y[at]!, content)) ** 2, 0);
  const { mean, deviation } = styleOf(shape, targets, image, c);
  return {
    anatomical: squares / (batch * shape.channels * shape.side ** 2),
    style: ((ours.mean - mean) ** 2 + (ours.deviation - deviation) ** 2) / (batch * shape.channels),
  };
}

/**
 * Gradient of both terms, weighted, over the pixels of one image and channel, as reverse mode walks through mean, variance, clamp,
 * root and normalisation.
 */
export function stylizedGradient(
  shape: Omit<MapsShape, "images">,
  batch: number,
  f: Numbers,
  targets: Targets,
  weights: { anatomical: number; style: number },
  [image, c]: readonly [number, number],
): Float64Array {
  const count = shape.side ** 2;
  const [x, y] = [channelOf(shape, f, image, c), channelOf(shape, targets.g, image, c)];
  const [ours, content] = [momentsOf(x), momentsOf(y)];
  const style = styleOf(shape, targets, image, c);
  const dNormal = x.map(
    (value, at) =>
      (2 * weights.anatomical * ((value - ours.mean) / ours.deviation - (y[at]! - content.mean) / content.deviation)) /
      (batch * shape.channels * count),
  );
  let dMean = (2 * weights.style * (ours.mean - style.mean)) / (batch * shape.channels);
  let dDeviation = (2 * weights.style * (ours.deviation - style.deviation)) / (batch * shape.channels);
  for (const [at, d] of dNormal.entries()) {
    dMean -= d / ours.deviation;
    dDeviation -= (d * (x[at]! - ours.mean)) / ours.deviation ** 2;
  }
  const dVariance = ours.variance >= EPSILON ? dDeviation / (2 * ours.deviation) : 0;
  return dNormal.map((d, at) => d / ours.deviation + (dVariance * 2 * (x[at]! - ours.mean)) / count + dMean / count);
}

const PROOF = { batch: 3, weights: { anatomical: 7, style: 10 } };

/** Maps for proofs of gradients: their last of three channels hardly varies, so that its deviation is the clamp's. */
export function testMaps(shape: MapsShape, seed: string): Float64Array {
  const values = new Random(seed).normals(countOf(shape), 1, 0.5);
  return Float64Array.from(values, (x, at) => (at % 3 === 2 ? 0.3 + 1e-3 * x : x));
}

const proofTargets = (shape: MapsShape, g: Float64Array): Targets => ({
  g,
  statistics: statisticsOf(shape, g),
  styles: [1, 0],
});

/** Both terms of two images, each in the other's style, with some weights. */
export function stylizedTotal(shape: MapsShape, f: Float64Array, g = testMaps(shape, "targets")): number {
  const { batch, weights } = PROOF;
  const targets = proofTargets(shape, g);
  let sum = 0;
  for (let image = 0; image < shape.images; image++) {
    for (let c = 0; c < shape.channels; c++) {
      const { anatomical, style } = stylizedAt(shape, batch, f, targets, [image, c]);
      sum += weights.anatomical * anatomical + weights.style * style;
    }
  }
  return sum;
}

/** Its gradient, [images, side, side, channels]. */
export function stylizedGradientOf(shape: MapsShape, f: Float64Array, g = testMaps(shape, "targets")): Float64Array {
  const targets = proofTargets(shape, g);
  const pixels = shape.side ** 2;
  const gradient = new Float64Array(f.length);
  for (let image = 0; image < shape.images; image++) {
    for (let c = 0; c < shape.channels; c++) {
      const own = stylizedGradient(shape, PROOF.batch, f, targets, PROOF.weights, [image, c]);
      for (const [pixel, d] of own.entries()) gradient[(image * pixels + pixel) * shape.channels + c] = d;
    }
  }
  return gradient;
}
