import { describe, it } from "vitest";
import { gpuOfThisFile } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { scaleRowsCases, scaleRowsOp } from "./scale-rows.case.js";

const gpu = gpuOfThisFile();

describe("rows times factors", () => {
  it.each(tested(scaleRowsCases))("%s", (name, one) => check(gpu(), scaleRowsOp.setup(one, gpu().profile), name));

  it.each(tested(scaleRowsCases))("over a narrow grid: %s", (name, one) =>
    check(gpu(), scaleRowsOp.setup(one, narrow(gpu().profile, 3)), name),
  );
});
