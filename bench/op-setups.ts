import type { Candidate, Plan, Word } from "../src/gpu/dispatch.js";
import type { Gpu } from "../src/gpu/gpu.js";
import type { Profile } from "../src/gpu/profile.js";
import { float16BitsToFloat32, float32ToFloat16Bits } from "../src/hub/half.js";
import { hashedUniform } from "../src/hub/hashed.js";
import { attentionCandidates, attentionFlops, attentionKey, attentionParameters, planAttention } from "../src/ops/attention.js";
import {
  convolutionParameters,
  patchifyParameters,
  patchProductParameters,
  planConvolution,
  planPatchify,
  planPatchProduct,
  planQuantize,
  quantizeParameters,
} from "../src/ops/images.js";
import { layerNormParameters, planLayerNorm } from "../src/ops/layer-norm.js";
import { linearCandidates, linearFlops, linearKey, linearParameters, planLinear } from "../src/ops/linear.js";
import {
  type AttentionCase,
  attentionCases,
  type ConvolutionCase,
  convolutionCases,
  type LayerNormCase,
  type LinearCase,
  layerNormCases,
  linearCases,
  type PatchifyCase,
  type PatchProductCase,
  patchifyCases,
  patchProductCases,
  type QuantizeCase,
  quantizeCases,
  STATISTICS,
} from "../test/ops/cases.js";
import { gelu } from "../test/ops/oracles.js";
import { type Bound, bind } from "./device-clock.js";
import type { OpName } from "./options.js";

/**
 * The cases of the tests' table at the sizes of published models, with operands of any size made in no time and results
 * known at any one place: what the tests compare in full is far too large here for a naive oracle.
 */
export interface OpSetup {
  /** The default. */
  plan: Plan;
  /** Where a tuner has a choice. */
  tuning?: { key: string; candidates: readonly Candidate[] };
  parameters: readonly Word[];
  /** In the order of the bindings; the same array twice is the same buffer. */
  inputs: readonly (Float32Array | Uint16Array | Uint32Array | Uint8Array)[];
  /** Bytes of the output, or what stands in it before. */
  output: number | Float32Array;
  resultType: "f32" | "f16" | "bytes";
  /** Elements of the result. */
  size: number;
  /** The true result at an index, in float64. */
  expected(at: number): number;
  /** Floating-point operations; 0 where an op is about moving bytes. */
  flops: number;
  /** Bytes that must move if everything is read and written once. */
  bytes: number;
  /** M × K × N or whatever tells the size. */
  shape: string;
}

/** The op on buffers of its own, by the plan that the device's tuner picks; it measures where it may and has not yet. */
export async function bindTuned(gpu: Gpu, { plan, tuning, inputs, output, parameters }: OpSetup): Promise<Bound> {
  let picked = plan;
  if (tuning) {
    // Measuring leaves its marks in the output, so it gets buffers that are thrown away.
    const scratch = bind(gpu, plan, await gpu.pipelines.get(plan.variant), inputs, output, parameters);
    try {
      picked = await gpu.tuner.pick(gpu, tuning.key, tuning.candidates, scratch.buffers, parameters);
    } finally {
      scratch.dispose();
    }
  }
  return bind(gpu, picked, await gpu.pipelines.get(picked.variant), inputs, output, parameters);
}

/** An operand as the device holds it, and the same numbers for the reference. */
interface Operand {
  device: Float32Array | Uint16Array;
  values: Float32Array;
}

/** Numbers in [-scale, scale), in the tier's element type. */
function operand(name: string, count: number, profile: Profile, scale = 1): Operand {
  const values = hashedUniform(name, count, 1);
  if (scale !== 1) for (let i = 0; i < count; i++) values[i]! *= scale;
  if (profile.elementBytes === 4) return { device: values, values };
  const device = float32ToFloat16Bits(values);
  return { device, values: float16BitsToFloat32(device) };
}

