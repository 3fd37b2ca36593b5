import { describe, it } from "vitest";
import { gpuOfThisFile } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { positionTableCases, positionTableOp } from "./position-table.case.js";

const gpu = gpuOfThisFile();

describe("the position table is CLS or bias, and position", () => {
  it.each(tested(positionTableCases))("%s", (name, one) => check(gpu(), positionTableOp.setup(one, gpu().profile), name));
});
