import { describe, expect, it } from "vitest";
import {
  bucket,
  buffersOf,
  type Call,
  type Candidate,
  call,
  type Plan,
  parameterBlock,
  pick,
  spread,
} from "../../src/gpu/call.js";
import type { Variant } from "../../src/gpu/kernel.js";
import { columnsOf, numbersOf, rowsOf, view } from "../../src/gpu/view.js";

const variantOf = (kernel: string, parts?: string[]): Variant => ({
  kernel,
  entryPoint: "main",
  constants: {},
  result: "f32",
  overrides: {},
  ...(parts ? { parts } : {}),
});

/** Buffers that are never bound. */
const [one, two, three] = [{}, {}, {}] as GPUBuffer[] as [GPUBuffer, GPUBuffer, GPUBuffer];

/** A block's words as numbers, where `floats` says which of them are f32. */
const words = (block: ArrayBuffer, floats: readonly number[] = []): number[] =>
  Array.from(new Uint32Array(block), (word, at) => (floats.includes(at) ? new Float32Array(block)[at]! : word));

describe("the buffers of a call", () => {
  const operands = { input: view(one, "f32", 1, 4), upstream: two, gradient: view(three, "f32", 1, 4) };

  it("stand in the order of the kernel's bindings, be they given as views or as they are", () => {
    expect(buffersOf(variantOf("layer_norm_backward"), { operands })).toEqual([one, two, three]);
    const { gradient, upstream, input } = operands;
    const buffers = buffersOf(variantOf("layer_norm_backward"), { operands: { gradient, upstream, input } });
    expect(buffers.map((buffer) => [one, two, three].indexOf(buffer))).toEqual([0, 1, 2]);
  });

  it("are refused by name where one is missing", () => {
    const { gradient, input } = operands;
    const failing = () => buffersOf(variantOf("layer_norm_backward"), { operands: { gradient, input } });
    expect(failing).toThrow(RangeError);
    expect(failing).toThrow(/layer_norm_backward: 0 operands for upstream/);
  });

  it("go by either name of a binding that has two, and are refused by both", () => {
    const output = two;
    for (const name of ["elements", "floats"])
      expect(buffersOf(variantOf("transpose"), { operands: { [name]: one, output } })).toEqual([one, output]);
    const both = () => buffersOf(variantOf("transpose"), { operands: { elements: one, floats: one, output } });
    expect(both).toThrow(/2 operands for elements or floats/);
  });

  it("may be fewer than the operands, some of which only say where they lie", () => {
    const [query, key] = [view(one, "elem", 1, 4), view(two, "elem", 1, 4)];
    const all = { query, context: key, key, value: key, sequences: three, output: one };
    expect(buffersOf(variantOf("attention", ["attention_parameters"]), { operands: all })).toEqual([one, two, three, one]);
  });
});

