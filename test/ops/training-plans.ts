import type { Plan } from "../../src/gpu/dispatch.js";
import type { Profile } from "../../src/gpu/profile.js";
import { planLinear } from "../../src/ops/linear.js";
import { planAdamW, planFinishStep, planSumSquares } from "../../src/ops/optimizer.js";
import { planNarrow } from "../../src/ops/rows.js";
import { planFoldBias, planFoldMatrix, planPositionTable, planUnfold } from "../../src/ops/weights.js";

/** Plans of the kernels for weights: folding, optimiser, products of the backward pass. */
export const trainingPlans = (profile: Profile): Plan[] => [
  planFoldMatrix({ rows: 576, cols: 192 }),
  planFoldBias({ rows: 576, cols: 192 }, profile),
  planPositionTable({ tokens: 197, width: 192 }, profile),
  planUnfold({ rows: 576, cols: 192 }, profile),
  planNarrow(197 * 192, profile),
  planSumSquares(),
  planFinishStep(),
  planAdamW(5_820_544, profile),
  ...[4, 64, 512].flatMap((channels) =>
    (["relu", "relu_derivative", "none"] as const).map((epilogue) =>
      planLinear({ rows: 3136, depth: 9 * channels, cols: 64, epilogue, result: "elem", windowChannels: channels }, profile),
    ),
  ),
  planLinear({ rows: 197, depth: 192, cols: 768, epilogue: "gelu_derivative", result: "elem" }, profile),
  planLinear({ rows: 192, depth: 512, cols: 768, epilogue: "none", result: "f32", slices: 4 }, profile),
];
