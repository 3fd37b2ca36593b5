import assert from "node:assert/strict";
import { type Call, type Plan, pick } from "../../src/gpu/call.js";
import { BufferUsage, MAP_READ } from "../../src/gpu/dawn.js";
import { adapterName, type Gpu } from "../../src/gpu/gpu.js";
import { ProgramBuilder } from "../../src/gpu/program.js";
import { assertClose } from "./compare.js";
import { numbersIn } from "./elements.js";
import type { Output, Region, Setup, Words } from "./op.js";

/** A call on the device's buffers in the place of the tokens that it was made with. */
export function placed<C extends Pick<Call, "operands">>(call: C, buffers: ReadonlyMap<GPUBuffer, GPUBuffer>): C {
  const of = (token: GPUBuffer) => {
    const buffer = buffers.get(token);
    assert.ok(buffer, "an operand lies in a buffer that nobody made");
    return buffer;
  };
  const operands = Object.entries(call.operands).map(([name, operand]) => [
    name,
    "buffer" in operand ? { ...operand, buffer: of(operand.buffer) } : of(operand),
  ]);
  return { ...call, operands: Object.fromEntries(operands) };
}

/** Buffers of the device with what the tokens stand for. */
export function upload(gpu: Gpu, tokens: readonly GPUBuffer[], contents: (token: GPUBuffer) => Words): Map<GPUBuffer, GPUBuffer> {
  return new Map(
    tokens.map((token) => {
      const data = contents(token);
      const buffer = gpu.storage("operand", data.byteLength);
      gpu.device.queue.writeBuffer(buffer, 0, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
      return [token, buffer];
    }),
  );
}

/**
 * Runs calls one after another and returns all words of the buffers in `read`, each with some behind those that it was given.
 * @throws where the device did not execute anything, or wrote behind what a buffer was given.
 */
export async function runCalls(
  gpu: Gpu,
  tokens: readonly GPUBuffer[],
  contents: (token: GPUBuffer) => Words,
  calls: readonly (readonly [call: Call, plan?: Plan])[],
  read: readonly GPUBuffer[] = tokens,
): Promise<Map<GPUBuffer, Uint32Array>> {
  // What such a device reads back is whatever its memory held, which may even look right.
  assert.ok(!/null/i.test(adapterName(gpu.facts)), `${adapterName(gpu.facts)} executes nothing`);
  const buffers = upload(gpu, tokens, contents);
  const reads = read.map((token) => gpu.buffer("read", buffers.get(token)!.size, BufferUsage.MAP_READ | BufferUsage.COPY_DST));
  try {
    const ready = await Promise.all(
      calls.map(async ([call, plan = pick(call.candidates)]) => ({
        call: placed(call, buffers),
        plan,
        pipeline: await gpu.pipelines.get(plan.variant),
      })),
    );
    return await gpu.checked(ready.map(({ pipeline }) => pipeline.label).join(", "), async () => {
      const builder = new ProgramBuilder(gpu);
      for (const { call, plan, pipeline } of ready) builder.add(call, plan, pipeline);
      const program = builder.finish("test");
      const encoder = gpu.device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      program.encode(pass);
      pass.end();
      for (const [index, token] of read.entries()) {
        const buffer = buffers.get(token)!;
        encoder.copyBufferToBuffer(buffer, 0, reads[index]!, 0, buffer.size);
      }
      gpu.device.queue.submit([encoder.finish()]);
      const words = new Map<GPUBuffer, Uint32Array>();
      for (const [index, token] of read.entries()) {
        await reads[index]!.mapAsync(MAP_READ);
        words.set(token, new Uint32Array(reads[index]!.getMappedRange().slice(0)));
        reads[index]!.unmap();
      }
      program.dispose();
      return words;
    });
  } finally {
    gpu.release(...reads, ...buffers.values());
  }
}

/** What an op wrote. */
export interface Outcome {
  /** The region's words, row after row. */
  words: Uint32Array;
  /** The numbers in them. */
  numbers: ArrayLike<number>;
  /** All of the buffer. */
  after: Uint32Array;
}

/**
 * Runs one op by its default plan, or another, and returns what it wrote into each of its outputs.
 * @throws where a word outside their regions changed, or where one of them was not written at all.
 */
export async function runOp(gpu: Gpu, setup: Setup, plan: Plan = pick(setup.call.candidates)): Promise<Outcome[]> {
  return runParts(gpu, setup, [[setup.call, plan]], plan.variant.kernel);
}

/** The same in several calls, each of which does a part of it. */
export async function checkParts(gpu: Gpu, setup: Setup, what: string, calls: readonly Call[]): Promise<void> {
  const parts = calls.map((call) => [call] as const);
  compare(setup, await runParts(gpu, setup, parts, what), what);
}

async function runParts(
  gpu: Gpu,
  { contents, outputs }: Setup,
  calls: readonly (readonly [call: Call, plan?: Plan])[],
  label: string,
): Promise<Outcome[]> {
  const read = [...new Set(outputs.map(({ buffer }) => buffer))];
  const after = await runCalls(gpu, contents.tokens, (token) => contents.get(token), calls, read);
  for (const buffer of read) {
    const of = outputs.filter((output) => output.buffer === buffer);
    const before = contents.get(buffer);
    assertUntouched(label, new Uint32Array(before.buffer, before.byteOffset, before.length), after.get(buffer)!, of);
  }
  return outputs.map(({ buffer, kind, region }) => {
    const words = inside(after.get(buffer)!, region);
    const numbers =
      kind === "bytes" ? new Uint8Array(words.buffer, words.byteOffset, words.byteLength) : numbersIn(gpu.profile, words, kind);
    return { words, numbers, after: after.get(buffer)! };
  });
}

/** Runs an op and compares all of its results with its oracle's. */
export async function check(gpu: Gpu, setup: Setup, what: string, plan?: Plan): Promise<void> {
  compare(setup, await runOp(gpu, setup, plan), what);
}

export function compare({ results }: Setup, outcomes: readonly Outcome[], what: string): void {
  for (const { name, of = 0, size, value, expected, exact, tolerance, place } of results) {
    const { numbers } = outcomes[of]!;
    const actual = value ? Float64Array.from({ length: size }, (_, at) => value(numbers, at)) : numbers;
    const reference = Float64Array.from({ length: size }, (_, at) => expected(at));
    const title = name ? `${name}, ${what}` : what;
    if (exact) {
      assert.equal(actual.length, size, title);
      for (let at = 0; at < size; at++)
        assert.ok(Object.is(actual[at], reference[at]), `${title}: ${actual[at]} at ${at}, expected ${reference[at]}`);
    } else {
      assertClose(actual, reference, title, { ...(place ? { place } : {}), ...tolerance?.(reference) });
    }
  }
}

/** Whether a word belongs to a region, and to what of it that may change. */
function belongs(at: number, { region: { offset, stride, rows, cols }, stays }: Output): boolean {
  const row = Math.floor((at - offset) / stride);
  const col = at - offset - row * stride;
  return at >= offset && row < rows && col < cols && !stays?.(row * cols + col);
}

function assertUntouched(label: string, before: Uint32Array, after: Uint32Array, outputs: readonly Output[]): void {
  const changed = outputs.map(() => 0);
  for (let at = 0; at < after.length; at++) {
    if (after[at] === before[at]) continue;
    const owner = outputs.findIndex((output) => belongs(at, output));
    if (owner >= 0) changed[owner]!++;
    // Buffers are rounded up to whole vec4s; what nobody gave is zero.
    else if (at < before.length || after[at] !== 0) {
      const places = outputs.map(({ region }) => where(at, region)).join("; ");
      assert.fail(`${label} wrote outside its output: word ${at}, ${places}, is now 0x${after[at]!.toString(16)}`);
    }
  }
  for (const count of changed) assert.ok(count > 0, `${label} wrote nothing`);
}

function where(at: number, { offset, stride, rows, cols }: Region): string {
  if (at < offset) return "before the first row";
  const row = Math.floor((at - offset) / stride);
  return row >= rows ? "behind the last row" : `behind column ${cols} of row ${row}`;
}

/** The words of a region, row after row. */
export function inside(after: Uint32Array, { offset, stride, rows, cols }: Region): Uint32Array {
  if (rows === 1 || stride === cols) return after.subarray(offset, offset + rows * cols);
  const result = new Uint32Array(rows * cols);
  for (let row = 0; row < rows; row++)
    result.set(after.subarray(offset + row * stride, offset + row * stride + cols), row * cols);
  return result;
}
