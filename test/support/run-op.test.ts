import { describe, expect, it } from "vitest";
import { addRowsOp } from "../ops/add-rows.case.js";
import { linearOp } from "../ops/linear.case.js";
import { transposeOp } from "../ops/transpose.case.js";
import { gpuOfThisFile } from "./gpu.js";
import { Contents, flat, inUnits, type Output, type Setup, sentinels, surrounded } from "./op.js";
import { check, runCalls, runOp } from "./run-op.js";

// What holds every op has to be held itself.
const gpu = gpuOfThisFile();

const gemm = (): Setup =>
  linearOp.setup({ name: "a GEMM", rows: 5, depth: 8, cols: 12, epilogue: "none", outputOffset: 4 }, gpu().profile);

const withOutput = (setup: Setup, change: (output: Output) => Partial<Output>): Setup => {
  const [output] = setup.outputs as [Output];
  return { ...setup, outputs: [{ ...output, ...change(output) }] };
};

describe("an op under test", () => {
  it("is refused where it writes before, behind or beside what it may", async () => {
    await expect(check(gpu(), gemm(), "a GEMM")).resolves.toBeUndefined();
    const changes: [RegExp, (output: Output) => Partial<Output>][] = [
      [/before the first row/, ({ region }) => ({ region: { ...region, offset: region.offset + 12, rows: 4 } })],
      [/behind the last row/, ({ region }) => ({ region: { ...region, rows: 4 } })],
      [/behind column 8 of row 0/, ({ region }) => ({ region: { ...region, cols: 8 } })],
      [/wrote outside/, () => ({ stays: (at) => at === 17 })],
    ];
    for (const [message, change] of changes) await expect(runOp(gpu(), withOutput(gemm(), change))).rejects.toThrow(message);
  });

  it("is refused where it leaves an output alone", async () => {
    const setup = gemm();
    const buffer = setup.contents.add(() => sentinels(flat(8)));
    const untouched: Output = { buffer, kind: "f32", region: flat(8) };
    await expect(runOp(gpu(), { ...setup, outputs: [...setup.outputs, untouched] })).rejects.toThrow(/wrote nothing/);
  });

  it("is refused where one number of many is off", async () => {
    const setup = gemm();
    const [result] = setup.results as [Setup["results"][number]];
    const expected = (at: number) => result.expected(at) + (at === 31 ? 1e-3 : 0);
    await expect(check(gpu(), { ...setup, results: [{ ...result, expected }] }, "a GEMM")).rejects.toThrow(
      /a GEMM: 1 of 60 values are off; worst at row 2, column 7/,
    );
  });

  it("is bit-exact where nothing is computed", async () => {
    const setup = transposeOp.setup({ name: "zeros", rows: 4, cols: 4 }, gpu().profile);
    const [result] = setup.results as [Setup["results"][number]];
    const of = (expected: (at: number) => number) => check(gpu(), { ...setup, results: [{ ...result, expected }] }, "zeros");
    await expect(of(result.expected)).resolves.toBeUndefined();
    await expect(of((at) => result.expected(at) * (1 + 2 ** -24))).rejects.toThrow(/expected/);
    const added = addRowsOp.setup({ name: "rows", count: 4, from: 0, to: 4 }, gpu().profile);
    await expect(check(gpu(), { ...added, results: [{ ...added.results[0]!, size: 3 }] }, "rows")).rejects.toThrow(/rows/);
  });

  it("whose operand nobody made is refused", async () => {
    const { call } = gemm();
    const contents = new Contents();
    contents.add(() => new Float32Array(4));
    await expect(runCalls(gpu(), contents.tokens, (token) => contents.get(token), [[call]])).rejects.toThrow(/nobody made/);
  });
});

it("surroundings of a matrix are NaN, and nothing is copied where there are none", () => {
  const values = Float32Array.of(1, 2, 3, 4);
  expect(surrounded(values, { offset: 0, stride: 2, rows: 2, cols: 2 })).toBe(values);
  const nan = Number.NaN;
  expect([...surrounded(values, { offset: 1, stride: 3, rows: 2, cols: 2 })]).toEqual([nan, 1, 2, nan, 3, 4, nan, nan]);
});

it("units are computed once, and only those that are asked for", () => {
  const asked: number[] = [];
  const values = inUnits(3, (unit) => {
    asked.push(unit);
    return [10 * unit, 10 * unit + 1, 10 * unit + 2];
  });
  expect([7, 6, 1, 8].map(values)).toEqual([21, 20, 1, 22]);
  expect(asked).toEqual([2, 0]);
});
