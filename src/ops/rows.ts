import { type Call, call, type Plan, spread } from "../gpu/call.js";
import type { Variant } from "../gpu/kernel.js";
import type { Profile } from "../gpu/profile.js";
import type { View } from "../gpu/view.js";

/** Small ops on rows that a backward pass needs around its GEMMs: transposed matrices, sums, GELU. */

const INVOCATIONS = 64;
/** Rows and columns that one workgroup of kernels/transpose.wgsl turns. */
const TILE = 32;
/** Below so many rows, each at least this long, a GPU is kept busy by wide workgroups rather than by many. */
const FEW_ROWS = 64;
const LONG_ROW = 4096;

/** Numbers of an operand: `elem` as the tier keeps activations, `f32` in every tier. */
export type Source = "elem" | "f32";

function perVector(profile: Profile, count: number, variant: Omit<Variant, "constants">): Plan {
  return {
    variant: { ...variant, constants: {} },
    workgroups: spread(Math.ceil(count / 4 / INVOCATIONS), profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 0,
  };
}

export interface TransposeShape {
  rows: number;
  /** Rows of the input with the zeros behind them, which are the columns of the output: a multiple of 4, at least `rows`. */
  paddedRows: number;
  /** A multiple of 4. */
  cols: number;
  source: Source;
}

/**
 * Plans kernels/transpose.wgsl, [rows, cols] to [cols, paddedRows] elem.
 * @throws RangeError where `paddedRows` or `cols` is no multiple of 4, or the rows do not fit.
 */
export function planTranspose({ rows, paddedRows, cols, source }: TransposeShape, profile: Profile): Plan {
  if (paddedRows % 4 !== 0 || paddedRows < rows || cols % 4 !== 0) {
    throw new RangeError(`transpose: ${rows} rows of ${cols} do not turn into rows of ${paddedRows}`);
  }
  return {
    variant: {
      kernel: "transpose",
      entryPoint: source === "elem" ? "transpose_elem" : "transpose_f32",
      constants: {},
      result: "elem",
      overrides: {},
    },
    workgroups: spread(Math.ceil(paddedRows / TILE) * Math.ceil(cols / TILE), profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 0,
  };
}

/** y = xᵀ, with zeros in y's columns behind x's rows. */
export function transpose(profile: Profile, { x, y }: { x: View; y: View }): Call {
  const shape = { rows: x.rows, paddedRows: y.cols, cols: x.cols, source: x.type };
  const elements = x.type === "elem" ? "elements" : "floats";
  const values = { rows: x.rows, padded_rows: y.cols, cols: x.cols };
  return call(planTranspose(shape, profile), { [elements]: x, input: x, output: y }, values);
}

export interface SumRowsShape {
  rows: number;
  /** A multiple of 4. */
  cols: number;
  source: Source;
}

/**
 * Plans kernels/sum_rows.wgsl, [rows, cols] to [rows] f32. One row is one workgroup's work at
 * most: a single row of many millions is better summed as [n, cols / n] and its n sums again.
 */
export function planSumRows({ rows, cols, source }: SumRowsShape, profile: Profile): Plan {
  const few = rows <= FEW_ROWS && cols >= LONG_ROW;
  // As in layer norm: 4 lanes are one vector of a CPU, which pays for barriers and not for idle lanes.
  const lanes = profile.software ? 4 : few ? 256 : 32;
  const rowsEach = profile.software ? 16 : few ? 1 : 4;
  return {
    variant: {
      kernel: "sum_rows",
      entryPoint: source === "elem" ? "sum_elem" : "sum_f32",
      constants: {},
      result: "f32",
      overrides: { LANES: lanes, ROWS: rowsEach },
      parts: ["lane_sum"],
    },
    workgroups: spread(Math.ceil(rows / rowsEach), profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 4 * lanes * rowsEach,
  };
}

export interface SumOptions {
  /** What every sum is multiplied by; 1 where it is left out. */
  scale?: number;
  /** Whether sums are added to what is there. */
  accumulate: boolean;
}

/** y = scale · Σ of every row of x, [rows] f32 at any place. */
export function sumRows(profile: Profile, { x, y, scale = 1, accumulate }: { x: View; y: View } & SumOptions): Call {
  const shape = { rows: x.rows, cols: x.cols, source: x.type };
  const elements = x.type === "elem" ? "elements" : "floats";
  const values = { rows: x.rows, cols: x.cols, accumulate, scale };
  return call(planSumRows(shape, profile), { [elements]: x, input: x, output: y }, values);
}

export interface SumSlicesShape {
  slices: number;
  /** Numbers of a slice: a multiple of 4. */
  count: number;
}

/** Plans kernels/sum_slices.wgsl, [slices, count] f32 to [count] f32. */
export function planSumSlices({ count }: SumSlicesShape, profile: Profile): Plan {
  return perVector(profile, count, {
    kernel: "sum_slices",
    entryPoint: "sum_slices",
    result: "f32",
    overrides: {},
  });
}

/** y = scale · Σ of the rows of x: slices of a split-K GEMM, or images of a batch. */
export function sumSlices(profile: Profile, { x, y, scale = 1, accumulate }: { x: View; y: View } & SumOptions): Call {
  const shape = { slices: x.rows, count: x.cols };
  const values = { ...shape, slice_stride: x.stride, accumulate, scale };
  return call(planSumSlices(shape, profile), { input: x, output: y }, values);
}

/** Plans kernels/add_rows.wgsl over `count` numbers, a multiple of 4; its one buffer is both read and written. */
export function planAddRows(count: number, profile: Profile): Plan {
  return perVector(profile, count, {
    kernel: "add_rows",
    entryPoint: "add_rows",
    result: "f32",
    overrides: {},
  });
}

/**
 * to += from: contiguous rows of one buffer.
 * @throws RangeError where they are of two buffers, or overlap: what comes out would depend on the order of invocations
 */
export function addRows(profile: Profile, { from, to }: { from: View; to: View }): Call {
  const count = from.rows * from.cols;
  if (from.buffer !== to.buffer || Math.abs(from.first - to.first) < count)
    throw new RangeError(`add rows: ${count} numbers at ${from.first} and at ${to.first} overlap, or lie in two buffers`);
  return call(planAddRows(count, profile), { buffer: from.buffer }, { count, from: from.first, to: to.first });
}

export interface GeluShape {
  rows: number;
  /** A multiple of 4; rows are contiguous. */
  cols: number;
  /** Whether GELU's derivative is computed in its place. */
  derivative?: boolean;
}

/** Plans kernels/gelu_rows.wgsl, [rows, cols] elem to the same. */
export function planGelu({ rows, cols, derivative }: GeluShape, profile: Profile): Plan {
  return perVector(profile, rows * cols, {
    kernel: "gelu_rows",
    entryPoint: "gelu_rows",
    result: "elem",
    overrides: { DERIVATIVE: derivative ? 1 : 0 },
    parts: ["gelu", "gelu_derivative"],
  });
}

/** y = GELU(x), or its derivative there; contiguous rows. */
export function gelu(profile: Profile, { x, y, derivative = false }: { x: View; y: View; derivative?: boolean }): Call {
  const shape = { rows: x.rows, cols: x.cols, derivative };
  return call(planGelu(shape, profile), { input: x, output: y }, { count: x.rows * x.cols });
}

/** Plans kernels/narrow_rows.wgsl over `count` numbers, a multiple of 4. */
export function planNarrow(count: number, profile: Profile): Plan {
  return perVector(profile, count, {
    kernel: "narrow_rows",
    entryPoint: "narrow",
    result: "elem",
    overrides: {},
  });
}

/** y = x in the tier's own width; contiguous rows, y from its start. */
export function narrow(profile: Profile, { x, y }: { x: View; y: View }): Call {
  const count = x.rows * x.cols;
  return call(planNarrow(count, profile), { input: x, output: y }, { count });
}

export interface ScaleRowsShape {
  rows: number;
  /** A multiple of 4. */
  cols: number;
  residual: boolean;
}

/** Plans kernels/scale_rows.wgsl. */
export function planScaleRows({ rows, cols, residual }: ScaleRowsShape, profile: Profile): Plan {
  return perVector(profile, rows * cols, {
    kernel: "scale_rows",
    entryPoint: "scale_rows",
    result: "f32",
    overrides: { RESIDUAL: residual ? 1 : 0 },
  });
}

export interface ScaleRowsOperands {
  /** f32, as are all. */
  x: View;
  /** [⌈rows / each⌉], in a row. */
  factors: View;
  /** Rows one after another that have one factor: those of a sequence. */
  each: number;
  /** May lie in x's buffer, but not in y's. */
  residual?: View | undefined;
  y: View;
}

/** y = factor · x (+ residual), row by row: stochastic depth, where the factors are 0 or 1 / (1 - rate). */
export function scaleRows(profile: Profile, { x, factors, each, residual, y }: ScaleRowsOperands): Call {
  const shape = { rows: x.rows, cols: x.cols, residual: residual !== undefined };
  return call(
    planScaleRows(shape, profile),
    { input: x, factors, residual: residual ?? x, output: y },
    { rows: x.rows, cols: x.cols, each },
  );
}
