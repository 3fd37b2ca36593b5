import { f32, type Plan, spread, u32, type Word } from "../gpu/dispatch.js";
import type { Variant } from "../gpu/pipelines.js";
import type { Profile } from "../gpu/profile.js";

/** Small ops on rows that a backward pass needs around its products: turned matrices, sums, GELU. */

const INVOCATIONS = 64;
/** Rows and columns that one workgroup of kernels/transpose.wgsl turns. */
const TURNED = 32;
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

export interface TransposePlacement {
  inputOffset?: number;
  inputStride: number;
  outputOffset?: number;
}

/**
 * Plans kernels/transpose.wgsl, [rows, cols] to [cols, paddedRows] elem; buffers bind as input, output.
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
      bindings: ["read", "write"],
    },
    workgroups: spread(
      Math.ceil(paddedRows / TURNED) * Math.ceil(cols / TURNED),
      profile.limits.maxComputeWorkgroupsPerDimension,
    ),
    workgroupBytes: 0,
  };
}

export function transposeParameters(shape: TransposeShape, placement: TransposePlacement): Word[] {
  return [
    shape.rows,
    shape.paddedRows / 4,
    shape.cols / 4,
    (placement.inputOffset ?? 0) / 4,
    placement.inputStride / 4,
    (placement.outputOffset ?? 0) / 4,
  ].map(u32);
}

export interface SumRowsShape {
  rows: number;
  /** A multiple of 4. */
  cols: number;
  source: Source;
}

export interface SumRowsPlacement {
  inputOffset?: number;
  inputStride: number;
  /** First of the `rows` sums, at any f32 of the output. */
  outputOffset?: number;
  /** What every sum is multiplied by; 1 where it is left out. */
  scale?: number;
  /** Whether sums are added to what the output holds. */
  accumulate?: boolean;
}

/**
 * Plans kernels/sum_rows.wgsl, [rows, cols] to [rows] f32; buffers bind as input, output. One row is one workgroup's work at
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
      bindings: ["read", "write"],
    },
    workgroups: spread(Math.ceil(rows / rowsEach), profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 4 * lanes * rowsEach,
  };
}

export function sumRowsParameters(shape: SumRowsShape, placement: SumRowsPlacement): Word[] {
  return [
    ...[
      shape.rows,
      shape.cols / 4,
      (placement.inputOffset ?? 0) / 4,
      placement.inputStride / 4,
      placement.outputOffset ?? 0,
      placement.accumulate ? 1 : 0,
    ].map(u32),
    f32(placement.scale ?? 1),
  ];
}

export interface SumSlicesShape {
  slices: number;
  /** Numbers of a slice: a multiple of 4. */
  count: number;
}

export interface SumSlicesPlacement {
  inputOffset?: number;
  sliceStride: number;
  outputOffset?: number;
  /** What every sum is multiplied by; 1 where it is left out. */
  scale?: number;
  /** Whether sums are added to what the output holds. */
  accumulate?: boolean;
}

/** Plans kernels/sum_slices.wgsl, [slices, count] f32 to [count] f32; buffers bind as input, output. */
export function planSumSlices({ count }: SumSlicesShape, profile: Profile): Plan {
  return perVector(profile, count, {
    kernel: "sum_slices",
    entryPoint: "sum_slices",
    result: "f32",
    overrides: {},
    bindings: ["read", "write"],
  });
}

export function sumSlicesParameters(shape: SumSlicesShape, placement: SumSlicesPlacement): Word[] {
  return [
    ...[
      shape.count / 4,
      shape.slices,
      placement.sliceStride / 4,
      (placement.inputOffset ?? 0) / 4,
      (placement.outputOffset ?? 0) / 4,
      placement.accumulate ? 1 : 0,
    ].map(u32),
    f32(placement.scale ?? 1),
  ];
}

/** Two regions of one f32 buffer that do not overlap, in elements: multiples of 4. */
export interface AddRowsPlacement {
  from: number;
  to: number;
}

/** Plans kernels/add_rows.wgsl over `count` numbers, a multiple of 4; its one buffer is both read and written. */
export function planAddRows(count: number, profile: Profile): Plan {
  return perVector(profile, count, {
    kernel: "add_rows",
    entryPoint: "add_rows",
    result: "f32",
    overrides: {},
    bindings: ["write"],
  });
}

/** @throws RangeError where the regions overlap: what comes out would depend on the order of invocations. */
export function addRowsParameters(count: number, { from, to }: AddRowsPlacement): Word[] {
  if (Math.abs(from - to) < count) throw new RangeError(`add rows: ${count} numbers at ${from} and at ${to} overlap`);
  return [count / 4, from / 4, to / 4].map(u32);
}

export interface GeluShape {
  rows: number;
  /** A multiple of 4; rows are contiguous. */
  cols: number;
  /** Whether GELU's derivative is computed in its place. */
  derivative?: boolean;
}

export interface GeluPlacement {
  inputOffset?: number;
  outputOffset?: number;
}

/** Plans kernels/gelu_rows.wgsl, [rows, cols] elem to the same; buffers bind as input, output. */
export function planGelu({ rows, cols, derivative }: GeluShape, profile: Profile): Plan {
  return perVector(profile, rows * cols, {
    kernel: "gelu_rows",
    entryPoint: "gelu_rows",
    result: "elem",
    overrides: { DERIVATIVE: derivative ? 1 : 0 },
    bindings: ["read", "write"],
    parts: ["gelu", "gelu_derivative"],
  });
}

export function geluParameters(shape: GeluShape, placement: GeluPlacement = {}): Word[] {
  return [(shape.rows * shape.cols) / 4, (placement.inputOffset ?? 0) / 4, (placement.outputOffset ?? 0) / 4].map(u32);
}

/** Plans kernels/narrow_rows.wgsl over `count` numbers, a multiple of 4; buffers bind as input (f32), output (elem). */
export function planNarrow(count: number, profile: Profile): Plan {
  return perVector(profile, count, {
    kernel: "narrow_rows",
    entryPoint: "narrow",
    result: "elem",
    overrides: {},
    bindings: ["read", "write"],
  });
}

/** @param first number of the input that the output begins with, a multiple of 4 */
export const narrowParameters = (count: number, first = 0): Word[] => [count / 4, first / 4].map(u32);
