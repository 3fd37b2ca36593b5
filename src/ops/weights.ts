import { f32, type Plan, spread, u32, type Word } from "../gpu/dispatch.js";
import type { Variant } from "../gpu/pipelines.js";
import type { Profile } from "../gpu/profile.js";

/** The kernels between the trained weights, which are flat f32 arrays, and the matrices that products multiply with. */

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

/** Plans kernels/fold_matrix.wgsl; buffers bind as parameters, forward, backward. */
export function planFoldMatrix({ rows, cols }: FoldShape): Plan {
  return plan(
    { kernel: "fold_matrix", entryPoint: "fold", overrides: {}, bindings: ["read", "write", "write"] },
    [Math.ceil(rows / 32), Math.ceil(cols / 32), 1],
    0,
    "elem",
  );
}

/** `column` is the matrix' first column among those that it stands beside, `stride` the columns of all of them. */
export function foldMatrixParameters(
  { rows, cols }: FoldShape,
  { weight, norm }: FoldPlacement,
  { factor = 1, column = 0, stride = rows }: { factor?: number; column?: number; stride?: number },
): Word[] {
  const sizes = [rows / 4, cols / 4, weight / 4, (norm?.gamma ?? 0) / 4, norm ? 1 : 0].map(u32);
  return [...sizes, f32(factor), u32(column / 4), u32(stride / 4)];
}

/** Invocations of a row and rows of a workgroup: a CPU adapter pays for barriers and not for idle lanes. */
const lanes = (profile: Profile) => (profile.software ? { LANES: 4, ROWS: 16 } : { LANES: 32, ROWS: 4 });

/** Plans kernels/fold_bias.wgsl; buffers bind as parameters, folded. */
export function planFoldBias({ rows }: FoldShape, profile: Profile): Plan {
  const overrides = lanes(profile);
  return plan(
    { kernel: "fold_bias", entryPoint: "fold", overrides, bindings: ["read", "write"] },
    [Math.ceil(rows / overrides.ROWS), 1, 1],
    4 * overrides.LANES * overrides.ROWS,
  );
}

export function foldBiasParameters(
  { rows, cols }: FoldShape,
  { weight, bias, norm }: FoldPlacement,
  { factor = 1, first = 0 }: { factor?: number; first?: number },
): Word[] {
  const sizes = [rows, cols / 4, weight / 4, bias, (norm?.beta ?? 0) / 4, norm ? 1 : 0].map(u32);
  return [...sizes, f32(factor), u32(first)];
}

/** Plans kernels/position_table.wgsl; buffers bind as parameters, table. */
export function planPositionTable({ tokens, width }: { tokens: number; width: number }, profile: Profile): Plan {
  return plan(
    { kernel: "position_table", entryPoint: "build", overrides: {}, bindings: ["read", "write"] },
    spread(Math.ceil((tokens * width) / 4 / 64), profile.limits.maxComputeWorkgroupsPerDimension),
    0,
  );
}

export function positionTableParameters(
  { tokens, width }: { tokens: number; width: number },
  offsets: { position: number; cls: number; bias: number },
): Word[] {
  return [tokens, width / 4, offsets.position / 4, offsets.cls / 4, offsets.bias / 4].map(u32);
}

/** Plans kernels/unfold.wgsl; buffers bind as parameters, gradients. */
export function planUnfold({ cols }: FoldShape, profile: Profile): Plan {
  const overrides = profile.software ? { COLS: 4, LANES: 4 } : { COLS: 8, LANES: 16 };
  return plan(
    { kernel: "unfold", entryPoint: "unfold", overrides, bindings: ["read", "write"] },
    [Math.ceil(cols / 4 / overrides.COLS), 1, 1],
    32 * overrides.COLS * overrides.LANES,
  );
}

export function unfoldParameters({ rows, cols }: FoldShape, { weight, bias, norm }: FoldPlacement): Word[] {
  return [rows, cols / 4, weight / 4, bias, (norm?.gamma ?? 0) / 4, (norm?.beta ?? 0) / 4].map(u32);
}
