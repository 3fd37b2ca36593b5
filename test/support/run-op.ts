import assert from "node:assert/strict";
import { BufferUsage, MAP_READ } from "../../src/gpu/dawn.js";
import { DispatchBuilder, type Plan, type Word } from "../../src/gpu/dispatch.js";
import { adapterName, type Gpu } from "../../src/gpu/gpu.js";

/** Where an op writes, in 32-bit words of its output buffer: `cols` words of each row. */
export interface Region {
  offset: number;
  stride: number;
  rows: number;
  cols: number;
}

export interface Op {
  plan: Plan;
  parameters: readonly Word[];
  /** In the order of the bindings; the same array twice is the same buffer. */
  inputs: readonly (Float32Array | Uint32Array)[];
  /** The whole output buffer before the run, sentinels included. */
  before: Uint32Array;
  region: Region;
}

/** Words behind every output, more than a workgroup's row of vec4s. */
const TAIL = 300;

/** A quiet NaN that knows its place: arithmetic on it shows in every result, and a copy of it elsewhere shows as well. */
export const sentinel = (at: number): number => (0x7fc00000 | (at & 0x3fffff)) >>> 0;

/** A buffer of sentinels around and between the rows of `regions`. */
export function sentinels(...regions: Region[]): Uint32Array {
  const length = Math.max(...regions.map(({ offset, stride, rows }) => offset + stride * rows)) + TAIL;
  return Uint32Array.from({ length: Math.ceil(length / 4) * 4 }, (_, at) => sentinel(at));
}

/** A matrix inside a larger array whose other values are NaN: an op that uses one of them gives NaN. */
export function surrounded(values: ArrayLike<number>, { offset, stride, rows, cols }: Region): Float32Array {
  const array = new Float32Array(Math.ceil((offset + stride * rows) / 4) * 4).fill(Number.NaN);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) array[offset + row * stride + col] = values[row * cols + col]!;
  }
  return array;
}

function upload(gpu: Gpu, label: string, data: Float32Array | Uint32Array): GPUBuffer {
  const buffer = gpu.storage(label, data.byteLength);
  gpu.device.queue.writeBuffer(buffer, 0, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  return buffer;
}

/**
 * Runs one planned op and returns the words of its region, row after row.
 * @throws where a word outside the region changed, or where the device did not execute anything.
 */
export async function runOp(gpu: Gpu, { plan, parameters, inputs, before, region }: Op): Promise<Uint32Array> {
  // What such a device reads back is whatever its memory held, which may even look right.
  assert.ok(!/null/i.test(adapterName(gpu.facts)), `${adapterName(gpu.facts)} executes nothing`);
  const uploaded = new Map<Float32Array | Uint32Array, GPUBuffer>();
  for (const [index, data] of inputs.entries()) if (!uploaded.has(data)) uploaded.set(data, upload(gpu, `input ${index}`, data));
  const output = upload(gpu, "output", before);
  const read = gpu.buffer("read", before.byteLength, BufferUsage.MAP_READ | BufferUsage.COPY_DST);
  const pipeline = await gpu.pipelines.get(plan.variant);
  try {
    const after = await gpu.checked(pipeline.label, async () => {
      const builder = new DispatchBuilder(gpu);
      builder.add(plan, pipeline, [...inputs.map((data) => uploaded.get(data)!), output], parameters);
      const schedule = builder.finish("test");
      const encoder = gpu.device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      schedule.encode(pass);
      pass.end();
      encoder.copyBufferToBuffer(output, 0, read, 0, before.byteLength);
      gpu.device.queue.submit([encoder.finish()]);
      await read.mapAsync(MAP_READ);
      const words = new Uint32Array(read.getMappedRange().slice(0, before.byteLength));
      read.unmap();
      schedule.dispose();
      return words;
    });
    return inside(pipeline.label, before, after, region);
  } finally {
    gpu.release(output, read, ...uploaded.values());
  }
}

/** The region's words, once everything around them is found untouched. */
function inside(label: string, before: Uint32Array, after: Uint32Array, { offset, stride, rows, cols }: Region): Uint32Array {
  const result = new Uint32Array(rows * cols);
  let changed = 0;
  for (let at = 0; at < after.length; at++) {
    const row = Math.floor((at - offset) / stride);
    const col = at - offset - row * stride;
    const belongs = at >= offset && row < rows && col < cols;
    if (belongs) {
      result[row * cols + col] = after[at]!;
      if (after[at] !== before[at]) changed++;
    } else if (after[at] !== before[at]) {
      const where =
        at < offset ? "before the first row" : row >= rows ? "behind the last row" : `behind column ${cols} of row ${row}`;
      assert.fail(`${label} wrote outside its output: word ${at}, ${where}, is now 0x${after[at]!.toString(16)}`);
    }
  }
  assert.ok(changed > 0, `${label} wrote nothing`);
  return result;
}

/** The same words as 32-bit floats. */
export const asFloats = (words: Uint32Array): Float32Array => new Float32Array(words.buffer, words.byteOffset, words.length);
