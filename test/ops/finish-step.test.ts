import { describe, it } from "vitest";
import { gpuOfThisFile } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { finishStepCases, finishStepOp } from "./finish-step.case.js";

const gpu = gpuOfThisFile();

describe("finishing a step", () => {
  it.each(tested(finishStepCases))("%s", (name, one) => check(gpu(), finishStepOp.setup(one, gpu().profile), name));
});
