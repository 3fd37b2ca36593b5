import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BufferUsage, COMPUTE_STAGE, MAP_READ } from "../src/gpu/dawn.js";
import { DispatchBuilder, type Plan, type Schedule, type Word } from "../src/gpu/dispatch.js";
import type { Gpu } from "../src/gpu/gpu.js";
import type { Pipeline } from "../src/gpu/pipelines.js";
import { timeDispatches } from "../src/gpu/timing.js";

/** `device`: timestamps around each dispatch. `wall`: the host's clock around many, divided. One of them for a whole run. */
export type Clock = "device" | "wall";

/** One dispatch on buffers of its own, and the way to what it wrote. */
export interface Bound {
  gpu: Gpu;
  plan: Plan;
  pipeline: Pipeline;
  buffers: readonly GPUBuffer[];
  parameters: readonly Word[];
  output: GPUBuffer;
  dispose(): void;
}

type Data = Float32Array | Uint16Array | Uint32Array | Uint8Array;

/** Copies host arrays to the device; an array that occurs twice is one buffer there. The output buffer comes last. */
export function bind(
  gpu: Gpu,
  plan: Plan,
  pipeline: Pipeline,
  inputs: readonly Data[],
  output: number | Data,
  parameters: readonly Word[],
): Bound {
  const uploaded = new Map<Data, GPUBuffer>();
  const upload = (data: Data) => {
    const known = uploaded.get(data);
    if (known) return known;
    const buffer = gpu.storage("operand", data.byteLength);
    const whole = data.byteLength - (data.byteLength % 4);
    gpu.device.queue.writeBuffer(buffer, 0, data.buffer as ArrayBuffer, data.byteOffset, whole);
    uploaded.set(data, buffer);
    return buffer;
  };
  const buffers = inputs.map(upload);
  const target = typeof output === "number" ? gpu.storage("result", output) : upload(output);
  return {
    gpu,
    plan,
    pipeline,
    buffers: [...buffers, target],
    parameters,
    output: target,
    dispose: () => gpu.release(target, ...uploaded.values()),
  };
}

function repeated(bound: Bound, times: number): Schedule {
  const builder = new DispatchBuilder(bound.gpu);
  for (let i = 0; i < times; i++) builder.add(bound.plan, bound.pipeline, bound.buffers, bound.parameters);
  return builder.finish("bench");
}

async function submit(gpu: Gpu, schedule: Schedule): Promise<void> {
  const encoder = gpu.device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  schedule.encode(pass);
  pass.end();
  gpu.device.queue.submit([encoder.finish()]);
  await gpu.device.queue.onSubmittedWorkDone();
}

/** Runs the dispatch once and reads what it wrote. */
export async function runOnce(bound: Bound): Promise<ArrayBuffer> {
  const { gpu, output } = bound;
  const read = gpu.buffer("read", output.size, BufferUsage.MAP_READ | BufferUsage.COPY_DST);
  const schedule = repeated(bound, 1);
  try {
    return await gpu.checked(bound.pipeline.label, async () => {
      await submit(gpu, schedule);
      const encoder = gpu.device.createCommandEncoder();
      encoder.copyBufferToBuffer(output, 0, read, 0, output.size);
      gpu.device.queue.submit([encoder.finish()]);
      await read.mapAsync(MAP_READ);
      const bytes = read.getMappedRange().slice(0);
      read.unmap();
      return bytes;
    });
  } finally {
    schedule.dispose();
    gpu.release(read);
  }
}

export interface Effort {
  /** Milliseconds of device time to spend on one row. */
  budget: number;
  fewest: number;
  most: number;
}

/** Milliseconds of single dispatches, after a warm-up that also tells how many fit the budget. */
export async function timeDispatch(bound: Bound, clock: Clock, effort: Effort): Promise<number[]> {
  const probe = await sample(bound, clock, 2);
  const once = Math.max(1e-4, Math.min(...probe));
  const count = Math.min(effort.most, Math.max(effort.fewest, Math.round(effort.budget / once)));
  // The probe ran on cold caches and perhaps on a sleeping device; so does the first half of what a fast kernel repeats.
  if (once < 1) await sample(bound, clock, Math.min(count, 20));
  const samples = await sample(bound, clock, count);
  const usable = samples.filter(Number.isFinite);
  if (usable.length < samples.length / 2)
    throw new Error(`the device gave ${samples.length - usable.length} of ${samples.length} timestamps backwards`);
  return usable;
}

async function sample(bound: Bound, clock: Clock, count: number): Promise<number[]> {
  const { gpu } = bound;
  if (clock === "device") {
    const schedule = repeated(bound, count);
    try {
      return (await timeDispatches(gpu, schedule))!.map(({ milliseconds }) => milliseconds);
    } finally {
      schedule.dispose();
    }
  }
  // Submissions of several, so that the way to the device and back is a small part of each.
  const each = Math.min(count, 10);
  const schedule = repeated(bound, each);
  const samples: number[] = [];
  try {
    for (let done = 0; done < count; done += each) {
      const start = performance.now();
      await submit(gpu, schedule);
      samples.push((performance.now() - start) / each);
    }
  } finally {
    schedule.dispose();
  }
  return samples;
}

/** A pipeline of a WGSL file that is not one of the library's: those of bench/kernels and bench/ladder; `front` goes before it. */
export async function pipelineOf(gpu: Gpu, file: string, plan: Plan, front = ""): Promise<Pipeline> {
  const { entryPoint, overrides, bindings } = plan.variant;
  const { device } = gpu;
  const module = device.createShaderModule({ label: file, code: front + readFileSync(file, "utf8") });
  const storageLayout = device.createBindGroupLayout({
    entries: bindings.map((access, binding) => ({
      binding,
      visibility: COMPUTE_STAGE,
      buffer: { type: access === "read" ? "read-only-storage" : "storage" },
    })),
  });
  const pipeline = await device.createComputePipelineAsync({
    label: file,
    layout: device.createPipelineLayout({ bindGroupLayouts: [storageLayout, gpu.pipelines.uniformLayout] }),
    compute: { module, entryPoint, constants: overrides as Record<string, number> },
  });
  return { label: file, pipeline, storageLayout };
}

export const benchKernel = (root: string, name: string): string => join(root, "bench", "kernels", `${name}.wgsl`);
