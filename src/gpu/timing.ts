import { BufferUsage, MAP_READ } from "./dawn.js";
import type { Gpu } from "./gpu.js";
import type { Program } from "./program.js";

export interface DispatchTime {
  /** The variant's label. */
  label: string;
  milliseconds: number;
}

/** Milliseconds that one dispatch of a GEMM should take at most; drivers begin to give up on those of seconds. */
export const LONGEST_DISPATCH = 50;

/** A query set holds at most 4096 timestamps, two a dispatch. */
const DISPATCHES_AT_ONCE = 2048;

/**
 * Runs a program with every dispatch in a pass of its own and returns the device's time for each, in order. The sum is
 * somewhat more than an untimed run takes, since passes do not overlap. A dispatch whose timestamps run backwards, as some
 * drivers give them, counts as NaN rather than as zero.
 * @returns undefined where the device has no timestamps.
 */
export async function timeDispatches(gpu: Gpu, program: Program): Promise<DispatchTime[] | undefined> {
  if (!gpu.profile.timestamps) return undefined;
  const { device } = gpu;
  const count = Math.min(program.dispatches.length, DISPATCHES_AT_ONCE);
  const querySet = device.createQuerySet({ type: "timestamp", count: 2 * count });
  const resolved = gpu.buffer("timestamps", 16 * count, BufferUsage.QUERY_RESOLVE | BufferUsage.COPY_SRC);
  const read = gpu.buffer("timestamps read", 16 * count, BufferUsage.MAP_READ | BufferUsage.COPY_DST);
  const times: DispatchTime[] = [];
  try {
    for (let first = 0; first < program.dispatches.length; first += count) {
      const end = Math.min(first + count, program.dispatches.length);
      const encoder = device.createCommandEncoder();
      for (let index = first; index < end; index++) {
        const at = 2 * (index - first);
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 },
        });
        program.encode(pass, index, index + 1);
        pass.end();
      }
      encoder.resolveQuerySet(querySet, 0, 2 * (end - first), resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, read, 0, 16 * (end - first));
      device.queue.submit([encoder.finish()]);
      await read.mapAsync(MAP_READ);
      const stamps = new BigUint64Array(read.getMappedRange().slice(0));
      read.unmap();
      for (let index = first; index < end; index++) {
        const elapsed = Number(stamps[2 * (index - first) + 1]! - stamps[2 * (index - first)]!) / 1e6;
        times.push({ label: program.dispatches[index]!.label, milliseconds: elapsed >= 0 ? elapsed : Number.NaN });
      }
    }
  } finally {
    querySet.destroy();
    gpu.release(resolved, read);
  }
  return times;
}

/** Floating-point operations a millisecond that GEMMs reach in a program, at least. */
export async function gemmRate(gpu: Gpu, program: Program): Promise<number> {
  const { dispatches } = program;
  const total = dispatches.reduce((sum, { flops }) => sum + flops, 0);
  await timeDispatches(gpu, program);
  const start = performance.now();
  const times = await timeDispatches(gpu, program);
  if (!times) {
    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    program.encode(pass);
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    await gpu.device.queue.onSubmittedWorkDone();
  }
  const wall = performance.now() - start;
  const gemms = times?.reduce((sum, { milliseconds }, index) => sum + (dispatches[index]!.flops > 0 ? milliseconds : 0), 0);
  return total / (gemms !== undefined && gemms > 0 ? gemms : wall);
}
