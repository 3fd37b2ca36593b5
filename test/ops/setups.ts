import type { Profile } from "../../src/gpu/profile.js";
import { float16BitsToFloat32, float32ToFloat16Bits } from "../../src/hub/half.js";
import { isAligned8 as attentionIsAligned8, attentionParameters, planAttention } from "../../src/ops/attention.js";
import {
  convolutionParameters,
  patchifyParameters,
  patchProductParameters,
  planConvolution,
  planPatchify,
  planPatchProduct,
  planQuantize,
  quantizeParameters,
} from "../../src/ops/images.js";
import { layerNormParameters, planLayerNorm } from "../../src/ops/layer-norm.js";
import { isAligned8, linearParameters, planLinear } from "../../src/ops/linear.js";
import { F32_BOUND } from "../support/compare.js";
import { Random } from "../support/random.js";
import { asFloats, type Op, type Region, sentinels, surrounded } from "../support/run-op.js";
import {
  type AttentionCase,
  type ConvolutionCase,
  type LayerNormCase,
  type LinearCase,
  type PatchifyCase,
  type PatchProductCase,
  type QuantizeCase,
  STATISTICS,
} from "./cases.js";
import * as oracle from "./oracles.js";

/** A case made ready to run: seeded operands, plan and parameters, and what is to come out. */
export interface Setup extends Op {
  reference(): Float64Array;
  /** Absolute error at an index that the case's conditioning alone can cause in f32. */
  slack?: (at: number) => number;
  place: (at: number) => string;
}

/** Of an op whose result is in the elements of its tier. */
export interface ElementSetup extends Setup {
  /** The region's words as numbers. */
  numbers(words: Uint32Array): Float32Array;
}

/** Half the distance between 1 and the next half: the relative error of one rounding to 16 bits. */
const HALF_UNIT = 2 ** -11;

/** A region's words as the numbers that they hold: halves where the result is one of a 16-bit tier's elements. */
const numbersOf = (profile: Profile, result: "f32" | "elem") => (words: Uint32Array) =>
  result === "elem" && profile.elementBytes === 2
    ? float16BitsToFloat32(new Uint16Array(words.buffer, words.byteOffset, 2 * words.length))
    : asFloats(words);

const memo = <T>(make: () => T): (() => T) => {
  let made: T | undefined;
  return () => (made ??= make());
};

const ceil4 = (value: number) => Math.ceil(value / 4) * 4;

/** Half the distance between 1 and the next f32: the relative error of one rounding. */
const UNIT = 2 ** -24;

/** What rounding a result to 16 bits costs it, above what f32 may be off by anyway; below 2^-14 halves lose their last bits. */
function roundedSlack(reference: Float64Array): (at: number) => number {
  const f32 = F32_BOUND * reference.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return (at) => HALF_UNIT * Math.max(Math.abs(reference[at]!), 2 ** -14) + f32;
}

const rowAndColumn = (cols: number) => (at: number) => `row ${Math.floor(at / cols)}, column ${at % cols}`;

/** Numbers as the tier keeps them: rounded to halves, and packed two to a word, where it is a 16-bit one. */
function element(profile: Profile, values: Float32Array): Float32Array {
  return profile.elementBytes === 2 ? float16BitsToFloat32(float32ToFloat16Bits(values)) : values;
}

function packed(profile: Profile, values: Float32Array): Float32Array | Uint32Array {
  return profile.elementBytes === 2 ? new Uint32Array(float32ToFloat16Bits(values).buffer) : values;
}

/** A region of elements in words: half as many where two lie in one. */
function inWords(profile: Profile, result: "f32" | "elem", { offset, stride, rows, cols }: Region): Region {
  const each = result === "elem" && profile.elementBytes === 2 ? 2 : 1;
  return { offset: offset / each, stride: stride / each, rows, cols: cols / each };
}

