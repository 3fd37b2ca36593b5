import { describe, it } from "vitest";
import { gpuOfThisFile } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { flatCases, sumSquaresOp } from "./sum-squares.case.js";

const gpu = gpuOfThisFile();

describe("sums of squares", () => {
  it.each(tested(flatCases))("%s", (name, one) => check(gpu(), sumSquaresOp.setup(one, gpu().profile), name));
});
