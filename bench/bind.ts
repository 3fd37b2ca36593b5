import { buffersOf, pick } from "../src/gpu/call.js";
import type { Gpu } from "../src/gpu/gpu.js";
import { interfaceOf } from "../src/gpu/kernel.js";
import type { Tuner } from "../src/gpu/tuner.js";
import type { Setup } from "../test/support/op.js";
import { placed, upload } from "../test/support/run-op.js";
import type { Bound } from "./device-clock.js";

/** The op on buffers of its own, by the plan that the tuner picks; it measures where it may and has not yet. */
export async function bindTuned(gpu: Gpu, setup: Setup, tuner: Tuner): Promise<Bound> {
  const { call: unplaced, contents, outputs } = setup;
  const buffers = upload(gpu, contents.tokens, (token) => contents.get(token));
  const dispose = () => gpu.release(...buffers.values());
  try {
    const call = placed(unplaced, buffers);
    const plan = await tuner.pick(call);
    // Measuring leaves its marks in the outputs.
    for (const { buffer } of outputs) {
      const before = contents.get(buffer);
      const target = buffers.get(buffer)!;
      gpu.device.queue.writeBuffer(target, 0, before.buffer as ArrayBuffer, before.byteOffset, before.byteLength);
    }
    return {
      gpu,
      call,
      plan,
      pipeline: await gpu.pipelines.get(plan.variant),
      outputs: outputs.map(({ buffer }) => buffers.get(buffer)!),
      dispose,
    };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** Bytes that must move if everything is read and written once. */
export function bytesMoved({ call, contents, outputs, bytes: known }: Setup): number {
  if (known !== undefined) return known;
  const { variant } = pick(call.candidates);
  const { bindings } = interfaceOf(variant);
  const read = new Set(buffersOf(variant, call).filter((_, at) => bindings[at]!.access === "read"));
  let bytes = 0;
  for (const buffer of read) bytes += contents.get(buffer).byteLength;
  for (const { region, adds } of outputs) bytes += 4 * region.rows * region.cols * (adds ? 2 : 1);
  return bytes;
}
