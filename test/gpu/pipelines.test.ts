import { describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { PipelineCache, prologue, type Variant, variantLabel } from "../../src/gpu/pipelines.js";

const variant: Variant = {
  kernel: "linear",
  entryPoint: "tiled",
  constants: { ROWS: 8, DEPTH4: 4 },
  result: "elem",
  overrides: { WIDTH: 16, HEIGHT: 16 },
  bindings: ["read", "read", "read", "read", "write"],
};

describe("the prologue", () => {
  it("names the element types of the tier and what overrides cannot set", () => {
    expect(prologue(variant, 4)).toBe(
      "alias elem = f32; alias elem4 = vec4<f32>; alias result = f32; alias result4 = vec4<f32>;\nconst ROWS = 8u; const DEPTH4 = 4u;",
    );
  });

  it("puts directives first, since WGSL takes them nowhere else", () => {
    expect(prologue({ ...variant, subgroups: true }, 2).split("\n")).toEqual([
      "enable f16;",
      "enable subgroups;",
      "alias elem = f16; alias elem4 = vec4<f16>; alias result = f16; alias result4 = vec4<f16>;",
      "const ROWS = 8u; const DEPTH4 = 4u;",
    ]);
  });

  it("keeps results for the residual stream in 32 bits where elements have 16", () => {
    expect(prologue({ ...variant, result: "f32" }, 2)).toContain(
      "alias elem = f16; alias elem4 = vec4<f16>; alias result = f32;",
    );
  });
});

describe("labels", () => {
  const others: [string, Variant, 2 | 4][] = [
    ["kernel", { ...variant, kernel: "linear_quad" }, 4],
    ["entry point", { ...variant, entryPoint: "other" }, 4],
    ["constant", { ...variant, constants: { ROWS: 4, DEPTH4: 4 } }, 4],
    ["override", { ...variant, overrides: { WIDTH: 8, HEIGHT: 16 } }, 4],
    ["element", variant, 2],
    ["result", { ...variant, result: "f32" }, 2],
  ];

  it.each(others)("tell variants apart by %s", (_, other, bytes) => {
    expect(variantLabel(other, bytes)).not.toBe(variantLabel(variant, 4));
    expect(new Set(others.map(([, one, size]) => variantLabel(one, size))).size).toBe(others.length);
  });
});

/** A device that counts what it is asked to make. */
function countingDevice(messages: { type: string; lineNum: number; linePos: number; message: string }[] = []) {
  const made = { modules: 0, pipelines: 0, layouts: 0 };
  const device = {
    createBindGroupLayout: () => ({ layout: ++made.layouts }),
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
    const cache = new PipelineCache(device, { elementBytes: 4 });
    const [first, second] = await Promise.all([cache.get(variant), cache.get({ ...variant })]);
    const third = await cache.get({ ...variant, constants: { ...variant.constants } });
    expect(second).toBe(first);
    expect(third).toBe(first);
    expect(made).toMatchObject({ modules: 1, pipelines: 1 });
  });

  it("compiles other variants on their own, and shares layouts of equal bindings", async () => {
    const { device, made } = countingDevice();
    const cache = new PipelineCache(device, { elementBytes: 4 });
    const before = made.layouts;
    const first = await cache.get(variant);
    const second = await cache.get({ ...variant, overrides: { WIDTH: 8, HEIGHT: 16 } });
    expect(second.pipeline).not.toBe(first.pipeline);
    expect(second.storageLayout).toBe(first.storageLayout);
    expect(made.layouts - before).toBe(1);
  });

  it("takes warnings for what they are", async () => {
    const { device } = countingDevice([{ type: "warning", lineNum: 1, linePos: 1, message: "careful" }]);
    await expect(new PipelineCache(device, { elementBytes: 4 }).get(variant)).resolves.toMatchObject({
      label: variantLabel(variant, 4),
    });
  });

  it("lists every error of a kernel", async () => {
    const errors = ["first mistake", "second mistake"].map((message) => ({ type: "error", lineNum: 9, linePos: 3, message }));
    const failure = new PipelineCache(countingDevice(errors).device, { elementBytes: 4 }).get(variant);
    await expect(failure).rejects.toBeInstanceOf(StylizingError);
    await expect(failure).rejects.toMatchObject({
      code: "GPU",
      message: expect.stringMatching(/linear\.tiled[\s\S]*first mistake[\s\S]*second mistake/),
    });
  });
});