export function setUpLinear(one: LinearCase, profile: Profile, result: "f32" | "elem" = "f32", choice?: string): ElementSetup {
  const {
    rows,
    depth,
    cols,
    epilogue,
    weightColumn = 0,
    weightGap = 0,
    outputOffset = 0,
    outputGap = 0,
    period = 1,
    data = "normal",
  } = one;
  const random = new Random(one.name);
  let input = element(profile, random.normals(rows * depth, 1, data === "large" ? 1000 : 0));
  let weight = element(profile, random.normals(depth * cols, 1 / Math.sqrt(depth)));
  let bias = random.normals(cols);
  if (data === "equal") input = input.map((_, at) => input[at % depth]!);
  if (data === "gelu") {
    input = element(
      profile,
      input.map((_, at) => (at % depth === 0 ? (20 * Math.floor(at / depth)) / rows - 10 : 0)),
    );
    weight = weight.map((_, at) => (at < cols ? 1 : 0));
    bias = bias.map((_, col) => (20 * col) / (rows * cols));
  }
  const table = random.normals(period * cols);
  const residual = random.normals(rows * cols);

  const inputRegion = { offset: one.inputOffset ?? 0, stride: depth + (one.inputGap ?? 0), rows, cols: depth };
  const weightStride = weightColumn + cols + weightGap;
  const region = { offset: outputOffset, stride: cols + outputGap, rows, cols };
  const residualRegion = { ...region, offset: one.residualOffset ?? outputOffset };
  const before = sentinels(inWords(profile, result, region), residualRegion);
  if (epilogue === "residual") {
    const words = new Uint32Array(residual.buffer);
    for (let at = 0; at < words.length; at++) {
      before[residualRegion.offset + Math.floor(at / cols) * residualRegion.stride + (at % cols)] = words[at]!;
    }
  }
  const biases = surrounded(bias, { offset: weightColumn, stride: cols + weightGap, rows: 1, cols });
  const placement = {
    inputOffset: inputRegion.offset,
    inputStride: inputRegion.stride,
    weightColumn,
    weightStride,
    outputOffset,
    outputStride: region.stride,
    ...(one.residualOffset !== undefined ? { residualOffset: one.residualOffset } : {}),
    period,
  };
  const shape = { rows, depth, cols, epilogue, result, aligned8: isAligned8(placement) };
  const reference = memo(() =>
    oracle.linear({ rows, depth, cols, epilogue, period }, input, weight, bias, epilogue === "table" ? table : residual),
  );
  return {
    plan: planLinear(shape, profile, choice),
    parameters: linearParameters(shape, placement),
    inputs: [
      packed(profile, surrounded(input, inputRegion)),
      packed(profile, surrounded(weight, { offset: weightColumn, stride: weightStride, rows: depth, cols })),
      biases,
      epilogue === "table" ? table : biases,
    ],
    before,
    region: inWords(profile, result, region),
    reference,
    ...(result === "elem" && profile.elementBytes === 2 ? { slack: roundedSlack(reference()) } : {}),
    numbers: numbersOf(profile, result),
    place: rowAndColumn(cols),
  };
}

export function setUpLayerNorm(one: LayerNormCase, profile: Profile): Setup {
  const {
    rows,
    width,
    affine = false,
    inputOffset = 0,
    inputGap = 0,
    outputOffset = 0,
    outputGap = 0,
    mean = 0,
    deviation = 1,
  } = one;
  const random = new Random(one.name);
  let input = random.normals(rows * width, deviation, mean);
  if (one.equal) input = input.map((_, at) => input[at % width]!);
  const gamma = random.normals(width, 0.5, 1);
  const beta = random.normals(width);
  const padded = ceil4(width);
  // The padding of the last vec4 is zero, as every producer of residual rows leaves it; beyond it nothing may be used.
  const inputStride = padded + inputGap;
  const rowsWithPadding = Float32Array.from({ length: rows * padded }, (_, at) =>
    at % padded < width ? input[Math.floor(at / padded) * width + (at % padded)]! : 0,
  );
  const source = surrounded(rowsWithPadding, { offset: inputOffset, stride: inputStride, rows, cols: padded });
  const row = (values: Float32Array) => surrounded(values, { offset: 0, stride: padded, rows: 1, cols: width });
  const outputStride = padded + outputGap;
  const region = { offset: outputOffset, stride: outputStride, rows, cols: outputStride };
  const shape = { rows, width, affine, result: "f32" as const };
  return {
    plan: planLayerNorm(shape, profile),
    parameters: layerNormParameters(shape, { inputOffset, inputStride, outputOffset, outputStride }),
    inputs: affine ? [source, row(gamma), row(beta)] : [source, source, source],
    before: sentinels(region),
    region,
    reference() {
      const narrow = oracle.layerNorm(rows, width, input, ...(affine ? ([gamma, beta] as const) : []));
      return Float64Array.from({ length: rows * outputStride }, (_, at) => {
        const col = at % outputStride;
        return col < width ? narrow[Math.floor(at / outputStride) * width + col]! : 0;
      });
    },
    slack: layerNormSlack(one, input, affine ? gamma : undefined, outputStride),
    place: rowAndColumn(outputStride),
  };
}

