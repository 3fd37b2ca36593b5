import type { Call, Plan } from "../src/gpu/call.js";
import { BufferUsage, COMPUTE_STAGE, MAP_READ } from "../src/gpu/dawn.js";
import type { Gpu } from "../src/gpu/gpu.js";
import { interfaceOf, kernelSource } from "../src/gpu/kernel.js";
import type { Pipeline } from "../src/gpu/pipelines.js";
import { type Program, ProgramBuilder } from "../src/gpu/program.js";
import { timeDispatches } from "../src/gpu/timing.js";

/** `device`: timestamps around each dispatch. `wall`: the host's clock around many, divided. One of them for a whole run. */
export type Clock = "device" | "wall";

/** One dispatch on buffers of its own, and the way to what it wrote. */
export interface Bound {
  gpu: Gpu;
  call: Pick<Call, "operands" | "values">;
  plan: Plan;
  pipeline: Pipeline;
  outputs: readonly GPUBuffer[];
  dispose(): void;
}

function repeated({ gpu, call, plan, pipeline }: Bound, times: number): Program {
  const builder = new ProgramBuilder(gpu);
  for (let i = 0; i < times; i++) builder.add(call, plan, pipeline);
  return builder.finish("bench");
}

async function submit(gpu: Gpu, program: Program): Promise<void> {
  const encoder = gpu.device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  program.encode(pass);
  pass.end();
  gpu.device.queue.submit([encoder.finish()]);
  await gpu.device.queue.onSubmittedWorkDone();
}

/** Runs the dispatch once and reads what it wrote into each of its outputs. */
export async function runOnce(bound: Bound): Promise<ArrayBuffer[]> {
  const { gpu, outputs } = bound;
  const program = repeated(bound, 1);
  try {
    return await gpu.checked(bound.pipeline.label, async () => {
      await submit(gpu, program);
      const contents: ArrayBuffer[] = [];
      for (const output of outputs) contents.push(await readBuffer(gpu, output));
      return contents;
    });
  } finally {
    program.dispose();
  }
}

async function readBuffer(gpu: Gpu, buffer: GPUBuffer): Promise<ArrayBuffer> {
  const read = gpu.buffer("read", buffer.size, BufferUsage.MAP_READ | BufferUsage.COPY_DST);
  try {
    const encoder = gpu.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, read, 0, buffer.size);
    gpu.device.queue.submit([encoder.finish()]);
    await read.mapAsync(MAP_READ);
    return read.getMappedRange().slice(0);
  } finally {
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
    const program = repeated(bound, count);
    try {
      return (await timeDispatches(gpu, program))!.map(({ milliseconds }) => milliseconds);
    } finally {
      program.dispose();
    }
  }
  // Submissions of several, so that the way to the device and back is a small part of each.
  const each = Math.min(count, 10);
  const program = repeated(bound, each);
  const samples: number[] = [];
  try {
    for (let done = 0; done < count; done += each) {
      const start = performance.now();
      await submit(gpu, program);
      samples.push((performance.now() - start) / each);
    }
  } finally {
    program.dispose();
  }
  return samples;
}

/** A pipeline of a WGSL file that is not one of the library's: those of bench/kernels and bench/ladder, as they are or as `code`. */
export async function pipelineOf(gpu: Gpu, { variant }: Plan, code = kernelSource(variant.kernel)): Promise<Pipeline> {
  const { device } = gpu;
  const label = `${variant.kernel}.wgsl`;
  const module = device.createShaderModule({ label, code });
  const storageLayout = device.createBindGroupLayout({
    entries: interfaceOf(variant).bindings.map(({ access }, binding) => ({
      binding,
      visibility: COMPUTE_STAGE,
      buffer: { type: access === "read" ? "read-only-storage" : "storage" },
    })),
  });
  const pipeline = await device.createComputePipelineAsync({
    label,
    layout: device.createPipelineLayout({ bindGroupLayouts: [storageLayout, gpu.pipelines.uniformLayout] }),
    compute: { module, entryPoint: variant.entryPoint, constants: variant.overrides as Record<string, number> },
  });
  return { label, pipeline, storageLayout };
}

/** What a variant calls a WGSL file of this checkout that lies outside `kernels/`. */
export const outsideKernels = (file: string): string => `../${file.replace(/\.wgsl$/, "")}`;
