import { describe, expect, it } from "vitest";
import { bindTuned, bytesMoved } from "../../bench/bind.js";
import { benchOps, check, type OpRow } from "../../bench/ops.js";
import { Report } from "../../bench/report.js";
import { Tuner } from "../../src/gpu/tuner.js";
import { addRowsOp } from "../ops/add-rows.case.js";
import { linearOp } from "../ops/linear.case.js";
import { sumSlicesOp } from "../ops/sum-slices.case.js";
import { gpuOfThisFile } from "../support/gpu.js";
import type { Setup } from "../support/op.js";

const gpu = gpuOfThisFile();

const one = { name: "a GEMM", bench: { batch: 1 }, rows: 20, depth: 16, cols: 12, epilogue: "residual" } as const;

async function checked(setup: Setup): Promise<{ error: number; allowed: number }> {
  const bound = await bindTuned(gpu(), setup, new Tuner(gpu(), "off"));
  try {
    return await check(bound, setup);
  } finally {
    bound.dispose();
  }
}

describe("the check of kernels", () => {
  it("is passed by what is right", async () => {
    const { error, allowed } = await checked(linearOp.setup(one, gpu().profile));
    expect(error).toBeLessThan(allowed);
    expect(allowed).toBe(2e-5);
  });

  it("finds a number that is wrong, the first and the last always", async () => {
    const setup = linearOp.setup(one, gpu().profile);
    const [result] = setup.results;
    for (const wrong of [0, result!.size - 1]) {
      const expected = (at: number) => result!.expected(at) + (at === wrong ? 1 : 0);
      const { error, allowed } = await checked({ ...setup, results: [{ ...result!, expected }] });
      expect(error).toBeGreaterThan(allowed);
    }
  });

  it("begins with what stood there before, also where a tuner has run the op on its buffers", async () => {
    const setup = linearOp.setup(one, gpu().profile);
    const tuner = new Tuner(gpu(), "off");
    const marks = new Uint32Array(20 * 12);
    const marking = new Proxy(tuner, {
      get: (target, key) =>
        key === "pick"
          ? async (call: Setup["call"]) => {
              const output = call.operands.output!;
              gpu().device.queue.writeBuffer("buffer" in output ? output.buffer : output, 0, marks);
              return target.pick(call);
            }
          : Reflect.get(target, key, target),
    });
    const bound = await bindTuned(gpu(), setup, marking);
    const { error, allowed } = await check(bound, setup);
    bound.dispose();
    expect(error).toBeLessThan(allowed);
  });
});

it("bytes count every operand once, and twice what is added to", () => {
  const { profile } = gpu();
  expect(bytesMoved(linearOp.setup(one, profile))).toBe(4 * (20 * 16 + 16 * 12 + 12 + 2 * 20 * 12));
  expect(bytesMoved(linearOp.setup({ ...one, epilogue: "none" }, profile))).toBe(4 * (20 * 16 + 16 * 12 + 12 + 20 * 12));
  const slices = { name: "slices", slices: 3, count: 8 };
  expect(bytesMoved(sumSlicesOp.setup(slices, profile))).toBe(4 * (3 * 8 + 8));
  expect(bytesMoved(addRowsOp.setup({ name: "rows", count: 8, from: 0, to: 8 }, profile))).toBe(4 * 3 * 8);
});

it("times what was asked for, and says where there is nothing of that size", async () => {
  let printed = "";
  const report = new Report((text) => {
    printed += text;
  });
  const peak = { registers: 1, gemm: 1, gemmShape: "", copy: 1, copyBytes: 1 };
  const request = { clock: "wall", effort: { budget: 1, fewest: 1, most: 1 }, peak } as const;
  const ops = ["position_table", "finish_step", "unfold"];
  await benchOps(gpu(), { ...request, ops, models: ["tiny"], batches: [1] }, report);
  const rows = report.document.ops as OpRow[];
  expect(rows.map(({ op, model }) => [op, model])).toEqual([
    ["position_table", "tiny"],
    ["unfold", "tiny"],
    ["finish_step", undefined],
  ]);
  for (const { milliseconds, bytes } of rows) expect(milliseconds.median > 0 && bytes > 0).toBe(true);
  expect(report.failures).toEqual([]);
  await benchOps(gpu(), { ...request, ops, models: ["tiny"], batches: [3] }, report);
  expect(printed).toMatch(/none: .* batch 3 was asked for/);
});
