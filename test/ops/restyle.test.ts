import { describe, it } from "vitest";
import { gpuOfThisFile } from "../support/gpu.js";
import { narrow, type Op, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { colourMomentsOp, colourStatisticsOp, momentRecipeOp, recolourOp } from "./restyle.case.js";

const gpu = gpuOfThisFile();

describe.each([colourMomentsOp, colourStatisticsOp, momentRecipeOp, recolourOp].map((op) => [op.name, op as Op] as const))(
  "%s",
  (_, op) => {
    it.each(tested(op.cases))("%s", (name, one) => check(gpu(), op.setup(one, gpu().profile), name));

    it.each(tested(op.cases).slice(-2))("over a narrow grid: %s", (name, one) =>
      check(gpu(), op.setup(one, narrow(gpu().profile, 3)), name),
    );
  },
);
