import { describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { pick } from "../../src/gpu/call.js";
import { BufferUsage } from "../../src/gpu/dawn.js";
import { adapterName, type Gpu, openGpu } from "../../src/gpu/gpu.js";
import { ProgramBuilder } from "../../src/gpu/program.js";
import { timeDispatches } from "../../src/gpu/timing.js";
import { quantize } from "../../src/ops/images.js";
import { gpuOfThisFile } from "../support/gpu.js";

const gpu = gpuOfThisFile();

/** The StylizingError that `work` ends in. */
async function failure(work: () => unknown): Promise<StylizingError> {
  const error = await (async () => work())().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(StylizingError);
  return error as StylizingError;
}

/** A device of the caller's own, on the same adapter. */
async function deviceOfAnother(): Promise<{ owner: Gpu; borrower: Gpu }> {
  const owner = await openGpu({ adapter: "software", precision: "f32" });
  return { owner, borrower: await openGpu({ device: owner.device }) };
}

async function read(source: GPUBuffer, bytes: number): Promise<Float32Array> {
  const target = gpu().buffer("read", bytes, BufferUsage.MAP_READ | BufferUsage.COPY_DST);
  const encoder = gpu().device.createCommandEncoder();
  encoder.copyBufferToBuffer(source, 0, target, 0, bytes);
  gpu().device.queue.submit([encoder.finish()]);
  await target.mapAsync(1);
  const numbers = new Float32Array(target.getMappedRange().slice(0, bytes));
  gpu().release(target);
  return numbers;
}

describe("buffers", () => {
  it("are counted, rounded up to whole vec4s, until they are released", () => {
    const before = gpu().allocatedBytes;
    const [one, two] = [gpu().storage("one", 1), gpu().storage("two", 100)];
    expect([one.size, two.size]).toEqual([16, 112]);
    expect(gpu().allocatedBytes - before).toBe(128);
    gpu().release(one);
    expect(gpu().allocatedBytes - before).toBe(112);
    gpu().release(one, two, two);
    expect(gpu().allocatedBytes).toBe(before);
  });

  it("of others are left alone by release", async () => {
    const foreign = gpu().device.createBuffer({ size: 16, usage: BufferUsage.COPY_DST | BufferUsage.COPY_SRC });
    const before = gpu().allocatedBytes;
    gpu().release(foreign);
    expect(gpu().allocatedBytes).toBe(before);
    await expect(
      gpu().checked("a write to it", () => gpu().device.queue.writeBuffer(foreign, 0, new Uint32Array(4))),
    ).resolves.toBeUndefined();
    foreign.destroy();
  });

  it("larger than the device allows are refused by name, with what was needed and what is allowed", async () => {
    const limit = gpu().profile.limits.maxBufferSize;
    const before = gpu().allocatedBytes;
    const error = await failure(() => gpu().storage("the weights", limit + 1));
    expect(error.code).toBe("GPU");
    expect(error.message).toContain('"the weights"');
    expect(error.message).toContain(String(limit));
    expect(error.fix.length).toBeGreaterThan(10);
    expect(gpu().allocatedBytes).toBe(before);
  });
});

describe("checked work", () => {
  const mistake = () => void gpu().device.createBuffer({ size: 16, usage: BufferUsage.MAP_READ | BufferUsage.MAP_WRITE });

  it("gives its result where the device agrees", async () => {
    expect(await gpu().checked("a sum", () => 7)).toBe(7);
    expect(await gpu().checked("a promise", async () => "later")).toBe("later");
  });

  it("is a GPU error with the device's own words where it refuses", async () => {
    const error = await failure(() => gpu().checked("a buffer of contradictions", mistake));
    expect(error.code).toBe("GPU");
    expect(error.message).toContain("a buffer of contradictions");
    expect(error.message).toMatch(/usage/i);
  });

  it("passes on what the work itself threw, and leaves no scope open", async () => {
    const own = new Error("mine");
    await expect(
      gpu().checked("it", () => {
        mistake();
        throw own;
      }),
    ).rejects.toBe(own);
    await expect(gpu().checked("the next", () => 1)).resolves.toBe(1);
  });

  it("blames the work that failed where two are under way", async () => {
    const later = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
    const [bad, good] = await Promise.allSettled([
      gpu().checked("the bad one", async () => {
        await later(20);
        mistake();
        await later(60);
      }),
      gpu().checked("the good one", () => later(40)),
    ]);
    expect(bad.status).toBe("rejected");
    expect(good.status).toBe("fulfilled");
  });
});

describe("watched work", () => {
  const mistake = () => void gpu().device.createBuffer({ size: 16, usage: BufferUsage.MAP_READ | BufferUsage.MAP_WRITE });

  it("gives its result at once and the device's words later, within checked work too", async () => {
    const { result, refused } = gpu().watched(() => 7);
    expect([result, await refused]).toEqual([7, undefined]);
    const words = await gpu().checked("the work around it", async () => gpu().watched(mistake).refused);
    expect(words).toMatch(/usage/i);
  });

  it("passes on what it threw, and leaves no scope open", async () => {
    const own = new Error("mine");
    expect(() =>
      gpu().watched(() => {
        mistake();
        throw own;
      }),
    ).toThrow(own);
    await expect(gpu().checked("the next", () => 1)).resolves.toBe(1);
  });
});

describe("dispatches", () => {
  const shape = { images: 1, channels: 1, imageSize: 4, format: "floats" as const };

  const quantizing = (image: GPUBuffer, pixels: GPUBuffer, mean = 0) =>
    quantize(gpu().profile, { ...shape, image, pixels, normalization: { mean: [mean], std: [1] } });

  async function quantizer() {
    const plan = pick(quantizing({} as GPUBuffer, {} as GPUBuffer).candidates);
    return { plan, pipeline: await gpu().pipelines.get(plan.variant) };
  }

  it("whose grid is larger than the device allows are refused before anything is bound", async () => {
    const { plan, pipeline } = await quantizer();
    const limit = gpu().profile.limits.maxComputeWorkgroupsPerDimension;
    const builder = new ProgramBuilder(gpu());
    const call = quantizing(gpu().storage("planes", 64), gpu().storage("pixels", 64));
    for (const workgroups of [
      [limit + 1, 1, 1],
      [1, limit + 1, 1],
      [1, 1, limit + 1],
    ] as const) {
      const error = await failure(() => builder.add(call, { ...plan, workgroups }, pipeline));
      expect(error.code).toBe("GPU");
      expect(error.message).toContain(String(limit));
      expect(error.message).toContain("quantize");
    }
    const program = builder.finish("nothing");
    expect(program.dispatches).toEqual([]);
    program.dispose();
  });

  it("of one program have parameters of their own, and can be encoded in part and again", async () => {
    const { plan, pipeline } = await quantizer();
    const planes = gpu().storage("planes", 64);
    gpu().device.queue.writeBuffer(
      planes,
      0,
      Float32Array.from({ length: 16 }, (_, at) => at / 64),
    );
    const outputs = [0, 0.25, 0.5].map((mean) => ({ mean, buffer: gpu().storage("pixels", 64) }));
    const builder = new ProgramBuilder(gpu());
    for (const { mean, buffer } of outputs) builder.add(quantizing(planes, buffer, mean), plan, pipeline);
    const program = builder.finish("three");
    const run = (from?: number, to?: number) => {
      const encoder = gpu().device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      program.encode(pass, from, to);
      pass.end();
      gpu().device.queue.submit([encoder.finish()]);
    };
    const firstOf = async () => Promise.all(outputs.map(async ({ buffer }) => (await read(buffer, 64))[1]));
    run(1, 2);
    expect(await firstOf()).toEqual([0, 0.25 + 1 / 64, 0]);
    run();
    expect(await firstOf()).toEqual([1 / 64, 0.25 + 1 / 64, 0.5 + 1 / 64]);
    const before = gpu().allocatedBytes;
    program.dispose();
    expect(gpu().allocatedBytes).toBe(before - 3 * 256);
    gpu().release(planes, ...outputs.map(({ buffer }) => buffer));
  });

  async function programOf(count: number) {
    const { plan, pipeline } = await quantizer();
    const [planes, pixels] = [gpu().storage("planes", 64), gpu().storage("pixels", 64)];
    const builder = new ProgramBuilder(gpu());
    for (let i = 0; i < count; i++) builder.add(quantizing(planes, pixels), plan, pipeline);
    const program = builder.finish("timed");
    const dispose = () => {
      program.dispose();
      gpu().release(planes, pixels);
    };
    return { program, dispose };
  }

  // More than fit a query set at once, in the second case.
  it.each([3, 2100])("are timed one by one: %d of them", async (count) => {
    const { program, dispose } = await programOf(count);
    const before = gpu().allocatedBytes;
    const times = (await timeDispatches(gpu(), program))!;
    expect(times.map(({ label }) => label)).toEqual(program.dispatches.map(({ label }) => label));
    expect(times.every(({ milliseconds }) => Number.isFinite(milliseconds) && milliseconds >= 0)).toBe(true);
    expect(Math.max(...times.map(({ milliseconds }) => milliseconds))).toBeLessThan(10_000);
    expect(times.some(({ milliseconds }) => milliseconds > 0)).toBe(true);
    expect(gpu().allocatedBytes).toBe(before);
    dispose();
  });

  it("are not timed where the device has no clock", async () => {
    const { program, dispose } = await programOf(1);
    const without = new Proxy(gpu(), {
      get: (target, key) => (key === "profile" ? { ...target.profile, timestamps: false } : Reflect.get(target, key, target)),
    });
    expect(await timeDispatches(without, program)).toBeUndefined();
    dispose();
  });
});

describe("a device", () => {
  it("of ours is destroyed once, however often it is disposed of", async () => {
    const ours = await openGpu({ adapter: "software", precision: "f32" });
    ours.storage("forgotten", 64);
    let told = "";
    ours.lost.then((reason) => {
      told = reason;
    });
    expect(ours.owned).toBe(true);
    ours.dispose();
    ours.dispose();
    ours[Symbol.dispose]();
    expect(ours.allocatedBytes).toBe(0);
    await ours.device.lost;
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(ours.isLost).toBe(true);
    expect(told).toBe(""); // nobody has to be told of what they asked for
  });

  it("that goes by itself is reported, with a reason", async () => {
    const { owner, borrower } = await deviceOfAnother();
    expect(borrower.isLost).toBe(false);
    owner.device.destroy();
    expect((await borrower.lost).length).toBeGreaterThan(0);
    expect(borrower.isLost).toBe(true);
    borrower.dispose();
    owner.dispose();
  });

  it("of the caller's is used as it is and never destroyed", async () => {
    const { owner, borrower } = await deviceOfAnother();
    const limit = (owner.device.limits as GPUSupportedLimits).maxBufferSize;
    expect(borrower.owned).toBe(false);
    expect(borrower.profile.limits.maxBufferSize).toBe(limit);
    borrower.storage("ours", 64);
    borrower.dispose();
    expect(borrower.allocatedBytes).toBe(0);
    await expect(owner.checked("work on it", () => owner.storage("still there", 16))).resolves.toBeDefined();
    expect(owner.isLost).toBe(false);
    owner.dispose();
  });

  it("without matrix units refuses them where they are asked for by name, and says why", async () => {
    if (!gpu().profile.software) return expect(gpu().profile.tier).toBe("f32");
    const error = await failure(() => openGpu({ device: gpu().device, precision: "matrix" }));
    expect(error.code).toBe("GPU");
    expect(error.message).toMatch(/a CPU has no matrix units/);
  });

  it("has a name that people recognise", () => {
    expect(adapterName(gpu().facts)).toMatch(/[a-z]{3}/i);
    if (gpu().profile.software) expect(adapterName(gpu().facts)).toMatch(/swiftshader|llvmpipe/i);
  });
});