export function setUpLinear(one: LinearCase, profile: Profile): OpSetup {
  const { rows, depth, cols, epilogue, period = 1 } = one;
  const result = epilogue === "none" || epilogue === "gelu" ? "elem" : "f32";
  const shape = { rows, depth, cols, epilogue, result } as const;
  const elem = profile.elementBytes;
  const resultBytes = result === "elem" ? elem : 4;
  const input = operand("input", rows * depth, profile);
  const weight = operand("weight", depth * cols, profile, Math.sqrt(3 / depth));
  const bias = hashedUniform("bias", cols, 1);
  const table = epilogue === "table" ? hashedUniform("table", period * cols, 1) : undefined;
  const residual = epilogue === "residual" ? hashedUniform("residual", rows * cols, 1) : undefined;
  return {
    plan: planLinear(shape, profile),
    tuning: { key: linearKey(shape), candidates: linearCandidates(shape, profile) },
    parameters: linearParameters(shape, { inputStride: depth, weightStride: cols, outputStride: cols, period }),
    inputs: [input.device, weight.device, bias, table ?? bias],
    output: residual ?? rows * cols * resultBytes,
    resultType: resultBytes === 4 ? "f32" : "f16",
    size: rows * cols,
    expected(at) {
      const [row, col] = [Math.floor(at / cols), at % cols];
      let sum = bias[col]!;
      for (let k = 0; k < depth; k++) sum += input.values[row * depth + k]! * weight.values[k * cols + col]!;
      if (epilogue === "gelu") return gelu(sum);
      return sum + (residual?.[at] ?? table?.[(row % period) * cols + col] ?? 0);
    },
    flops: linearFlops(shape),
    bytes:
      elem * (rows * depth + depth * cols) + 4 * cols + resultBytes * rows * cols + 4 * (table?.length ?? residual?.length ?? 0),
    shape: `${rows} × ${depth} × ${cols}${epilogue === "none" ? "" : ` ${epilogue}`}`,
  };
}

export function setUpLayerNorm({ rows, width }: LayerNormCase, profile: Profile): OpSetup {
  const shape = { rows, width, affine: false, result: "elem" } as const;
  const input = hashedUniform("input", rows * width, 1);
  return {
    plan: planLayerNorm(shape, profile),
    parameters: layerNormParameters(shape, { inputStride: width, outputStride: width }),
    inputs: [input, input, input],
    output: rows * width * profile.elementBytes,
    resultType: profile.elementBytes === 4 ? "f32" : "f16",
    size: rows * width,
    expected(at) {
      const row = input.subarray(at - (at % width), at - (at % width) + width);
      const mean = row.reduce((sum, x) => sum + x, 0) / width;
      const variance = row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / width;
      return (input[at]! - mean) / Math.sqrt(variance + 1e-6);
    },
    flops: 0,
    bytes: rows * width * (4 + profile.elementBytes),
    shape: `${rows} × ${width}`,
  };
}

/** Query, key and value side by side, as the fused product leaves them. */
export function setUpAttention({ sequences, tokens, heads, headSize }: AttentionCase, profile: Profile): OpSetup {
  const shape = { sequences, tokens, heads, headSize };
  const width = heads * headSize;
  // Scores of about ±1: a softmax that neither is flat nor picks one key.
  const all = operand("query, key, value", sequences * tokens * 3 * width, profile, Math.sqrt(3) * headSize ** -0.25);
  const index = Uint32Array.from({ length: 2 * sequences }, (_, at) => Math.floor(at / 2) * tokens);
  const at = (sequence: number, token: number, part: number, column: number) =>
    all.values[(sequence * tokens + token) * 3 * width + part * width + column]!;
  return {
    plan: planAttention(shape, profile),
    tuning: { key: attentionKey(shape), candidates: attentionCandidates(shape, profile) },
    parameters: attentionParameters(shape, {
      queryStride: 3 * width,
      keyColumn: width,
      valueColumn: 2 * width,
      contextStride: 3 * width,
      outputStride: width,
    }),
    inputs: [all.device, all.device, index],
    output: sequences * tokens * width * profile.elementBytes,
    resultType: profile.elementBytes === 4 ? "f32" : "f16",
    size: sequences * tokens * width,
    expected(place) {
      const column = place % width;
      const token = Math.floor(place / width) % tokens;
      const sequence = Math.floor(place / width / tokens);
      const head = column - (column % headSize);
      const scores = Float64Array.from({ length: tokens }, (_, key) => {
        let score = 0;
        for (let c = head; c < head + headSize; c++) score += at(sequence, token, 0, c) * at(sequence, key, 1, c);
        return score;
      });
      const highest = Math.max(...scores);
      let total = 0;
      let sum = 0;
      for (const [key, score] of scores.entries()) {
        total += Math.exp(score - highest);
        sum += Math.exp(score - highest) * at(sequence, key, 2, column);
      }
      return sum / total;
    },
    flops: attentionFlops(shape),
    bytes: sequences * tokens * 4 * width * profile.elementBytes,
    shape: `${sequences} × ${tokens} × ${heads} × ${headSize}`,
  };
}

