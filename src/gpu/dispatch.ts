import { StylizingError } from "../errors.js";
import { BufferUsage } from "./dawn.js";
import type { Gpu } from "./gpu.js";
import { type Pipeline, UNIFORM_SLOT, type Variant } from "./pipelines.js";

/** What an op's `plan()` returns: the variant to compile and the grid to run it on. Pure, so it can be tested alone. */
export interface Plan {
  variant: Variant;
  workgroups: readonly [number, number, number];
  /** Bytes of workgroup memory that one workgroup uses. */
  workgroupBytes: number;
}

/** One way to do an op, for a tuner to choose from. */
export interface Candidate {
  /** Tells it from the others of its op, on disk as well. */
  name: string;
  plan: Plan;
}

/** Rows or sequences by the power of two above them: a tuner does not measure a batch of another size anew for that alone. */
export const bucket = (count: number): number => 2 ** Math.ceil(Math.log2(count));

/** The candidate called `choice`, else the first, which is the default: what was chosen once may be gone in a later version. */
export function pick(candidates: readonly Candidate[], choice?: string): Plan {
  return (candidates.find(({ name }) => name === choice) ?? candidates[0]!).plan;
}

/** A kernel bound to its buffers and parameters; encoding it allocates nothing. */
export interface Dispatch {
  readonly label: string;
  readonly pipeline: GPUComputePipeline;
  readonly storage: GPUBindGroup;
  /** Byte offset of its parameters in the buffer of uniforms. */
  readonly uniforms: [number];
  readonly workgroups: readonly [number, number, number];
}

/** A value of a parameter block: integers and floats are written as 32-bit words in the order given. */
export type Word = { u32: number } | { f32: number };
export const u32 = (value: number): Word => ({ u32: value });
export const f32 = (value: number): Word => ({ f32: value });

/** Collects the dispatches of one schedule and the uniforms that they read, in slots of one buffer. */
export class DispatchBuilder {
  readonly #gpu: Gpu;
  readonly #slots: ArrayBuffer[] = [];
  readonly dispatches: Dispatch[] = [];

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** Adds a dispatch; `buffers` bind to group 0 in order, whole. */
  add(plan: Plan, pipeline: Pipeline, buffers: readonly GPUBuffer[], parameters: readonly Word[]): void {
    const limit = this.#gpu.profile.limits.maxComputeWorkgroupsPerDimension;
    if (plan.workgroups.some((count) => count > limit)) {
      throw new StylizingError(
        "GPU",
        `${pipeline.label} needs a grid of ${plan.workgroups.join(" × ")} workgroups, and this device allows ${limit} a side.`,
        "Use a smaller batch.",
      );
    }
    const slot = new ArrayBuffer(UNIFORM_SLOT);
    const view = new DataView(slot);
    for (const [index, word] of parameters.entries()) {
      if ("u32" in word) view.setUint32(index * 4, word.u32, true);
      else view.setFloat32(index * 4, word.f32, true);
    }
    this.#slots.push(slot);
    this.dispatches.push({
      label: pipeline.label,
      pipeline: pipeline.pipeline,
      storage: this.#gpu.device.createBindGroup({
        label: pipeline.label,
        layout: pipeline.storageLayout,
        entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
      }),
      uniforms: [(this.#slots.length - 1) * UNIFORM_SLOT],
      workgroups: plan.workgroups,
    });
  }

  /** Uploads the uniforms; the result owns their buffer. */
  finish(label: string): Schedule {
    const bytes = new Uint8Array(Math.max(1, this.#slots.length) * UNIFORM_SLOT);
    for (const [index, slot] of this.#slots.entries()) bytes.set(new Uint8Array(slot), index * UNIFORM_SLOT);
    const buffer = this.#gpu.buffer(`${label} uniforms`, bytes.byteLength, BufferUsage.UNIFORM | BufferUsage.COPY_DST);
    this.#gpu.device.queue.writeBuffer(buffer, 0, bytes);
    const uniforms = this.#gpu.device.createBindGroup({
      layout: this.#gpu.pipelines.uniformLayout,
      entries: [{ binding: 0, resource: { buffer, size: UNIFORM_SLOT } }],
    });
    return new Schedule(this.#gpu, this.dispatches, uniforms, buffer);
  }
}

/** Dispatches in order, ready to be encoded into a pass any number of times. */
export class Schedule {
  readonly #gpu: Gpu;
  readonly dispatches: readonly Dispatch[];
  readonly #uniforms: GPUBindGroup;
  readonly #buffer: GPUBuffer;

  constructor(gpu: Gpu, dispatches: readonly Dispatch[], uniforms: GPUBindGroup, buffer: GPUBuffer) {
    this.#gpu = gpu;
    this.dispatches = dispatches;
    this.#uniforms = uniforms;
    this.#buffer = buffer;
  }

  /** Encodes dispatches [from, to) into `pass`. Allocates nothing. */
  encode(pass: GPUComputePassEncoder, from = 0, to = this.dispatches.length): void {
    for (let index = from; index < to; index++) {
      const dispatch = this.dispatches[index]!;
      pass.setPipeline(dispatch.pipeline);
      pass.setBindGroup(0, dispatch.storage);
      pass.setBindGroup(1, this.#uniforms, dispatch.uniforms);
      pass.dispatchWorkgroups(...(dispatch.workgroups as [number, number, number]));
    }
  }

  dispose(): void {
    this.#gpu.release(this.#buffer);
  }
}

/** Splits `count` workgroups over x and y, for grids longer than one dimension may be; kernels read both. */
export function spread(count: number, limit = 65535): [number, number, number] {
  const y = Math.max(1, Math.ceil(count / limit));
  return [Math.ceil(count / y), y, 1];
}
