import { describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { type Variant, variantLabel } from "../../src/gpu/kernel.js";
import { PipelineCache } from "../../src/gpu/pipelines.js";

const variant: Variant = {
  kernel: "linear",
  entryPoint: "tiled",
  constants: { ROWS: 8, DEPTH4: 4 },
  result: "elem",
  overrides: { WIDTH: 16, HEIGHT: 16 },
  parts: ["linear_parameters", "linear_rows", "gelu", "linear_epilogue"],
};

const FLOATS = { elementBytes: 4, matrix: undefined } as const;

/** What a device is asked to make. */
interface Made {
  modules: number;
  pipelines: number;
  layouts: number;
  /** Types of the bindings of every layout. */
  bindings: string[][];
}

/** A device that counts what it is asked to make. */
function countingDevice(messages: { type: string; lineNum: number; linePos: number; message: string }[] = []) {
  const made: Made = { modules: 0, pipelines: 0, layouts: 0, bindings: [] };
  const device = {
    createBindGroupLayout: ({ entries }: { entries: { buffer: { type: string } }[] }) => {
      made.bindings.push(entries.map(({ buffer }) => buffer.type));
      return { layout: ++made.layouts };
    },
    createPipelineLayout: () => ({}),
    createShaderModule: () => {
      made.modules++;
      return { getCompilationInfo: async () => ({ messages }) };
    },
    createComputePipelineAsync: async () => ({ pipeline: ++made.pipelines }),
  };
  return { device: device as unknown as GPUDevice, made };
}

describe("the cache", () => {
  it("compiles a variant once, also when it is asked for again before it is done", async () => {
    const { device, made } = countingDevice();
    const cache = new PipelineCache(device, FLOATS);
    const [first, second] = await Promise.all([cache.get(variant), cache.get({ ...variant })]);
    const third = await cache.get({ ...variant, constants: { ...variant.constants } });
    expect(second).toBe(first);
    expect(third).toBe(first);
    expect(made).toMatchObject({ modules: 1, pipelines: 1 });
  });

  it("compiles other variants on their own, and shares layouts of equal bindings", async () => {
    const { device, made } = countingDevice();
    const cache = new PipelineCache(device, FLOATS);
    const before = made.layouts;
    const first = await cache.get(variant);
    const second = await cache.get({ ...variant, overrides: { WIDTH: 8, HEIGHT: 16 } });
    expect(second.pipeline).not.toBe(first.pipeline);
    expect(second.storageLayout).toBe(first.storageLayout);
    expect(made.layouts - before).toBe(1);
  });

  it("binds what the kernel's own WGSL declares, in its order", async () => {
    const { device, made } = countingDevice();
    await new PipelineCache(device, FLOATS).get(variant);
    const [read, write] = ["read-only-storage", "storage"];
    expect(made.bindings).toEqual([["uniform"], [read, read, read, read, write]]);
  });

  it("takes warnings for what they are", async () => {
    const { device } = countingDevice([{ type: "warning", lineNum: 1, linePos: 1, message: "careful" }]);
    await expect(new PipelineCache(device, FLOATS).get(variant)).resolves.toMatchObject({
      label: variantLabel(variant, FLOATS),
    });
  });

  it("lists every error of a kernel", async () => {
    const errors = ["first mistake", "second mistake"].map((message) => ({ type: "error", lineNum: 9, linePos: 3, message }));
    const failure = new PipelineCache(countingDevice(errors).device, FLOATS).get(variant);
    await expect(failure).rejects.toBeInstanceOf(StylizingError);
    await expect(failure).rejects.toMatchObject({
      code: "GPU",
      message: expect.stringMatching(/linear\.tiled[\s\S]*first mistake[\s\S]*second mistake/),
    });
  });
});