/**
 * What rounding the mean alone costs. Summing a row takes at most width / 16 + 6 additions one after another (four lanes of
 * vec4s, then their tree), so the mean is off by e ≤ steps · u · mean|x|. Every x - mean then shifts by e, and the variance
 * grows by e²: (x - m) / s is off by at most e / s + |x - m| / s · (e² / 2s² + steps · u). Rows of ordinary numbers stay far
 * below the house bound; where |mean| ≫ deviation, no f32 kernel that stores its mean in one number can do better.
 */
function layerNormSlack(
  { rows, width }: LayerNormCase,
  input: Float32Array,
  gamma: Float32Array | undefined,
  outputStride: number,
) {
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

export function setUpAttention(one: AttentionCase, profile: Profile, choice?: string): ElementSetup {
  const { sequences, tokens, heads, headSize, kind, data = "normal", gap = 0 } = one;
  const random = new Random(one.name);
  const width = heads * headSize;
  const rows = sequences * tokens;
  const query = random.normals(rows * width, 1 / Math.sqrt(headSize));
  const key = random.normals(rows * width);
  const value = random.normals(rows * width);
  if (data === "equal") for (let at = width; at < key.length; at++) key[at] = key[at % width]!;
  if (data === "low") {
    query.fill(1);
    for (let at = 0; at < key.length; at++) key[at] = key[at]! / Math.sqrt(headSize) - 120 / headSize;
  }
  if (data === "one") {
    query.fill(1);
    for (let s = 0; s < sequences; s++)
      key.fill(100, (s * tokens + Math.floor(tokens / 2)) * width, (s * tokens + Math.floor(tokens / 2) + 1) * width);
  }

  // The first rows of both buffers belong to nobody.
  const first = { query: 1, context: kind === "self" ? 1 : 3 };
  const contextOf = (s: number) => (kind === "self" ? s : kind === "cross" ? (s + 1) % sequences : sequences - 1 - s);
  const queryOf = (s: number) => (kind === "bank" ? 0 : s);
  const index = Uint32Array.from(
    Array.from({ length: sequences }, (_, s) => [
      first.query + queryOf(s) * tokens,
      first.context + contextOf(s) * tokens,
    ]).flat(),
  );
  /** Column `col` of one head of one sequence's operand. */
  const head = (operand: Float32Array, s: number, h: number) =>
    Float32Array.from(
      { length: tokens * headSize },
      (_, at) => operand[(s * tokens + Math.floor(at / headSize)) * width + h * headSize + (at % headSize)]!,
    );
  if (data === "logits") {
    const largest = largestScore(
      sequences,
      heads,
      (s, h) => [head(query, queryOf(s), h), head(key, contextOf(s), h)],
      tokens,
      headSize,
    );
    for (let at = 0; at < query.length; at++) query[at]! *= 80 / largest;
  }

  const beside = (...operands: Float32Array[]) =>
    Float32Array.from({ length: rows * width * operands.length }, (_, at) => {
      const row = Math.floor(at / (width * operands.length));
      const column = at % (width * operands.length);
      return operands[Math.floor(column / width)]![row * width + (column % width)]!;
    });
  const place = (parts: number, skipped: number): Region => {
    const stride = 2 * gap + parts * width;
    return { offset: skipped * stride + gap, stride, rows, cols: parts * width };
  };
  // Kernels that take keys in tiles meet the numbers behind the last sequence, and may not let them count.
  const behind = (rows: Float32Array) => {
    const longer = new Float32Array(rows.length + 16 * (3 * width + 2 * gap)).fill(Number.NaN);
    longer.set(rows);
    return longer;
  };
  // After everything that sets them, so that the reference starts from what the device is given.
  for (const operand of [query, key, value]) operand.set(element(profile, operand));
  const [queries, context] =
    kind === "self"
      ? (() => {
          const all = packed(profile, behind(surrounded(beside(query, key, value), place(3, first.query))));
          return [all, all] as const;
        })()
      : [
          packed(profile, surrounded(query, place(1, first.query))),
          packed(profile, behind(surrounded(beside(key, value), place(2, first.context)))),
        ];
  const region = { offset: 0, stride: width, rows, cols: width };
  const before = kind === "self" ? width : 0;
  const placement = {
    queryColumn: gap,
    queryStride: place(kind === "self" ? 3 : 1, 0).stride,
    keyColumn: gap + before,
    valueColumn: gap + before + width,
    contextStride: place(kind === "self" ? 3 : 2, 0).stride,
    outputStride: width,
  };
  const shape = { sequences, tokens, heads, headSize, aligned8: attentionIsAligned8(placement) };
  const plan = planAttention(shape, profile, choice);
  // The result is rounded, and on matrix units the weights before it: each moves a mean of values by at most this.
  const roundings = profile.elementBytes === 4 ? 0 : plan.variant.matrix ? 2 : 1;
  const largest = value.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const words = inWords(profile, "elem", region);
  return {
    plan,
    parameters: attentionParameters(shape, placement),
    inputs: [queries, context, index],
    before: sentinels(words),
    region: words,
    ...(roundings > 0 ? { slack: () => roundings * HALF_UNIT * largest } : {}),
    numbers: numbersOf(profile, "elem"),
    reference() {
      const output = new Float64Array(rows * width);
      for (let s = 0; s < sequences; s++) {
        for (let h = 0; h < heads; h++) {
          const result = oracle.attend(
            tokens,
            headSize,
            head(query, queryOf(s), h),
            head(key, contextOf(s), h),
            head(value, contextOf(s), h),
          );
          for (let at = 0; at < result.length; at++)
            output[(s * tokens + Math.floor(at / headSize)) * width + h * headSize + (at % headSize)] = result[at]!;
        }
      }
      return output;
    },
    place: (at) => {
      const row = Math.floor(at / width);
      const column = at % width;
      return `sequence ${Math.floor(row / tokens)}, token ${row % tokens}, head ${Math.floor(column / headSize)}, column ${column % headSize}`;
    },
  };
}

function largestScore(
  sequences: number,
  heads: number,
  operands: (s: number, h: number) => [Float32Array, Float32Array],
  tokens: number,
  size: number,
): number {
  let largest = 0;
  for (let s = 0; s < sequences; s++) {
    for (let h = 0; h < heads; h++) {
      const [query, key] = operands(s, h);
      for (let t = 0; t < tokens; t++) {
        for (let j = 0; j < tokens; j++) {
          let score = 0;
          for (let c = 0; c < size; c++) score += query[t * size + c]! * key[j * size + c]!;
          largest = Math.max(largest, Math.abs(score));
        }
      }
    }
  }
  return largest;
}

/** Bytes as the words of a buffer; what fills the last word is 0xff, so that using it shows. */
function bytesAsWords(bytes: Uint8Array): Uint32Array {
  const padded = new Uint8Array(ceil4(bytes.length)).fill(0xff);
  padded.set(bytes);
  return new Uint32Array(padded.buffer);
}

export function setUpPatchify(one: PatchifyCase, profile: Profile): Setup {
  const { images, channels, imageSize, patchSize, depth, format, firstRow = 0 } = one;
  const random = new Random(one.name);
  const count = images * channels * imageSize ** 2;
  const pixels =
    format === "bytes"
      ? Uint8Array.from({ length: count }, (_, at) => (at < 2 ? 255 * at : random.integer(256)))
      : format === "floats"
        ? random.uniforms(count)
        : random.normals(count);
  const rows = images * ((imageSize / patchSize) ** 2 + 1);
  const region = { offset: firstRow * depth, stride: depth, rows, cols: depth };
  return {
    plan: planPatchify(one, profile),
    parameters: patchifyParameters(one, firstRow, STATISTICS),
    inputs: [pixels instanceof Uint8Array ? bytesAsWords(pixels) : pixels],
    before: sentinels(region),
    region,
    reference: () => oracle.patchify(one, pixels, STATISTICS),
    place: rowAndColumn(depth),
  };
}

const planePlace =
  ({ channels, imageSize }: { channels: number; imageSize: number }) =>
  (at: number) => {
    const plane = imageSize ** 2;
    return `image ${Math.floor(at / plane / channels)}, channel ${Math.floor(at / plane) % channels}, y ${Math.floor(at / imageSize) % imageSize}, x ${at % imageSize}`;
  };

/** A buffer that an op fills from its start to `words`. */
const whole = (words: number): Region => ({ offset: 0, stride: words, rows: 1, cols: words });

export function setUpPatchProduct(one: PatchProductCase, profile: Profile): Setup {
  const { images, channels, imageSize, patchSize, rank, gap = 0 } = one;
  const random = new Random(one.name);
  const numbers = 2 * channels * patchSize * rank;
  const perImage = (imageSize / patchSize) ** 2 + 1;
  const tokens = random.normals(images * perImage * numbers);
  const stride = numbers + gap;
  const source = surrounded(tokens, { offset: 0, stride, rows: images * perImage, cols: numbers });
  // CLS is dropped: what it holds must not matter.
  for (let b = 0; b < images; b++) source.fill(Number.NaN, b * perImage * stride, (b * perImage + 1) * stride);
  const shape = { ...one, stride };
  const region = whole(images * channels * imageSize ** 2);
  return {
    plan: planPatchProduct(shape, profile),
    parameters: patchProductParameters(shape),
    inputs: [source],
    before: sentinels(region),
    region,
    reference: () => oracle.patchProduct(one, tokens),
    place: planePlace(one),
  };
}

export function setUpConvolution(one: ConvolutionCase, profile: Profile): Setup {
  const { images, channels, imageSize, kernelSize } = one;
  const random = new Random(one.name);
  const count = images * channels * imageSize ** 2;
  const input = random.normals(count);
  const weight = random.normals(channels ** 2 * kernelSize ** 2, 1 / kernelSize);
  return {
    plan: planConvolution(one, profile),
    parameters: convolutionParameters(one),
    inputs: [surrounded(input, whole(count)), surrounded(weight, whole(weight.length))],
    before: sentinels(whole(count)),
    region: whole(count),
    reference: () => oracle.convolution(one, input, weight),
    place: planePlace(one),
  };
}

export interface QuantizeSetup extends Setup {
  /** Levels of every pixel, of a `bytes` case. */
  levels: Uint8Array;
}

/**
 * Values in all of [0, 255] and beyond both ends. In levels each is a whole number plus at most 0.45, so that the rounding
 * of a denormalisation in f32 (1e-5 levels) cannot decide which byte is right.
 */
export function setUpQuantize(one: QuantizeCase, profile: Profile): QuantizeSetup {
  const { images, channels, imageSize, format } = one;
  const random = new Random(one.name);
  const count = images * channels * imageSize ** 2;
  const plane = imageSize ** 2;
  const levels = new Uint8Array(count);
  const planes = Float32Array.from({ length: count }, (_, at) => {
    const channel = Math.floor(at / plane) % channels;
    const level = random.integer(356) - 50;
    const pixel = (Math.floor(at / plane / channels) * plane + (at % plane)) * channels + channel;
    levels[pixel] = Math.min(255, Math.max(0, level));
    return ((level + random.uniform(-0.45, 0.45)) / 255 - STATISTICS.mean[channel]!) / STATISTICS.std[channel]!;
  });
  const region = whole(format === "bytes" ? Math.ceil(count / 4) : count);
  return {
    plan: planQuantize(one, profile),
    parameters: quantizeParameters(one, STATISTICS),
    inputs: [planes],
    before: sentinels(region),
    region,
    reference: () => oracle.denormalize(one, planes, STATISTICS.mean, STATISTICS.std),
    levels,
    place: (at) => `value ${at}`,
  };
}
