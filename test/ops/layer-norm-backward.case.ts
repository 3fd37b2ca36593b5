import type { Profile } from "../../src/gpu/profile.js";
import { layerNormBackward } from "../../src/ops/layer-norm-backward.js";
import { kept, UNIT } from "../support/elements.js";
import { Contents, inUnits, memo, type Op, type OpCase, randomOf, rowAndColumn } from "../support/op.js";
import { published } from "./published.js";

export interface LayerNormBackwardCase extends OpCase {
  rows: number;
  width: number;
  inputOffset?: number;
  inputGap?: number;
  upstreamOffset?: number;
  upstreamGap?: number;
  gradientOffset?: number;
  /** Beyond the padded width; to be zero afterwards. */
  gradientGap?: number;
  accumulate?: boolean;
  /** Mean and deviation of x; a deviation of 0 makes every row constant. */
  mean?: number;
  deviation?: number;
  /** All rows of both operands alike. */
  equal?: boolean;
  /** The mean of d, beside a deviation of 1. */
  upstreamMean?: number;
}

export const layerNormBackwardCases: readonly LayerNormBackwardCase[] = [
  { name: "the smallest", rows: 1, width: 4 },
  { name: "narrower than a vector", rows: 3, width: 2 },
  { name: "an odd width, added", rows: 7, width: 30, accumulate: true },
  {
    name: "odd width, offsets and gaps",
    rows: 18,
    width: 29,
    inputOffset: 64,
    inputGap: 12,
    upstreamOffset: 20,
    upstreamGap: 16,
    gradientOffset: 32,
    gradientGap: 8,
  },
  { name: "offsets, added", rows: 33, width: 96, inputOffset: 8, upstreamOffset: 4, gradientOffset: 12, accumulate: true },
  { name: "a sequence", rows: 197, width: 192 },
  { name: "base, added", rows: 17, width: 768, accumulate: true },
  { name: "wide", rows: 2, width: 3072 },
  { name: "all rows equal", rows: 20, width: 192, equal: true },
  { name: "a large mean of d", rows: 9, width: 384, upstreamMean: 30 },
  { name: "large values", rows: 9, width: 384, deviation: 1e6 },
  { name: "tiny values, where eps decides", rows: 9, width: 384, deviation: 1e-4 },
  { name: "a mean of 1000 and some variance", rows: 21, width: 192, mean: 1e3, deviation: 1 },
  { name: "constant rows", rows: 21, width: 192, mean: 0.3, deviation: 0 },
  { name: "zero rows", rows: 4, width: 48, mean: 0, deviation: 0 },
  ...published(({ bench, title, batch, tokens, width }): LayerNormBackwardCase[] => [
    { name: `${title}: three streams`, bench, rows: 3 * batch * tokens, width, accumulate: true },
  ]),
];

type Numbers = ArrayLike<number>;

/** dL/dx of LayerNorm without scale and shift, eps 1e-6, by calculus: x and d = dL/dx̂ are [rows, width]. */
export function layerNormGradient(rows: number, width: number, x: Numbers, d: Numbers): Float64Array {
  const gradient = new Float64Array(rows * width);
  for (let m = 0; m < rows; m++) {
    let mean = 0;
    for (let i = 0; i < width; i++) mean += x[m * width + i]! / width;
    let variance = 0;
    for (let i = 0; i < width; i++) variance += (x[m * width + i]! - mean) ** 2 / width;
    const s = Math.sqrt(variance + 1e-6);
    // The Jacobian itself, ∂x̂_j / ∂x_i = (δ_ij - 1/n - x̂_i x̂_j / n) / s, column by column.
    for (let i = 0; i < width; i++) {
      for (let j = 0; j < width; j++) {
        const product = ((x[m * width + i]! - mean) / s) * ((x[m * width + j]! - mean) / s);
        gradient[m * width + i]! += (d[m * width + j]! * ((i === j ? 1 : 0) - 1 / width - product / width)) / s;
      }
    }
  }
  return gradient;
}

/**
 * What rounding the sums alone costs: a row's sum of v takes at most width / 16 + 6 additions one after another, so a mean is
 * off by steps · u · mean|v|. With e that error of mean(x), every x - mean(x) shifts by e and mean(d · x̂) by e / s · mean(d);
 * 1 / s is off by (e² / 2s² + steps · u) / s. Rows of ordinary numbers stay far below the house bound.
 */
