import { describe, it } from "vitest";
import { gpuOfThisFile } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { adamWCases, adamWOp } from "./adamw.case.js";

const gpu = gpuOfThisFile();

describe("AdamW's update", () => {
  it.each(tested(adamWCases))("%s", (name, one) => check(gpu(), adamWOp.setup(one, gpu().profile), name));
});
