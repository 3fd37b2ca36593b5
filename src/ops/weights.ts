import { type Call, call, type Plan, spread } from "../gpu/call.js";
import type { Variant } from "../gpu/kernel.js";
import type { Profile } from "../gpu/profile.js";
import type { View } from "../gpu/view.js";

/** The kernels between the trained weights, which are flat f32 arrays, and the matrices that GEMMs multiply with. */

/** Where the tensors of one linear layer lie in the flat arrays, in numbers; all multiples of 4. */
export interface FoldPlacement {
  /** [rows, cols], as published: a row an output. */
  weight: number;
  bias: number;
  /** The LayerNorm in front. */
  norm?: { gamma: number; beta: number } | undefined;
}

export interface FoldShape {
  /** Outputs and inputs of the matrix, padded. */
  rows: number;
  cols: number;
}

const plan = (
  variant: Omit<Variant, "constants" | "result">,
  workgroups: Plan["workgroups"],
  workgroupBytes: number,
  result: Variant["result"] = "f32",
): Plan => ({ variant: { ...variant, constants: {}, result }, workgroups, workgroupBytes });

/** Plans kernels/fold_matrix.wgsl. */
export function planFoldMatrix({ rows, cols }: FoldShape): Plan {
  return plan(
    { kernel: "fold_matrix", entryPoint: "fold", overrides: {} },
    [Math.ceil(rows / 32), Math.ceil(cols / 32), 1],
    0,
    "elem",
  );
}

export type FoldMatrixOperands = FoldShape &
  FoldPlacement & {
    /** The flat array that the offsets are of. */
    parameters: GPUBuffer;
    /** [cols, outputs] and [outputs, cols] elem, `outputs` those of all matrices that stand side by side. */
    forward: View;
    backward: GPUBuffer;
    /** What every number is multiplied by. */
    factor: number;
    /** The first of the matrix' outputs among all. */
    column: number;
  };

/** A published matrix as GEMMs take it in both passes, the scale of the LayerNorm in front folded in. */
export function foldMatrix(_: Profile, operands: FoldMatrixOperands): Call {
  const { rows, cols, weight, norm, parameters, forward, backward, factor, column } = operands;
  return call(
    planFoldMatrix({ rows, cols }),
    { parameters, forward, backward },
    { rows, cols, weight_offset: weight, gamma_offset: norm?.gamma ?? 0, norm: norm !== undefined, factor, column },
  );
}

/** Invocations of a row and rows of a workgroup: a CPU adapter pays for barriers and not for idle lanes. */
const lanes = (profile: Profile) => (profile.software ? { LANES: 4, ROWS: 16 } : { LANES: 32, ROWS: 4 });

/** Plans kernels/fold_bias.wgsl. */
export function planFoldBias({ rows }: FoldShape, profile: Profile): Plan {
  const overrides = lanes(profile);
  return plan(
    { kernel: "fold_bias", entryPoint: "fold", overrides, parts: ["lane_sum"] },
    [Math.ceil(rows / overrides.ROWS), 1, 1],
    4 * overrides.LANES * overrides.ROWS,
  );
}

export type FoldBiasOperands = FoldShape &
  FoldPlacement & { parameters: GPUBuffer; folded: GPUBuffer; factor: number; first: number };

/** A bias with the shift of the LayerNorm in front folded in, from number `first` of `folded` on. */
export function foldBias(profile: Profile, operands: FoldBiasOperands): Call {
  const { rows, cols, weight, bias, norm, parameters, folded, factor, first } = operands;
  const offsets = { weight_offset: weight, bias_offset: bias, beta_offset: norm?.beta ?? 0 };
  return call(
    planFoldBias({ rows, cols }, profile),
    { parameters, folded },
    { rows, cols, ...offsets, norm: norm !== undefined, factor, first },
  );
}

/** Plans kernels/position_table.wgsl. */
export function planPositionTable({ tokens, width }: { tokens: number; width: number }, profile: Profile): Plan {
  return plan(
    { kernel: "position_table", entryPoint: "build", overrides: {} },
    spread(Math.ceil((tokens * width) / 4 / 64), profile.limits.maxComputeWorkgroupsPerDimension),
    0,
  );
}

export interface PositionTableOperands {
  parameters: GPUBuffer;
  /** [tokens, width] f32. */
  table: View;
  /** Offsets in the flat array. */
  position: number;
  cls: number;
  bias: number;
}

/** CLS + position in row 0, bias + position in the others. */
export function positionTable(profile: Profile, { parameters, table, position, cls, bias }: PositionTableOperands): Call {
  const shape = { tokens: table.rows, width: table.cols };
  const offsets = { position_offset: position, cls_offset: cls, bias_offset: bias };
  return call(planPositionTable(shape, profile), { parameters, table }, { ...shape, ...offsets });
}

/** Plans kernels/unfold.wgsl. */
export function planUnfold({ cols }: FoldShape, profile: Profile): Plan {
  const overrides = profile.software ? { COLS: 4, LANES: 4 } : { COLS: 8, LANES: 16 };
  return plan(
    { kernel: "unfold", entryPoint: "unfold", overrides },
    [Math.ceil(cols / 4 / overrides.COLS), 1, 1],
    32 * overrides.COLS * overrides.LANES,
  );
}

export type UnfoldOperands = FoldShape & Required<FoldPlacement> & { parameters: GPUBuffer; gradients: GPUBuffer };

/** The gradient of a folded matrix and bias, in place, to those of the published ones and of the LayerNorm in front. */
export function unfold(profile: Profile, { rows, cols, weight, bias, norm, parameters, gradients }: UnfoldOperands): Call {
  if (!norm) throw new RangeError("unfold: there is no LayerNorm in front");
  const offsets = { weight_offset: weight, bias_offset: bias, gamma_offset: norm.gamma, beta_offset: norm.beta };
  return call(planUnfold({ rows, cols }, profile), { parameters, gradients }, { rows, cols, ...offsets });
}
