import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { composeKernel, interfaceOf, kernelSource, type TextProfile, type Variant, variantLabel } from "../../src/gpu/kernel.js";

const variant: Variant = {
  kernel: "linear",
  entryPoint: "tiled",
  constants: { ROWS: 8, DEPTH4: 4 },
  result: "elem",
  overrides: { WIDTH: 16, HEIGHT: 16 },
};

const FLOATS = { elementBytes: 4, matrix: undefined } as const;
const FLOAT16 = { elementBytes: 2, matrix: undefined } as const;
const UNITS = { elementBytes: 2, matrix: "units" } as const;
const EMULATION = { elementBytes: 2, matrix: "emulation" } as const;

const folder = mkdtempSync(join(tmpdir(), "stylizing-kernels-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let count = 0;
/** A kernel of this test's own, by the name that stands for its file. */
function kernelOf(text: string): string {
  const file = join(folder, `kernel${count++}`);
  writeFileSync(`${file}.wgsl`, text);
  return relative(fileURLToPath(new URL("../../kernels", import.meta.url)), file).replaceAll("\\", "/");
}

const textOf = (one: Variant, profile: TextProfile, kernel?: string) => composeKernel(one, profile, kernel).code;

describe("a kernel's whole text", () => {
  it("names the element types of the tier and what overrides cannot set", () => {
    const text = textOf(variant, FLOATS);
    expect(text).toContain("alias elem4 = vec4f;");
    expect(text).toContain("alias result4 = vec4f;");
    expect(text).toContain("const ROWS = 8u; const DEPTH4 = 4u;");
    expect(text.endsWith(kernelSource("linear"))).toBe(true);
  });

  it("puts directives first, each once, since WGSL takes them nowhere else", () => {
    const quad = textOf({ ...variant, kernel: "linear_quad" }, FLOAT16);
    expect(quad.split("\n")[0]).toBe("enable subgroups;");
    expect(quad.match(/^enable/gm)).toHaveLength(1);
    const lines = textOf({ ...variant, matrix: true }, UNITS, "enable subgroups;\nfn nothing() {}").split("\n");
    expect(lines.slice(0, 3).sort()).toEqual([
      "enable chromium_experimental_subgroup_matrix;",
      "enable f16;",
      "enable subgroups;",
    ]);
    expect(lines[3]).toMatch(/^diagnostic\(off, /);
    expect(lines.slice(4).filter((line) => /^(enable|requires|diagnostic)/.test(line))).toEqual([]);
  });

  it("keeps every line of the kernel at its number behind what is in front", () => {
    for (const kernel of ["linear", "linear_quad", "layer_norm"]) {
      const { code, front } = composeKernel({ ...variant, kernel }, FLOAT16);
      const own = kernelSource(kernel).split("\n");
      const whole = code.split("\n").slice(front);
      expect(whole).toHaveLength(own.length);
      for (const [at, line] of own.entries()) if (!line.startsWith("enable")) expect(whole[at]).toBe(line);
    }
  });

  it("asks for no feature where float16 is only stored, and for none where matrix units are emulated", () => {
    for (const text of [textOf(variant, FLOAT16), textOf({ ...variant, matrix: true }, EMULATION)]) {
      expect(text.replace(/^\/\/.*/gm, "")).not.toMatch(/enable|f16[,;>]/);
      expect(text).toContain("unpack2x16float");
    }
  });

  it("puts in front what belongs to a kernel, and either the units or their emulation", () => {
    const text = textOf({ ...variant, parts: ["gelu"], matrix: true }, UNITS);
    expect(text).toMatch(/fn gelu\(/);
    expect(text).toMatch(/subgroupMatrixMultiplyAccumulate/);
    expect(textOf({ ...variant, matrix: true }, EMULATION)).not.toMatch(/subgroupMatrixM/);
  });

  it("keeps results for the residual stream in 32 bits where elements have 16", () => {
    const text = textOf({ ...variant, result: "f32" }, FLOAT16);
    expect(text).toContain("alias elem4 = vec2u;");
    expect(text).toContain("alias result4 = vec4f;");
  });

  it("may be another text than the file's", () => {
    const text = textOf(variant, FLOATS, "fn mine() {}");
    expect(text.endsWith("fn mine() {}")).toBe(true);
    expect(text).not.toContain("@compute");
  });
});

describe("labels", () => {
  const others: [string, Variant, TextProfile][] = [
    ["kernel", { ...variant, kernel: "linear_quad" }, FLOATS],
    ["entry point", { ...variant, entryPoint: "other" }, FLOATS],
    ["constant", { ...variant, constants: { ROWS: 4, DEPTH4: 4 } }, FLOATS],
    ["override", { ...variant, overrides: { WIDTH: 8, HEIGHT: 16 } }, FLOATS],
    ["part", { ...variant, parts: ["gelu"] }, FLOATS],
    ["element", variant, FLOAT16],
    ["result", { ...variant, result: "f32" }, FLOAT16],
  ];

  it.each(others)("tell variants apart by %s", (_, other, profile) => {
    expect(variantLabel(other, profile)).not.toBe(variantLabel(variant, FLOATS));
    expect(new Set(others.map(([, one, profile]) => variantLabel(one, profile))).size).toBe(others.length);
  });
});

describe("what a kernel asks of its caller", () => {
  it("is read from its WGSL: bindings in order, and parameters at their place in words", () => {
    const kernel = kernelOf(`
struct Parameters {
  /// A comment, with: a colon,
  rows: u32,
  scale: f32,
  mean: vec4f,
  last: u32,
  deviation: vec4f,
}
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;
`);
    expect(interfaceOf({ kernel })).toEqual({
      bindings: [
        { names: ["input"], access: "read" },
        { names: ["output"], access: "write" },
      ],
      fields: [
        { name: "rows", type: "u32", word: 0 },
        { name: "scale", type: "f32", word: 1 },
        // A vector begins at a multiple of 16 bytes.
        { name: "mean", type: "vec4f", word: 4 },
        { name: "last", type: "u32", word: 8 },
        { name: "deviation", type: "vec4f", word: 12 },
      ],
    });
  });

  it("has all names of a binding that entry points read as different types", () => {
    expect(interfaceOf({ kernel: "transpose" }).bindings[0]).toEqual({ names: ["elements", "floats"], access: "read" });
  });

  it("is what its parts declare as well", () => {
    const own = interfaceOf({ kernel: "attention", parts: ["attention_parameters"] });
    expect(own.bindings.map(({ names }) => names.join())).toEqual(["query", "context", "sequences", "output"]);
    expect(own.fields.map(({ name }) => name)).toContain("first_sequence");
  });

  it("is nothing but buffers where there are no parameters", () => {
    const kernel = kernelOf("@group(0) @binding(0) var<storage, read> input: array<f32>;\n");
    expect(interfaceOf({ kernel })).toEqual({ bindings: [{ names: ["input"], access: "read" }], fields: [] });
  });

  it.each([
    ["whose binding is missing", "@group(0) @binding(1) var<storage, read> input: array<f32>;\n", /has no binding 0/],
    ["whose part with a binding is missing", kernelSource("attention"), /has no binding 2/],
    ["with a parameter of another type", "struct Parameters {\n  size: vec2u,\n}\n", /parameter size is a vec2u/],
  ])("a kernel %s is refused by name", (_, text, message) => {
    const kernel = kernelOf(text);
    expect(() => interfaceOf({ kernel })).toThrow(message);
    expect(() => interfaceOf({ kernel })).toThrow(kernel);
  });
});