export function setUpPatchify(one: PatchifyCase, profile: Profile): OpSetup {
  const { images, channels, imageSize: s, patchSize: p, depth, format } = one;
  const count = images * channels * s * s;
  const side = s / p;
  const rows = images * (side * side + 1);
  const numbers = hashedUniform("pixels", count, 1);
  const pixels = format === "bytes" ? Uint8Array.from(numbers, (x) => 127.5 * (x + 1)) : numbers;
  return {
    plan: planPatchify(one, profile),
    parameters: patchifyParameters(one, 0, STATISTICS),
    inputs: [pixels],
    output: rows * depth * profile.elementBytes,
    resultType: profile.elementBytes === 4 ? "f32" : "f16",
    size: rows * depth,
    expected(at) {
      const token = Math.floor(at / depth) % (side * side + 1);
      const k = at % depth;
      if (token === 0 || k >= channels * p * p) return 0;
      const c = Math.floor(k / (p * p));
      const y = Math.floor((token - 1) / side) * p + (Math.floor(k / p) % p);
      const x = ((token - 1) % side) * p + (k % p);
      const image = Math.floor(at / depth / (side * side + 1));
      if (format === "planes") return pixels[((image * channels + c) * s + y) * s + x]!;
      const value = pixels[((image * s + y) * s + x) * channels + c]!;
      return ((format === "bytes" ? value / 255 : value) - STATISTICS.mean[c]!) / STATISTICS.std[c]!;
    },
    flops: 0,
    bytes: pixels.byteLength + rows * depth * profile.elementBytes,
    shape: `${images} × ${channels} × ${s} × ${s} ${format}`,
  };
}

export function setUpPatchProduct(one: PatchProductCase, profile: Profile): OpSetup {
  const { images, channels, imageSize: s, patchSize: p, rank } = one;
  const stride = 2 * channels * p * rank;
  const side = s / p;
  const shape = { ...one, stride };
  const tokens = operand("tokens", images * (side * side + 1) * stride, profile);
  const size = images * channels * s * s;
  return {
    plan: planPatchProduct(shape, profile),
    parameters: patchProductParameters(shape),
    inputs: [tokens.device],
    output: 4 * size,
    resultType: "f32",
    size,
    expected(at) {
      const [x, y] = [at % s, Math.floor(at / s) % s];
      const channel = Math.floor(at / s / s) % channels;
      const image = Math.floor(at / s / s / channels);
      const start = (image * (side * side + 1) + 1 + Math.floor(y / p) * side + Math.floor(x / p)) * stride;
      // The product's numbers are read back as [P, P, C].
      const f = ((y % p) * p + (x % p)) * channels + channel;
      const [c, i, j] = [Math.floor(f / p / p), Math.floor(f / p) % p, f % p];
      let sum = 0;
      for (let r = 0; r < rank; r++) {
        sum +=
          tokens.values[start + (c * p + i) * rank + r]! * tokens.values[start + channels * p * rank + (c * rank + r) * p + j]!;
      }
      return sum;
    },
    flops: 2 * size * rank,
    bytes: tokens.device.byteLength + 4 * size,
    shape: `${images} × ${channels} × ${s} × ${s}, rank ${rank}`,
  };
}

