import type { Profile } from "../../src/gpu/profile.js";
import { layerNorm } from "../../src/ops/layer-norm.js";
import { isFloat16, roundedSlack, UNIT } from "../support/elements.js";
import { Contents, inUnits, memo, type Op, type OpCase, randomOf, rowAndColumn, surrounded } from "../support/op.js";
import { published } from "./published.js";

export interface LayerNormCase extends OpCase {
  rows: number;
  width: number;
  /** f32 where it is left out. */
  result?: "f32" | "elem";
  affine?: boolean;
  inputOffset?: number;
  /** Beyond the padded width, in elements; in the output they are to be zero. */
  inputGap?: number;
  outputOffset?: number;
  outputGap?: number;
  /** Mean and deviation of the numbers; a deviation of 0 makes every row constant. */
  mean?: number;
  deviation?: number;
  /** All rows alike. */
  equal?: boolean;
}

export const layerNormCases: readonly LayerNormCase[] = [
  { name: "the smallest", rows: 1, width: 4 },
  { name: "narrower than a vector", rows: 3, width: 2 },
  { name: "an odd width", rows: 7, width: 30, affine: true },
  { name: "odd width, padding and gaps", rows: 18, width: 29, inputOffset: 64, inputGap: 12, outputOffset: 32, outputGap: 8 },
  { name: "a sequence", rows: 197, width: 192 },
  { name: "a sequence, affine", rows: 197, width: 96, affine: true },
  { name: "one row past a workgroup", rows: 17, width: 100, affine: true, outputGap: 28 },
  { name: "base", rows: 33, width: 768 },
  { name: "wide", rows: 5, width: 3072, affine: true },
  { name: "all rows equal", rows: 20, width: 192, equal: true },
  { name: "large values", rows: 9, width: 384, deviation: 1e6 },
  { name: "tiny values, where eps decides", rows: 9, width: 384, deviation: 1e-4 },
  { name: "a mean of 1000 and tiny variance", rows: 21, width: 768, mean: 1e3, deviation: 1e-3 },
  { name: "a mean of 1000 and some variance", rows: 21, width: 192, mean: 1e3, deviation: 1 },
  { name: "constant rows", rows: 21, width: 192, mean: 0.3, deviation: 0 },
  { name: "constant rows of 1000", rows: 5, width: 771, mean: 1e3, deviation: 0 },
  { name: "zero rows", rows: 4, width: 48, mean: 0, deviation: 0, affine: true },
  ...published(({ bench, title, batch, tokens, width }): LayerNormCase[] => [
    { name: `${title}: three streams`, bench, rows: 3 * batch * tokens, width, result: "elem" },
  ]),
];

type Numbers = ArrayLike<number>;

/** input [rows, width]. */
export function layerNormOracle(rows: number, width: number, input: Numbers, gamma?: Numbers, beta?: Numbers): Float64Array {
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

/**
 * What rounding the mean alone costs. Summing a row takes at most width / 16 + 6 additions one after another (four lanes of
 * vec4s, then their tree), so the mean is off by e ≤ steps · u · mean|x|. Every x - mean then shifts by e, and the variance
 * grows by e²: (x - m) / s is off by at most e / s + |x - m| / s · (e² / 2s² + steps · u). Rows of ordinary numbers stay far
 * below the house bound; where |mean| ≫ deviation, no f32 kernel that stores its mean in one number can do better.
 */
function slackOf({ rows, width }: LayerNormCase, input: Float32Array, gamma: Float32Array | undefined, outputStride: number) {
  const steps = Math.ceil(width / 16) + 6;
  const statistics = Array.from({ length: rows }, (_, row) => {
    const values = input.subarray(row * width, (row + 1) * width);
    const average = (of: (x: number) => number) => values.reduce((sum, x) => sum + of(x), 0) / width;
    const mean = average((x) => x);
    return { mean, s: Math.sqrt(average((x) => (x - mean) ** 2) + 1e-6), e: steps * UNIT * average(Math.abs) };
  });
  return (at: number) => {
    const col = at % outputStride;
    const row = Math.floor(at / outputStride);
    if (col >= width) return 0;
    const { mean, s, e } = statistics[row]!;
    const normal = Math.abs(input[row * width + col]! - mean) / s;
    return (e / s + normal * ((e * e) / (2 * s * s) + steps * UNIT)) * Math.abs(gamma?.[col] ?? 1);
  };
}

function operandsOf({ rows, width, mean = 0, deviation = 1, ...one }: LayerNormCase) {
  const random = randomOf(one);
  let input = random.normals(rows * width, deviation, mean);
  if (one.equal) input = input.map((_, at) => input[at % width]!);
  return { input, gamma: random.normals(width, 0.5, 1), beta: random.normals(width) };
}

export const layerNormOp: Op<LayerNormCase> = {
  name: "layer_norm",
  cases: layerNormCases,
  setup(one, profile: Profile) {
    const { rows, width, result = "f32", affine = false, inputOffset = 0, inputGap = 0, outputOffset = 0, outputGap = 0 } = one;
    const operands = memo(() => operandsOf(one));
    const padded = Math.ceil(width / 4) * 4;
    const contents = new Contents();
    // The padding of the last vec4 is zero, as every producer of residual rows leaves it; beyond it nothing may be used.
    const withPadding = () => {
      const { input } = operands();
      if (padded === width) return input;
      return Float32Array.from({ length: rows * padded }, (_, at) =>
        at % padded < width ? input[Math.floor(at / padded) * width + (at % padded)]! : 0,
      );
    };
    const x = contents.matrix(profile, "f32", rows, padded, withPadding, { first: inputOffset, stride: padded + inputGap });
    const row = (values: () => Float32Array) =>
      contents.add(() => surrounded(values(), { offset: 0, stride: padded, rows: 1, cols: width }));
    const stride = padded + outputGap;
    const y = contents.output(profile, result, rows, stride, { first: outputOffset });
    const gamma = () => (affine ? operands().gamma : undefined);
    return {
      call: layerNorm(profile, {
        x,
        y: y.view,
        width,
        ...(affine ? { affine: { gamma: row(() => operands().gamma), beta: row(() => operands().beta) } } : {}),
      }),
      contents,
      outputs: [y.output],
      results: [
        {
          size: rows * stride,
          expected: inUnits(stride, (row) => {
            const { input, beta } = operands();
            const values = new Float64Array(stride);
            const own = input.subarray(row * width, (row + 1) * width);
            values.set(layerNormOracle(1, width, own, gamma(), beta));
            return values;
          }),
          tolerance: (reference) =>
            isFloat16(profile, result)
              ? roundedSlack(profile, result)(reference)
              : { slack: slackOf(one, operands().input, gamma(), stride) },
          place: rowAndColumn(stride),
        },
      ],
      flops: 0,
      shape: `${rows} × ${width}`,
    };
  },
};
