import { describe, expect, it } from "vitest";
import type { Plan, Word } from "../../src/gpu/dispatch.js";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import {
  addRowsParameters,
  geluParameters,
  planAddRows,
  planGelu,
  planSumRows,
  planSumSlices,
  planTranspose,
  type Source,
  sumRowsParameters,
  sumSlicesParameters,
  transposeParameters,
} from "../../src/ops/rows.js";
import { assertClose } from "../support/compare.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { Random } from "../support/random.js";
import { asFloats, type Region, runOp, sentinels, surrounded } from "../support/run-op.js";
import { declaredWorkgroupBytes, parameterWords, wholeText } from "../support/wgsl.js";
import {
  type GeluCase,
  geluCases,
  SOURCES,
  type SumRowsCase,
  type SumSlicesCase,
  sumRowsCases,
  sumSlicesCases,
  type TransposeCase,
  transposeCases,
} from "./backward-cases.js";
import { geluDerivative } from "./backward-oracles.js";
import { fill, inWords, kept, numbers, packed, roundedSlack } from "./backward-support.js";
import { gelu } from "./oracles.js";

const gpu = gpuOfThisFile();

const titled = <T extends { name: string }>(cases: readonly T[]): [string, T][] => cases.map((one) => [one.name, one]);

/** What holds of every plan here: the block has the kernel's words, and the memory that the plan names is what it declares. */
function expectHonest({ variant, workgroupBytes }: Plan, parameters: readonly Word[], { elementBytes }: Profile) {
  const text = wholeText(variant);
  expect(parameters.length).toBe(parameterWords(text));
  expect(workgroupBytes).toBe(declaredWorkgroupBytes(text, variant.overrides, elementBytes));
}

const withGrid = (profile: Profile, side: number): Profile => ({
  ...profile,
  limits: { ...profile.limits, maxComputeWorkgroupsPerDimension: side },
});

async function checkTranspose(one: TransposeCase, source: Source, on: Gpu, profile: Profile) {
  const { rows, padding = 0, cols, inputOffset = 0, inputGap = 0, outputOffset = 0 } = one;
  const paddedRows = Math.ceil(rows / 4) * 4 + padding;
  const input = kept(profile, new Random(one.name).normals(rows * cols), source);
  const inputStride = cols + inputGap;
  const shape = { rows, paddedRows, cols, source };
  const plan = planTranspose(shape, profile);
  const parameters = transposeParameters(shape, { inputOffset, inputStride, outputOffset });
  expectHonest(plan, parameters, profile);
  const region = inWords(profile, { offset: outputOffset, stride: paddedRows, rows: cols, cols: paddedRows });
  const words = await runOp(on, {
    plan,
    parameters,
    inputs: [packed(profile, surrounded(input, { offset: inputOffset, stride: inputStride, rows, cols }), source)],
    before: sentinels(region),
    region,
  });
  const expected = Float32Array.from({ length: cols * paddedRows }, (_, at) => {
    const row = at % paddedRows;
    return row < rows ? input[row * cols + Math.floor(at / paddedRows)]! : 0;
  });
  // Nothing is computed: the result is the input, rounded once where it becomes halves.
  expect(numbers(profile, words)).toEqual(kept(profile, expected));
}

async function checkSumRows(one: SumRowsCase, source: Source, on: Gpu, profile: Profile) {
  const { rows, cols, inputOffset = 0, inputGap = 0, outputOffset = 0, scale = 1, accumulate = false } = one;
  const random = new Random(one.name);
  const input = kept(profile, random.normals(rows * cols, one.value === undefined ? 1 : 0, one.value ?? 0), source);
  const old = random.normals(rows, 10);
  const inputStride = cols + inputGap;
  const shape = { rows, cols, source };
  const plan = planSumRows(shape, profile);
  const parameters = sumRowsParameters(shape, {
    inputOffset,
    inputStride,
    outputOffset,
    ...(accumulate ? { accumulate } : {}),
    ...(scale !== 1 ? { scale } : {}),
  });
  expectHonest(plan, parameters, profile);
  const region = { offset: outputOffset, stride: rows, rows: 1, cols: rows };
  const before = sentinels(region);
  if (accumulate) fill(before, region, old);
  const words = await runOp(on, {
    plan,
    parameters,
    inputs: [packed(profile, surrounded(input, { offset: inputOffset, stride: inputStride, rows, cols }), source)],
    before,
    region,
  });
  const reference = Float64Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let j = 0; j < cols; j++) sum += input[row * cols + j]!;
    return scale * sum + (accumulate ? old[row]! : 0);
  });
  assertClose(asFloats(words), reference, `sum of rows, ${one.name}`);
}

async function checkSumSlices(one: SumSlicesCase, profile: Profile) {
  const { slices, count, gap = 0, inputOffset = 0, outputOffset = 0, scale = 1, accumulate = false } = one;
  const random = new Random(one.name);
  const input = random.normals(slices * count);
  const old = random.normals(count);
  const sliceStride = count + gap;
  const plan = planSumSlices(one, profile);
  const parameters = sumSlicesParameters(one, {
    inputOffset,
    sliceStride,
    outputOffset,
    ...(accumulate ? { accumulate } : {}),
    ...(scale !== 1 ? { scale } : {}),
  });
  expectHonest(plan, parameters, profile);
  const region = { offset: outputOffset, stride: count, rows: 1, cols: count };
  const before = sentinels(region);
  if (accumulate) fill(before, region, old);
  const words = await runOp(gpu(), {
    plan,
    parameters,
    inputs: [surrounded(input, { offset: inputOffset, stride: sliceStride, rows: slices, cols: count })],
    before,
    region,
  });
  const reference = Float64Array.from({ length: count }, (_, i) => {
    let sum = 0;
    for (let z = 0; z < slices; z++) sum += input[z * count + i]!;
    return scale * sum + (accumulate ? old[i]! : 0);
  });
  assertClose(asFloats(words), reference, `sum of slices, ${one.name}`);
}

