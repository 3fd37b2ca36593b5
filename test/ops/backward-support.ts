import assert from "node:assert/strict";
import { BufferUsage, MAP_READ } from "../../src/gpu/dawn.js";
import { DispatchBuilder } from "../../src/gpu/dispatch.js";
import { adapterName, type Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { float16BitsToFloat32, float32ToFloat16Bits } from "../../src/hub/half.js";
import { F32_BOUND } from "../support/compare.js";
import { asFloats, type Op, type Region } from "../support/run-op.js";

/** Half the distance between 1 and the next half: the relative error of one rounding to 16 bits. */
export const HALF_UNIT = 2 ** -11;

export const isHalf = (profile: Profile, kind: "f32" | "elem") => kind === "elem" && profile.elementBytes === 2;

/** Numbers as an operand of that kind keeps them in the tier. */
export const kept = (profile: Profile, values: Float32Array, kind: "f32" | "elem" = "elem"): Float32Array =>
  isHalf(profile, kind) ? float16BitsToFloat32(float32ToFloat16Bits(values)) : values;

/** The words of a buffer of such an operand. */
export const packed = (profile: Profile, values: Float32Array, kind: "f32" | "elem" = "elem"): Float32Array | Uint32Array =>
  isHalf(profile, kind) ? new Uint32Array(float32ToFloat16Bits(values).buffer) : values;

/** A region of such elements in words. */
export function inWords(profile: Profile, { offset, stride, rows, cols }: Region, kind: "f32" | "elem" = "elem"): Region {
  const each = isHalf(profile, kind) ? 2 : 1;
  return { offset: offset / each, stride: stride / each, rows, cols: cols / each };
}

/** The numbers in a region's words. */
export const numbers = (profile: Profile, words: Uint32Array, kind: "f32" | "elem" = "elem"): Float32Array =>
  isHalf(profile, kind)
    ? float16BitsToFloat32(new Uint16Array(words.buffer, words.byteOffset, 2 * words.length))
    : asFloats(words);

/** What rounding a result to halves costs above the bound of f32; nothing in a tier that does not. */
export function roundedSlack(profile: Profile, reference: Float64Array): ((at: number) => number) | undefined {
  if (profile.elementBytes === 4) return undefined;
  const f32 = F32_BOUND * reference.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return (at) => HALF_UNIT * Math.max(Math.abs(reference[at]!), 2 ** -14) + f32;
}

/** Puts the words of `values` into a region of `before`: what an op adds to. */
export function fill(before: Uint32Array, { offset, stride, rows, cols }: Region, values: Float32Array): void {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let row = 0; row < rows; row++) {
    before.set(words.subarray(row * cols, (row + 1) * cols), offset + row * stride);
  }
}

export interface Output {
  /** The whole buffer before the run, sentinels included. */
  before: Uint32Array;
  region: Region;
}

export interface Outcome {
  /** The region's words, row after row. */
  words: Uint32Array;
  /** The whole buffer. */
  after: Uint32Array;
}

/**
 * `runOp` for ops with several outputs, which bind behind the inputs.
 * @throws where a word outside a region changed, or where an output was not written at all.
 */
export async function runOutputs(
  gpu: Gpu,
  { plan, parameters, inputs }: Pick<Op, "plan" | "parameters" | "inputs">,
  outputs: readonly Output[],
): Promise<Outcome[]> {
  assert.ok(!/null/i.test(adapterName(gpu.facts)), `${adapterName(gpu.facts)} executes nothing`);
  const buffers = new Map<Float32Array | Uint32Array, GPUBuffer>();
  for (const data of [...inputs, ...outputs.map(({ before }) => before)]) {
    if (buffers.has(data)) continue;
    const buffer = gpu.storage("operand", data.byteLength);
    gpu.device.queue.writeBuffer(buffer, 0, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    buffers.set(data, buffer);
  }
  const reads = outputs.map(({ before }) => gpu.buffer("read", before.byteLength, BufferUsage.MAP_READ | BufferUsage.COPY_DST));
  const pipeline = await gpu.pipelines.get(plan.variant);
  try {
    return await gpu.checked(pipeline.label, async () => {
      const builder = new DispatchBuilder(gpu);
      const bound = [...inputs, ...outputs.map(({ before }) => before)].map((data) => buffers.get(data)!);
      builder.add(plan, pipeline, bound, parameters);
      const schedule = builder.finish("test");
      const encoder = gpu.device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      schedule.encode(pass);
      pass.end();
      for (const [index, { before }] of outputs.entries())
        encoder.copyBufferToBuffer(buffers.get(before)!, 0, reads[index]!, 0, before.byteLength);
      gpu.device.queue.submit([encoder.finish()]);
      const results: Outcome[] = [];
      for (const [index, { before, region }] of outputs.entries()) {
        await reads[index]!.mapAsync(MAP_READ);
        const after = new Uint32Array(reads[index]!.getMappedRange().slice(0, before.byteLength));
        reads[index]!.unmap();
        results.push({ words: inside(`${pipeline.label}, output ${index}`, before, after, region), after });
      }
      schedule.dispose();
      return results;
    });
  } finally {
    gpu.release(...reads, ...buffers.values());
  }
}

function inside(label: string, before: Uint32Array, after: Uint32Array, { offset, stride, rows, cols }: Region): Uint32Array {
  const result = new Uint32Array(rows * cols);
  let changed = 0;
  for (let at = 0; at < after.length; at++) {
    const row = Math.floor((at - offset) / stride);
    const col = at - offset - row * stride;
    if (after[at] !== before[at]) changed++;
    if (at >= offset && row < rows && col < cols) result[row * cols + col] = after[at]!;
    else assert.equal(after[at], before[at], `${label} wrote outside its region: word ${at}, row ${row}, column ${col}`);
  }
  assert.ok(changed > 0, `${label} was not written`);
  return result;
}
