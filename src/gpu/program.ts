import { StylizingError } from "../errors.js";
import { buffersOf, type Call, type Plan, parameterBlock } from "./call.js";
import { BufferUsage } from "./dawn.js";
import type { Gpu } from "./gpu.js";
import type { Pipeline } from "./pipelines.js";
import type { View } from "./view.js";

/** Bytes of one slot of uniforms: WebGPU's default alignment of dynamic offsets. */
export const UNIFORM_SLOT = 256;

/** A kernel bound to its buffers and parameters; encoding it allocates nothing. */
export interface Dispatch {
  readonly label: string;
  readonly pipeline: GPUComputePipeline;
  readonly storage: GPUBindGroup;
  /** Byte offset of its parameters in the buffer of uniforms. */
  readonly uniforms: [number];
  readonly workgroups: readonly [number, number, number];
  /** What it belongs to, for reports of where the time goes. */
  readonly share: string;
  /** Floating-point operations where it is a GEMM; else 0. */
  readonly flops: number;
}

/** What a matrix holds before dispatch `at` of a program. */
export interface Tap {
  readonly name: string;
  readonly view: View;
  readonly at: number;
}

/** Collects the dispatches of one program and the uniforms that they read, in slots of one buffer. */
export class ProgramBuilder {
  readonly #gpu: Gpu;
  readonly #slots: ArrayBuffer[] = [];
  readonly #dispatches: Dispatch[] = [];

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** Adds a call by one of its plans. @throws StylizingError `GPU` where its grid exceeds the device's. */
  add(call: Pick<Call, "operands" | "values"> & { flops?: number }, plan: Plan, pipeline: Pipeline, share = "rest"): void {
    const { device, profile } = this.#gpu;
    const limit = profile.limits.maxComputeWorkgroupsPerDimension;
    if (plan.workgroups.some((count) => count > limit)) {
      throw new StylizingError(
        "GPU",
        `${pipeline.label} needs a grid of ${plan.workgroups.join(" × ")} workgroups, and this device allows ${limit} a side.`,
        "Use a smaller batch.",
      );
    }
    this.#slots.push(parameterBlock(plan.variant, call, UNIFORM_SLOT));
    this.#dispatches.push({
      label: pipeline.label,
      pipeline: pipeline.pipeline,
      storage: device.createBindGroup({
        label: pipeline.label,
        layout: pipeline.storageLayout,
        entries: buffersOf(plan.variant, call).map((buffer, binding) => ({ binding, resource: { buffer } })),
      }),
      uniforms: [(this.#slots.length - 1) * UNIFORM_SLOT],
      workgroups: plan.workgroups,
      share,
      flops: call.flops ?? 0,
    });
  }

  /** Uploads the uniforms. The program owns their buffer, and those that are given. */
  finish(label: string, buffers: readonly GPUBuffer[] = [], taps: readonly Tap[] = []): Program {
    const bytes = new Uint8Array(Math.max(1, this.#slots.length) * UNIFORM_SLOT);
    for (const [index, slot] of this.#slots.entries()) bytes.set(new Uint8Array(slot), index * UNIFORM_SLOT);
    const buffer = this.#gpu.buffer(`${label} uniforms`, bytes.byteLength, BufferUsage.UNIFORM | BufferUsage.COPY_DST);
    this.#gpu.device.queue.writeBuffer(buffer, 0, bytes);
    const uniforms = this.#gpu.device.createBindGroup({
      layout: this.#gpu.pipelines.uniformLayout,
      entries: [{ binding: 0, resource: { buffer, size: UNIFORM_SLOT } }],
    });
    return new Program(this.#gpu, this.#dispatches, uniforms, [buffer, ...buffers], taps);
  }
}

/** Dispatches in order, ready to be encoded into a pass any number of times. */
export class Program {
  readonly dispatches: readonly Dispatch[];
  readonly taps: readonly Tap[];
  readonly #gpu: Gpu;
  readonly #uniforms: GPUBindGroup;
  readonly #buffers: readonly GPUBuffer[];

  constructor(
    gpu: Gpu,
    dispatches: readonly Dispatch[],
    uniforms: GPUBindGroup,
    buffers: readonly GPUBuffer[],
    taps: readonly Tap[],
  ) {
    this.#gpu = gpu;
    this.taps = taps;
    this.dispatches = dispatches;
    this.#uniforms = uniforms;
    this.#buffers = buffers;
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
    this.#gpu.release(...this.#buffers);
  }
}
