import { promisify } from "node:util";
import { expect, it } from "vitest";
import { openGpu } from "../../src/gpu/gpu.js";
import { gpuOfThisFile } from "../support/gpu.js";

const original = globalThis.setImmediate;
const gpu = gpuOfThisFile();

it("leaves everybody else's setImmediate as it was", async () => {
  expect(gpu().profile.software).toBe(true);
  expect(globalThis.setImmediate).not.toBe(original);
  // A chain of calls, each from the one before, bound ones too: a thousand timers of a millisecond would take a second.
  const begun = performance.now();
  let turns = 0;
  await new Promise<void>((resolve) => {
    const next = (turn: number) => {
      turns = turn;
      if (turn === 1000) resolve();
      else if (turn % 2) setImmediate(next, turn + 1);
      else setImmediate(next.bind(undefined, turn + 1));
    };
    setImmediate(next, 1);
  });
  expect(turns).toBe(1000);
  expect(performance.now() - begun).toBeLessThan(500);
  expect(await promisify(setImmediate)("value")).toBe("value");
  const never = setImmediate(() => expect.fail("was cleared"));
  clearImmediate(never);
  await promisify(setImmediate)();
});

it("asks for finished work about once a millisecond, and is put in place once", async () => {
  const polling = globalThis.setImmediate;
  (await openGpu({ adapter: "software", precision: "f32" })).dispose();
  expect(globalThis.setImmediate).toBe(polling);
  // A map of a buffer behind work that takes a while: what Dawn calls is counted on its way to the event loop.
  const { device } = gpu();
  let asked = 0;
  globalThis.setImmediate = ((callback: (...args: unknown[]) => void, ...args: unknown[]) => {
    asked++;
    return polling(callback, ...args);
  }) as typeof setImmediate;
  try {
    const module = device.createShaderModule({
      code: `@group(0) @binding(0) var<storage, read_write> x: array<f32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
          for (var i = 0u; i < 20000u; i++) { x[id.x] = x[id.x] * 0.999 + 1.0; }
        }`,
    });
    const pipeline = device.createComputePipeline({ layout: "auto", compute: { module } });
    const buffer = device.createBuffer({ size: 4 * 8192, usage: 0x80 });
    const group = device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer } }],
    });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(128);
    pass.end();
    device.queue.submit([encoder.finish()]);
    const begun = performance.now();
    await device.queue.onSubmittedWorkDone();
    const milliseconds = performance.now() - begun;
    expect(milliseconds).toBeGreaterThan(20);
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThan(3 * milliseconds + 10);
    buffer.destroy();
  } finally {
    globalThis.setImmediate = polling;
  }
});