async function checkGelu(one: GeluCase, derivative: boolean, on: Gpu, profile: Profile) {
  const { rows, cols, inputOffset = 0, outputOffset = 0 } = one;
  const count = rows * cols;
  const input = kept(profile, new Random(one.name).normals(count, 3));
  const shape = { rows, cols, derivative };
  const plan = planGelu(shape, profile);
  const parameters = geluParameters(shape, { inputOffset, outputOffset });
  expectHonest(plan, parameters, profile);
  const region: Region = { offset: outputOffset, stride: count, rows: 1, cols: count };
  const words = await runOp(on, {
    plan,
    parameters,
    inputs: [packed(profile, surrounded(input, { offset: inputOffset, stride: count, rows: 1, cols: count }))],
    before: sentinels(inWords(profile, region)),
    region: inWords(profile, region),
  });
  const reference = Float64Array.from(input, derivative ? geluDerivative : gelu);
  assertClose(numbers(profile, words), reference, `${derivative ? "GELU's derivative" : "GELU"}, ${one.name}`, {
    slack: roundedSlack(profile, reference),
  });
}

describe.each(SOURCES)("transpose of %s", (source) => {
  it.each(titled(transposeCases))("%s", (_, one) => checkTranspose(one, source, gpu(), gpu().profile));

  it.each(titled(transposeCases))("to halves: %s", async (_, one) => {
    const half = inTier(gpu(), "f16");
    await checkTranspose(one, source, half, half.profile);
  });

  it("spreads more blocks than one side of the grid holds", () =>
    checkTranspose({ name: "a narrow grid", rows: 165, cols: 132 }, source, gpu(), withGrid(gpu().profile, 7)));
});

it("transpose refuses rows that do not fit", () => {
  for (const [rows, paddedRows, cols] of [
    [5, 4, 4],
    [5, 6, 4],
    [4, 4, 6],
  ] as const) {
    expect(() => planTranspose({ rows, paddedRows, cols, source: "f32" }, gpu().profile)).toThrow(RangeError);
  }
});

describe.each(FAMILIES)("sums of rows, workgroups for %s", (_, of) => {
  it.each(titled(sumRowsCases))("%s", (_, one) => checkSumRows(one, "f32", gpu(), of(gpu().profile)));

  it.each(titled(sumRowsCases))("of halves: %s", async (_, one) => {
    const half = inTier(gpu(), "f16");
    await checkSumRows(one, "elem", half, of(half.profile));
  });

  it("of elements that have 32 bits, over a narrow grid", () =>
    checkSumRows({ name: "a narrow grid", rows: 101, cols: 20 }, "elem", gpu(), withGrid(of(gpu().profile), 5)));
});

describe("sums of slices", () => {
  it.each(titled(sumSlicesCases))("%s", (_, one) => checkSumSlices(one, gpu().profile));

  it("spreads over a narrow grid", () =>
    checkSumSlices({ name: "a narrow grid", slices: 2, count: 4 * 64 * 7 + 4 }, withGrid(gpu().profile, 3)));
});

describe("one region added to another", () => {
  it.each([
    ["one vector", 4, 0, 4],
    ["forwards, with a gap", 300, 12, 400],
    ["backwards, over a narrow grid", 4 * 64 * 7 + 4, 2048, 16],
  ])("%s", async (_, count, from, to) => {
    const values = new Random(count).normals(2 * count);
    const region = { offset: to, stride: count, rows: 1, cols: count };
    const source = { ...region, offset: from };
    const before = sentinels(region, source);
    fill(before, source, values.subarray(0, count));
    fill(before, region, values.subarray(count));
    const profile = withGrid(gpu().profile, 3);
    const plan = planAddRows(count, profile);
    const parameters = addRowsParameters(count, { from, to });
    expectHonest(plan, parameters, profile);
    const words = await runOp(gpu(), { plan, parameters, inputs: [], before, region });
    expect(asFloats(words)).toEqual(Float32Array.from({ length: count }, (_, i) => values[i]! + values[count + i]!));
  });

  it("refuses regions that overlap", () => {
    expect(() => addRowsParameters(8, { from: 0, to: 4 })).toThrow(RangeError);
    expect(() => addRowsParameters(8, { from: 8, to: 4 })).toThrow(RangeError);
    expect(addRowsParameters(8, { from: 8, to: 0 })).toHaveLength(3);
  });
});

describe.each([
  ["GELU", false],
  ["GELU's derivative", true],
])("%s", (_, derivative) => {
  it.each(titled(geluCases))("%s", (_, one) => checkGelu(one, derivative, gpu(), gpu().profile));

  it.each(titled(geluCases))("in halves: %s", async (_, one) => {
    const half = inTier(gpu(), "f16");
    await checkGelu(one, derivative, half, half.profile);
  });

  it("spreads over a narrow grid", () =>
    checkGelu({ name: "a narrow grid", rows: 7, cols: 260 }, derivative, gpu(), withGrid(gpu().profile, 3)));
});