export function setUpConvolution(one: ConvolutionCase, profile: Profile): OpSetup {
  const { images, channels, imageSize: s, kernelSize: k } = one;
  const size = images * channels * s * s;
  const input = hashedUniform("input", size, 1);
  const weight = hashedUniform("weight", channels * channels * k * k, 1);
  return {
    plan: planConvolution(one, profile),
    parameters: convolutionParameters(one),
    inputs: [input, weight],
    output: 4 * size,
    resultType: "f32",
    size,
    expected(at) {
      const [x, y] = [at % s, Math.floor(at / s) % s];
      const channel = Math.floor(at / s / s) % channels;
      const image = Math.floor(at / s / s / channels);
      let sum = 0;
      for (let c = 0; c < channels; c++) {
        for (let i = 0; i < k; i++) {
          for (let j = 0; j < k; j++) {
            const [row, column] = [y + i - (k >> 1), x + j - (k >> 1)];
            if (row < 0 || row >= s || column < 0 || column >= s) continue;
            sum += weight[((channel * channels + c) * k + i) * k + j]! * input[((image * channels + c) * s + row) * s + column]!;
          }
        }
      }
      return sum;
    },
    flops: 2 * size * channels * k * k,
    bytes: 8 * size + weight.byteLength,
    shape: `${images} × ${channels} × ${s} × ${s}, ${k} × ${k}`,
  };
}

export function setUpQuantize(one: QuantizeCase, profile: Profile): OpSetup {
  const { images, channels, imageSize: s, format } = one;
  const size = images * channels * s * s;
  const planes = hashedUniform("planes", size, 1).map((x) => 4 * x);
  return {
    plan: planQuantize(one, profile),
    parameters: quantizeParameters(one, STATISTICS),
    inputs: [planes],
    output: size * (format === "bytes" ? 1 : 4),
    resultType: format === "bytes" ? "bytes" : "f32",
    size,
    expected(at) {
      const c = at % channels;
      const image = Math.floor(at / channels / s / s);
      const value =
        planes[(image * channels + c) * s * s + (Math.floor(at / channels) % (s * s))]! * STATISTICS.std[c]! +
        STATISTICS.mean[c]!;
      const clamped = Math.min(1, Math.max(0, value));
      return format === "bytes" ? Math.round(255 * clamped) : clamped;
    },
    flops: 0,
    bytes: size * (format === "bytes" ? 5 : 8),
    shape: `${images} × ${channels} × ${s} × ${s} ${format}`,
  };
}

export interface OpCase {
  op: OpName;
  name: string;
  /** Undefined for ops that are alike in all models. */
  model: string | undefined;
  batch: number;
  setUp(profile: Profile): OpSetup;
}

/** The table's cases at published sizes, in the order of OPS. Their names tell model and batch. */
export const OP_CASES: readonly OpCase[] = [
  ...cases("linear", linearCases, setUpLinear),
  ...cases("layer_norm", layerNormCases, setUpLayerNorm),
  ...cases("attention", attentionCases, setUpAttention),
  ...cases("patchify", patchifyCases, setUpPatchify),
  ...cases("patch_product", patchProductCases, setUpPatchProduct),
  ...cases("convolution", convolutionCases, setUpConvolution),
  ...cases("quantize", quantizeCases, setUpQuantize),
];

function cases<T extends { name: string; bench?: boolean }>(
  op: OpName,
  table: readonly T[],
  setUp: (one: T, profile: Profile) => OpSetup,
): OpCase[] {
  return table
    .filter((one) => one.bench)
    .map((one) => {
      const [, model, batch, what] = /^(\w+), batch (\d+)(?:[:,] (.*))?$/.exec(one.name) ?? [];
      if (!batch) throw new Error(`The case "${one.name}" of ${op} does not say its batch.`);
      return {
        op,
        name: what ?? "",
        model: model === "published" ? undefined : model,
        batch: Number(batch),
        setUp: (profile) => setUp(one, profile),
      };
    });
}