function slackOf({ rows, width }: LayerNormBackwardCase, x: Float32Array, d: Float32Array, stride: number) {
  const steps = Math.ceil(width / 16) + 6;
  const statistics = Array.from({ length: rows }, (_, row) => {
    const average = (of: (x: number, d: number) => number) => {
      let sum = 0;
      for (let i = row * width; i < (row + 1) * width; i++) sum += of(x[i]!, d[i]!) / width;
      return sum;
    };
    const mean = average((x) => x);
    const s = Math.sqrt(average((x) => (x - mean) ** 2) + 1e-6);
    const slope = average((x, d) => (d * (x - mean)) / s);
    return {
      mean,
      s,
      shift: (steps * UNIT * average(Math.abs)) / s,
      dMean: average((_, d) => d),
      dError: steps * UNIT * average((_, d) => Math.abs(d)),
      slope,
      slopeError: steps * UNIT * average((x, d) => Math.abs((d * (x - mean)) / s)),
    };
  });
  return (at: number) => {
    const row = Math.floor(at / stride);
    const col = at % stride;
    if (col >= width) return 0;
    const { mean, s, shift, dMean, dError, slope, slopeError } = statistics[row]!;
    const normal = Math.abs(x[row * width + col]! - mean) / s;
    const scaleError = (shift * shift) / 2 + steps * UNIT;
    return (
      (dError +
        (normal + shift) * (slopeError + shift * Math.abs(dMean)) +
        shift * Math.abs(slope) +
        scaleError * (Math.abs(d[row * width + col]! - dMean) + 3 * normal * Math.abs(slope))) /
      s
    );
  };
}

function operandsOf(one: LayerNormBackwardCase, profile: Profile) {
  const { rows, width, mean = 0, deviation = 1 } = one;
  const random = randomOf(one);
  let x = random.normals(rows * width, deviation, mean);
  let d = kept(profile, random.normals(rows * width, 1, one.upstreamMean ?? 0));
  if (one.equal) {
    x = x.map((_, at) => x[at % width]!);
    d = d.map((_, at) => d[at % width]!);
  }
  return { x, d, old: random.normals(rows * width) };
}

export const layerNormBackwardOp: Op<LayerNormBackwardCase> = {
  name: "layer_norm_backward",
  cases: layerNormBackwardCases,
  setup(one, profile) {
    const { rows, width, accumulate = false, inputOffset = 0, upstreamOffset = 0, gradientOffset = 0 } = one;
    const operands = memo(() => operandsOf(one, profile));
    const padded = Math.ceil(width / 4) * 4;
    const withPadding = (values: Float32Array, rest: number, stride = padded) =>
      stride === width
        ? values
        : Float32Array.from({ length: rows * stride }, (_, at) =>
            at % stride < width ? values[Math.floor(at / stride) * width + (at % stride)]! : rest,
          );
    const contents = new Contents();
    const x = contents.matrix(profile, "f32", rows, padded, () => withPadding(operands().x, 0), {
      first: inputOffset,
      stride: padded + (one.inputGap ?? 0),
    });
    const dy = contents.matrix(profile, "elem", rows, padded, () => withPadding(operands().d, 999), {
      first: upstreamOffset,
      stride: padded + (one.upstreamGap ?? 0),
    });
    const stride = padded + (one.gradientGap ?? 0);
    const old = () => withPadding(operands().old, 0, stride);
    const dx = contents.output(profile, "f32", rows, stride, { first: gradientOffset }, accumulate ? old : undefined);
    const place = rowAndColumn(stride);
    return {
      call: layerNormBackward(profile, { x, dy, dx: dx.view, width, accumulate }),
      contents,
      outputs: [dx.output],
      results: [
        {
          size: rows * stride,
          expected: inUnits(stride, (row) => {
            const { x, d, old } = operands();
            const of = (values: Float32Array) => values.subarray(row * width, (row + 1) * width);
            const values = new Float64Array(stride);
            values.set(layerNormGradient(1, width, of(x), of(d)));
            return accumulate ? values.map((value, col) => value + (col < width ? of(old)[col]! : 0)) : values;
          }),
          tolerance: () => ({ slack: slackOf(one, operands().x, operands().d, stride) }),
          place,
        },
        {
          name: "padding",
          size: rows * (stride - width),
          value: (numbers, at) => numbers[Math.floor(at / (stride - width)) * stride + width + (at % (stride - width))]!,
          expected: () => 0,
          exact: true,
        },
      ],
      flops: 0,
      shape: `${rows} × ${width}`,
    };
  },
};
