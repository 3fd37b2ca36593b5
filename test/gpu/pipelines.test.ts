import { describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { PipelineCache, prologue, type TextProfile, type Variant, variantLabel } from "../../src/gpu/pipelines.js";

const variant: Variant = {
  kernel: "linear",
  entryPoint: "tiled",
  constants: { ROWS: 8, DEPTH4: 4 },
  result: "elem",
  overrides: { WIDTH: 16, HEIGHT: 16 },
  bindings: ["read", "read", "read", "read", "write"],
};

const FLOATS = { elementBytes: 4, matrix: undefined } as const;
const HALVES = { elementBytes: 2, matrix: undefined } as const;
const UNITS = { elementBytes: 2, matrix: "units" } as const;
const STAND_IN = { elementBytes: 2, matrix: "stand-in" } as const;

describe("the prologue", () => {
  it("names the element types of the tier and what overrides cannot set", () => {
    const lines = prologue(variant, FLOATS).split("\n");
    expect(lines[0]).toContain("alias elem4 = vec4f;");
    expect(lines[1]).toContain("alias result4 = vec4f;");
    expect(lines.slice(2)).toEqual(["const ROWS = 8u; const DEPTH4 = 4u;"]);
  });

  it("puts directives first, since WGSL takes them nowhere else", () => {
    expect(prologue({ ...variant, subgroups: true }, HALVES).split("\n")[0]).toBe("enable subgroups;");
    const [enables, diagnostic] = prologue({ ...variant, matrix: true }, UNITS).split("\n");
    expect(enables).toBe("enable f16; enable subgroups; enable chromium_experimental_subgroup_matrix;");
    expect(diagnostic).toMatch(/^diagnostic\(off, /);
  });

  it("asks for no feature where halves are only stored, and for none where matrix units are stood in for", () => {
    for (const text of [prologue(variant, HALVES), prologue({ ...variant, matrix: true }, STAND_IN)]) {
      expect(text).not.toMatch(/enable|f16[,;>]/);
      expect(text).toContain("unpack2x16float");
    }
  });

  it("puts in front what belongs to a kernel, and either the units or their stand-in", () => {
    const text = prologue({ ...variant, parts: ["gelu"], matrix: true }, UNITS);
    expect(text).toMatch(/fn gelu\(/);
    expect(text).toMatch(/subgroupMatrixMultiplyAccumulate/);
    expect(prologue({ ...variant, matrix: true }, STAND_IN)).not.toMatch(/subgroupMatrixM/);
  });

  it("keeps results for the residual stream in 32 bits where elements have 16", () => {
    const text = prologue({ ...variant, result: "f32" }, HALVES);
    expect(text).toContain("alias elem4 = vec2u;");
    expect(text).toContain("alias result4 = vec4f;");
  });
});

describe("labels", () => {
  const others: [string, Variant, TextProfile][] = [
    ["kernel", { ...variant, kernel: "linear_quad" }, FLOATS],
    ["entry point", { ...variant, entryPoint: "other" }, FLOATS],
    ["constant", { ...variant, constants: { ROWS: 4, DEPTH4: 4 } }, FLOATS],
    ["override", { ...variant, overrides: { WIDTH: 8, HEIGHT: 16 } }, FLOATS],
    ["element", variant, HALVES],
    ["result", { ...variant, result: "f32" }, HALVES],
  ];

  it.each(others)("tell variants apart by %s", (_, other, profile) => {
    expect(variantLabel(other, profile)).not.toBe(variantLabel(variant, FLOATS));
    expect(new Set(others.map(([, one, profile]) => variantLabel(one, profile))).size).toBe(others.length);
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
