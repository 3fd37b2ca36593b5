import assert from "node:assert/strict";
import { BufferUsage, MAP_READ } from "../../src/gpu/dawn.js";
import { DispatchBuilder } from "../../src/gpu/dispatch.js";
import { adapterName, type Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { float16BitsToFloat32, float32ToFloat16Bits } from "../../src/hub/half.js";
import { mapsElements, paddedChannels } from "../../src/ops/features.js";
import { F32_BOUND } from "../support/compare.js";
import type { Random } from "../support/random.js";
import { asFloats, type Op, type Region, sentinels } from "../support/run-op.js";
import type { Maps } from "./feature-oracles.js";

type Numbers = ArrayLike<number>;

/** Numbers as the tier keeps its elements: rounded to halves where it is a 16-bit one. */
export const element = (profile: Profile, values: Float32Array): Float32Array =>
  profile.elementBytes === 2 ? float16BitsToFloat32(float32ToFloat16Bits(values)) : values;

/** Elements as words of a buffer; an even count of them. */
export const packed = (profile: Profile, values: Float32Array): Float32Array | Uint32Array =>
  profile.elementBytes === 2 ? new Uint32Array(float32ToFloat16Bits(values).buffer) : values;

/** A result's words as elements of the tier. */
export const elements = (profile: Profile, words: Uint32Array): Float32Array =>
  profile.elementBytes === 2
    ? float16BitsToFloat32(new Uint16Array(words.buffer, words.byteOffset, 2 * words.length))
    : asFloats(words);

/** What rounding a result to 16 bits costs it, above what f32 may be off by anyway; below 2^-14 halves lose their last bits. */
export function roundedSlack(profile: Profile, reference: Float64Array): ((at: number) => number) | undefined {
  if (profile.elementBytes === 4) return undefined;
  const f32 = F32_BOUND * reference.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return (at) => 2 ** -11 * Math.max(Math.abs(reference[at]!), 2 ** -14) + f32;
}

/** `front` NaNs, then numbers. */
export function behind(front: number, values: Numbers): Float32Array {
  const array = new Float32Array(front + values.length).fill(Number.NaN);
  array.set(values, front);
  return array;
}

/** What an op leaves of a border; a test's own number, so that writing zeros there shows as well. */
const BORDER = 77;

/** Maps [images, side, side, channels] with border and padding. */
export function bordered({ images, side, channels }: Maps, values: Numbers, border: number): Float64Array {
  const width = side + 2;
  const stride = paddedChannels(channels);
  const output = new Float64Array(images * width * width * stride).fill(border);
  for (let b = 0; b < images; b++) {
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        for (let c = 0; c < stride; c++) {
          output[((b * width + y + 1) * width + x + 1) * stride + c] =
            c < channels ? values[((b * side + y) * side + x) * channels + c]! : 0;
        }
      }
    }
  }
  return output;
}

/** An op's bordered maps behind those of `front` images; the border is NaN, which no op here may use. */
export const mapsInput = (profile: Profile, shape: Maps, values: Numbers, front = 0): Float32Array | Uint32Array =>
  packed(profile, behind(front * mapsElements({ ...shape, images: 1 }), bordered(shape, values, Number.NaN)));

/** What an op writes and what is to come out. */
export interface Output {
  before: Uint32Array;
  region: Region;
}

/** All words of `count` from `offset` on. */
export function wordsOutput(count: number, offset = 0): Output {
  const region = { offset, stride: count, rows: 1, cols: count };
  return { before: sentinels(region), region };
}

/** Bordered maps behind those of `front` images, with a border that has to stay. */
export function mapsOutput(profile: Profile, shape: Maps, values: Numbers, front = 0) {
  const reference = bordered(shape, values, BORDER);
  const words = packed(profile, Float32Array.from(bordered(shape, new Float32Array(values.length).fill(Number.NaN), BORDER)));
  const each = mapsElements({ ...shape, images: 1 }) / (profile.elementBytes === 2 ? 2 : 1);
  const output = wordsOutput(words.length, front * each);
  output.before.set(new Uint32Array(words.buffer), output.region.offset);
  const slack = roundedSlack(profile, reference);
  return {
    ...output,
    reference,
    numbers: (result: Uint32Array) => elements(profile, result),
    tolerance: slack ? { slack } : {},
  };
}

/** Feature maps as a ReLU leaves them: many zeros; `levels` rounds them, so that windows have several maxima. */
export function features(profile: Profile, random: Random, shape: Maps, levels = 0): Float32Array {
  const count = shape.images * shape.side ** 2 * shape.channels;
  const values = random.normals(count, 1, 0.3).map((x) => Math.max(0, levels ? Math.round(x * levels) / levels : x));
  return element(profile, values);
}

export interface ManyOutputs extends Omit<Op, "before" | "region"> {
  outputs: readonly Output[];
}

/**
 * Runs one planned op that writes several buffers and returns the words of each one's region.
 * @throws where a word outside a region changed, or where one of them was left alone.
 */
export async function runOutputs(gpu: Gpu, { plan, parameters, inputs, outputs }: ManyOutputs): Promise<Uint32Array[]> {
  assert.ok(!/null/i.test(adapterName(gpu.facts)), `${adapterName(gpu.facts)} executes nothing`);
  const upload = (data: Float32Array | Uint32Array) => {
    const buffer = gpu.storage("operand", data.byteLength);
    gpu.device.queue.writeBuffer(buffer, 0, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    return buffer;
  };
  const unique = new Map([...new Set(inputs)].map((data) => [data, upload(data)]));
  const written = outputs.map(({ before }) => upload(before));
  const read = outputs.map(({ before }) => gpu.buffer("read", before.byteLength, BufferUsage.MAP_READ | BufferUsage.COPY_DST));
  const pipeline = await gpu.pipelines.get(plan.variant);
  try {
    const after = await gpu.checked(pipeline.label, async () => {
      const builder = new DispatchBuilder(gpu);
      builder.add(plan, pipeline, [...inputs.map((data) => unique.get(data)!), ...written], parameters);
      const schedule = builder.finish("test");
      const encoder = gpu.device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      schedule.encode(pass);
      pass.end();
      for (const [at, { before }] of outputs.entries())
        encoder.copyBufferToBuffer(written[at]!, 0, read[at]!, 0, before.byteLength);
      gpu.device.queue.submit([encoder.finish()]);
      const words: Uint32Array[] = [];
      for (const buffer of read) {
        await buffer.mapAsync(MAP_READ);
        words.push(new Uint32Array(buffer.getMappedRange().slice(0)));
        buffer.unmap();
      }
      schedule.dispose();
      return words;
    });
    return outputs.map(({ before, region: { offset, stride, rows } }, which) => {
      const words = after[which]!;
      const end = offset + stride * rows;
      for (const [at, word] of words.entries()) {
        if (at >= offset && at < end) continue;
        assert.equal(word, before[at], `${pipeline.label} wrote outside output ${which}, at word ${at}`);
      }
      const inside = words.slice(offset, end);
      assert.ok(
        inside.some((word, at) => word !== before[offset + at]),
        `${pipeline.label} wrote nothing into output ${which}`,
      );
      return inside;
    });
  } finally {
    gpu.release(...written, ...read, ...unique.values());
  }
}

/** A profile whose grid is so narrow that small cases spread over both of its sides. */
export const narrow = (profile: Profile): Profile => ({
  ...profile,
  limits: { ...profile.limits, maxComputeWorkgroupsPerDimension: 61 },
});
