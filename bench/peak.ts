import type { Plan } from "../src/gpu/call.js";
import type { Gpu } from "../src/gpu/gpu.js";
import { Tuner } from "../src/gpu/tuner.js";
import { hashedUniform } from "../src/hub/hashed.js";
import { linearOp } from "../test/ops/linear.case.js";
import { bindTuned } from "./bind.js";
import { type Bound, type Clock, type Effort, outsideKernels, pipelineOf, runOnce, timeDispatch } from "./device-clock.js";
import { quantile } from "./statistics.js";

/** What this device reaches here and now; percentages are of these. */
export interface Peak {
  /** GFLOP/s of multiply-adds in registers, f32. */
  registers: number;
  /** GFLOP/s of a large GEMM by the library's own kernel. */
  gemm: number;
  gemmShape: string;
  /** GB/s, bytes read and bytes written. */
  copy: number;
  copyBytes: number;
}

/** The larger of the two: matrix hardware may exceed what registers reach. */
export const peakFlops = (peak: Peak): number => Math.max(peak.registers, peak.gemm);

const VARIANT = { constants: {}, result: "f32" } as const;

/** A kernel of bench/kernels, from an array to a buffer of so many bytes. */
async function bindBench(gpu: Gpu, plan: Plan, data: Float32Array, bytes: number): Promise<Bound> {
  const [input, output] = [gpu.storage("operand", data.byteLength), gpu.storage("result", bytes)];
  gpu.device.queue.writeBuffer(input, 0, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  return {
    gpu,
    call: { operands: { input, output }, values: {} },
    plan,
    pipeline: await pipelineOf(gpu, plan),
    outputs: [output],
    dispose: () => gpu.release(input, output),
  };
}

/** Of the fast samples: a peak is what the device can do, and other processes only ever slow it. */
async function fastest(bound: Bound, clock: Clock, effort: Effort): Promise<number> {
  const samples = await timeDispatch(bound, clock, effort);
  return quantile(
    [...samples].sort((a, b) => a - b),
    0.1,
  );
}

/**
 * Whether the device executes at all, and how fast at best.
 * @throws where what it copied is not what it was given, as on a backend that validates only.
 */
export async function measurePeak(gpu: Gpu, clock: Clock, effort: Effort): Promise<Peak> {
  const { software } = gpu.profile;
  const copyBytes = software ? 2 ** 26 : Math.min(2 ** 29, gpu.profile.limits.maxStorageBufferBindingSize);
  const each = 4;
  const groups = copyBytes / 16 / 64 / each;
  const side = Math.ceil(Math.sqrt(groups));
  const copyPlan: Plan = {
    variant: { ...VARIANT, kernel: outsideKernels("bench/kernels/copy.wgsl"), entryPoint: "copy", overrides: { EACH: each } },
    workgroups: [side, Math.ceil(groups / side), 1],
    workgroupBytes: 0,
  };
  const data = hashedUniform("copied", copyBytes / 4, 1);
  const copying = await bindBench(gpu, copyPlan, data, copyBytes);
  let copy: number;
  try {
    const copied = new Float32Array((await runOnce(copying))[0]!);
    if (copied.some((value, index) => value !== data[index])) {
      throw new Error("The device did not copy what it was told to: it executes nothing (Dawn's null backend), or wrongly.");
    }
    copy = (2 * copyBytes) / (await fastest(copying, clock, effort)) / 1e6;
  } finally {
    copying.dispose();
  }

  const registers = await measureRegisters(gpu, clock, effort);
  const [rows, depth, cols] = software ? [768, 768, 768] : [8192, 4096, 4096];
  const large = { rows: rows!, depth: depth!, cols: cols!, epilogue: "none", result: "elem" } as const;
  const setup = linearOp.setup({ name: "peak", bench: { batch: 1 }, ...large }, gpu.profile);
  const bound = await bindTuned(gpu, setup, new Tuner(gpu, "auto"));
  try {
    const gemm = setup.flops / (await fastest(bound, clock, effort)) / 1e6;
    return { registers, gemm, gemmShape: `${rows} × ${depth} × ${cols}`, copy, copyBytes };
  } finally {
    bound.dispose();
  }
}

/** GFLOP/s of multiply-adds in registers. It takes a moment only, so that it can be asked again how busy the machine is. */
export async function measureRegisters(gpu: Gpu, clock: Clock, effort: Effort): Promise<number> {
  const invocations = gpu.profile.software ? 4096 : 2 ** 20;
  const steps = 1024;

  const plan: Plan = {
    variant: {
      ...VARIANT,
      kernel: outsideKernels("bench/kernels/multiply_add.wgsl"),
      entryPoint: "multiply_add",
      overrides: { STEPS: steps },
    },
    workgroups: [invocations / 64, 1, 1],
    workgroupBytes: 0,
  };
  const constants = new Float32Array([0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1]);
  const adding = await bindBench(gpu, plan, constants, invocations * 16);
  try {
    // x ← x/2 + 1 ends at 2, and eight chains are summed.
    const sums = new Float32Array((await runOnce(adding))[0]!);
    if (sums.some((value) => value !== 16))
      throw new Error(`The device adds wrongly: ${sums.find((value) => value !== 16)} instead of 16.`);
    return (64 * steps * invocations) / (await fastest(adding, clock, effort)) / 1e6;
  } finally {
    adding.dispose();
  }
}