describe("the parameter block of a call", () => {
  const sums = variantOf("sum_slices");
  const values = { count: 96, slices: 3, slice_stride: 100, accumulate: true, scale: 0.25 };
  const operands = { input: numbersOf(one, 300, 12), output: numbersOf(two, 96, 20) };

  it("has values by their own names and in vectors of four, and offsets of its views", () => {
    // count4, slices, slice_stride4, input_offset4, output_offset4, accumulate, scale
    expect(words(parameterBlock(sums, { operands, values }, 32), [6])).toEqual([24, 3, 25, 3, 5, 1, 0.25, 0]);
  });

  it("takes offset and stride from rows and columns of a matrix", () => {
    const x = columnsOf(rowsOf(view(one, "f32", 10, 16, { first: 32, stride: 24 }), 2), 8, 4);
    const operands = { elements: one, input: x, output: numbersOf(two, 10, 7) };
    const values = { rows: x.rows, cols: x.cols, accumulate: false, scale: 1 };
    // rows, cols4, input_offset4, input_stride4, output_offset, accumulate, scale
    expect(words(parameterBlock(variantOf("sum_rows"), { operands, values }, 28), [6])).toEqual([
      8,
      1,
      (32 + 2 * 24 + 8) / 4,
      6,
      7,
      0,
      1,
    ]);
  });

  it("puts vectors at multiples of 16 bytes, and zeros into padding", () => {
    const values = { images: 2, channels: 3, image_size: 32, mean: [0.5, 0.25, 1, 2], deviation: [1, 2, 3, 4] };
    const block = parameterBlock(variantOf("quantize"), { operands: {}, values }, 48);
    const floats = [4, 5, 6, 7, 8, 9, 10, 11];
    expect(words(block, floats)).toEqual([2, 3, 32, 0, 0.5, 0.25, 1, 2, 1, 2, 3, 4]);
  });

  it("is refused where a number is given for a vector", () => {
    const values = { images: 2, channels: 3, image_size: 32, mean: 0.5, deviation: [1, 2, 3, 4] };
    const failing = () => parameterBlock(variantOf("quantize"), { operands: {}, values }, 48);
    expect(failing).toThrow(/quantize: mean is 0.5, and no vec4f/);
  });

  it("is as long as was asked for, with zeros behind", () => {
    const block = parameterBlock(sums, { operands, values }, 256);
    expect(block.byteLength).toBe(256);
    expect(words(block).slice(7)).toEqual(new Array(57).fill(0));
  });

  it.each([
    ["a value is missing", { values: { ...values, slices: undefined } }, /nothing says what slices is/],
    ["a value is given that no parameter takes", { values: { ...values, rows: 5 } }, /sum_slices has no parameter rows/],
    ["a view is missing", { operands: { output: operands.output } }, /nothing says what input_offset4 is/],
    ["a buffer stands where a view says the place", { operands: { ...operands, input: one } }, /what input_offset4 is/],
    ["a value is no multiple of 4 where vectors are counted", { values: { ...values, count: 97 } }, /count4 is 24.25/],
    ["an offset is none", { operands: { ...operands, input: numbersOf(one, 300, 6) } }, /input_offset4 is 1.5/],
    ["a count is negative", { values: { ...values, slices: -1 } }, /slices is -1/],
    ["a count is a fraction", { values: { ...values, slices: 1.5 } }, /slices is 1.5/],
    ["a count is no number", { values: { ...values, slices: Number.NaN } }, /slices is NaN/],
    ["a vector is given for a number", { values: { ...values, scale: [1, 2, 3, 4] } }, /scale is 1,2,3,4, and no f32/],
  ])("is refused where %s", (_, changes, message) => {
    const changed = { operands, values, ...changes } as Pick<Call, "operands" | "values">;
    const given = Object.fromEntries(Object.entries(changed.values).filter(([, value]) => value !== undefined));
    const failing = () => parameterBlock(sums, { ...changed, values: given }, 64);
    expect(failing).toThrow(RangeError);
    expect(failing).toThrow(message);
  });

  it("lets f32 parameters be fractions and negative", () => {
    const block = parameterBlock(sums, { operands, values: { ...values, scale: -1e-3 } }, 32);
    expect(new Float32Array(block)[6]).toBe(Math.fround(-1e-3));
  });
});

const plan = (kernel: string): Plan => ({ variant: variantOf(kernel), workgroups: [1, 1, 1], workgroupBytes: 0 });

describe("candidates", () => {
  const candidates: Candidate[] = ["first", "second"].map((name) => ({ name, plan: plan(name) }));

  it("are picked by name, and the first where there is none of that name", () => {
    expect(pick(candidates)).toBe(candidates[0]!.plan);
    expect(pick(candidates, "second")).toBe(candidates[1]!.plan);
    expect(pick(candidates, "of an older version")).toBe(candidates[0]!.plan);
  });

  it("of an op with one plan are that one", () => {
    const only = plan("only");
    const made = call(only, { input: one }, { rows: 1 });
    expect(made.candidates.map(({ plan }) => plan)).toEqual([only]);
    expect(made).toMatchObject({ operands: { input: one }, values: { rows: 1 }, flops: 0 });
    expect(made.bands).toBeUndefined();
  });
});

it("counts are known by the power of two above them", () => {
  expect([1, 2, 3, 4, 5, 1000].map(bucket)).toEqual([1, 2, 4, 4, 8, 1024]);
});

it("workgroups spread over x and y once they are too many for one side", () => {
  expect(spread(7)).toEqual([7, 1, 1]);
  expect(spread(7, 3)).toEqual([3, 3, 1]);
});
