import assert from "node:assert/strict";
import { BufferUsage, MAP_READ } from "../../src/gpu/dawn.js";
import { DispatchBuilder, type Plan, type Word } from "../../src/gpu/dispatch.js";
import { adapterName, type Gpu } from "../../src/gpu/gpu.js";

/**
 * Runs dispatches one after another over named buffers, given by what they hold or, full of zeros, by how many 32-bit words they
 * have, and reads all of them back. For ops whose outputs are many; `runOp` looks more closely at one.
 */
export async function runOps<Name extends string>(
  gpu: Gpu,
  contents: Record<Name, Float32Array | number>,
  ops: readonly (readonly [plan: Plan, buffers: readonly Name[], parameters: readonly Word[]])[],
): Promise<Record<Name, Float32Array>> {
  assert.ok(!/null/i.test(adapterName(gpu.facts)), `${adapterName(gpu.facts)} executes nothing`);
  const entries = Object.entries(contents) as [Name, Float32Array | number][];
  const words = (one: Float32Array | number) => (typeof one === "number" ? one : one.length);
  const buffers = new Map(entries.map(([name, one]) => [name, gpu.storage(name, 4 * words(one))]));
  const read = gpu.buffer(
    "read",
    entries.reduce((sum, [, one]) => sum + 4 * Math.ceil(words(one) / 4) * 4, 0),
    BufferUsage.MAP_READ | BufferUsage.COPY_DST,
  );
  const pipelines = await Promise.all(ops.map(([{ variant }]) => gpu.pipelines.get(variant)));
  try {
    return await gpu.checked("ops under test", async () => {
      for (const [name, one] of entries) {
        if (typeof one !== "number") gpu.device.queue.writeBuffer(buffers.get(name)!, 0, one as Float32Array<ArrayBuffer>);
      }
      const builder = new DispatchBuilder(gpu);
      for (const [index, [plan, names, parameters]] of ops.entries())
        builder.add(
          plan,
          pipelines[index]!,
          names.map((name) => buffers.get(name)!),
          parameters,
        );
      const schedule = builder.finish("test");
      const encoder = gpu.device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      schedule.encode(pass);
      pass.end();
      let at = 0;
      const places = entries.map(([name, one]) => {
        const place = { name, at, count: words(one) };
        const bytes = 4 * Math.ceil(words(one) / 4) * 4;
        encoder.copyBufferToBuffer(buffers.get(name)!, 0, read, at, bytes);
        at += bytes;
        return place;
      });
      gpu.device.queue.submit([encoder.finish()]);
      await read.mapAsync(MAP_READ);
      const bytes = read.getMappedRange();
      const results = places.map(({ name, at, count }) => [name, new Float32Array(bytes.slice(at, at + 4 * count))] as const);
      read.unmap();
      schedule.dispose();
      return Object.fromEntries(results) as Record<Name, Float32Array>;
    });
  } finally {
    gpu.release(read, ...buffers.values());
  }
}
