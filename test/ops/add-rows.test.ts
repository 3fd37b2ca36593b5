import { describe, expect, it } from "vitest";
import { parameterBlock, pick } from "../../src/gpu/call.js";
import { numbersOf } from "../../src/gpu/view.js";
import { addRows } from "../../src/ops/rows.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { addRowsCases, addRowsOp } from "./add-rows.case.js";

const gpu = gpuOfThisFile();

describe("one region added to another, over a narrow grid", () => {
  it.each(tested(addRowsCases))("%s", (name, one) => check(gpu(), addRowsOp.setup(one, narrow(gpu().profile, 3)), name));

  it("refuses regions that overlap, or lie in two buffers", () => {
    const [buffer, other] = [{}, {}] as [GPUBuffer, GPUBuffer];
    const add = (from: number, to: number, target = buffer) =>
      addRows(gpu().profile, { from: numbersOf(buffer, 8, from), to: numbersOf(target, 8, to) });
    expect(() => add(0, 4)).toThrow(RangeError);
    expect(() => add(8, 4)).toThrow(RangeError);
    expect(() => add(8, 0, other)).toThrow(RangeError);
    const made = add(8, 0);
    expect([...new Uint32Array(parameterBlock(pick(made.candidates).variant, made, 12))]).toEqual([2, 2, 0]);
  });
});
