import type { Source } from "../../src/ops/rows.js";

/** One table per op of the backward pass. */

export interface TransposeCase {
  name: string;
  rows: number;
  /** Rows of zeros beyond the next multiple of 4. */
  padding?: number;
  cols: number;
  inputOffset?: number;
  inputGap?: number;
  outputOffset?: number;
}

export const transposeCases: readonly TransposeCase[] = [
  { name: "one row", rows: 1, cols: 4 },
  { name: "five rows", rows: 5, cols: 12 },
  { name: "one block of a workgroup", rows: 32, cols: 32 },
  { name: "one past it", rows: 33, cols: 36 },
  { name: "a sequence", rows: 197, cols: 96 },
  { name: "more padding than one vec4", rows: 18, padding: 44, cols: 40 },
  { name: "offsets and gaps", rows: 51, cols: 68, inputOffset: 24, inputGap: 12, outputOffset: 40 },
];

export interface SumRowsCase {
  name: string;
  rows: number;
  cols: number;
  inputOffset?: number;
  inputGap?: number;
  outputOffset?: number;
  scale?: number;
  accumulate?: boolean;
  /** Numbers of one sign, whose roundings add up. */
  positive?: boolean;
}

export const sumRowsCases: readonly SumRowsCase[] = [
  { name: "one vector", rows: 1, cols: 4 },
  { name: "rows of one vector", rows: 21, cols: 4, accumulate: true },
  { name: "a bias's gradient", rows: 96, cols: 612, scale: 0.25 },
  { name: "one row past a workgroup, added", rows: 17, cols: 260, accumulate: true, scale: -3 },
  { name: "offsets and gaps", rows: 13, cols: 100, inputOffset: 32, inputGap: 20, outputOffset: 7, accumulate: true },
  { name: "one long row", rows: 1, cols: 40_000, outputOffset: 3, scale: 1e-3 },
  { name: "long rows of one sign", rows: 3, cols: 200_000, inputGap: 4, positive: true },
  { name: "one past a block", rows: 2, cols: 4 * 32 * 256 + 4, positive: true },
];

export const SOURCES: readonly Source[] = ["elem", "f32"];

export interface SumSlicesCase {
  name: string;
  slices: number;
  count: number;
  gap?: number;
  inputOffset?: number;
  outputOffset?: number;
  scale?: number;
  accumulate?: boolean;
}

export const sumSlicesCases: readonly SumSlicesCase[] = [
  { name: "one slice of one vector", slices: 1, count: 4 },
  { name: "one past a workgroup", slices: 3, count: 260, scale: 0.5 },
  { name: "added", slices: 5, count: 96, accumulate: true },
  { name: "offsets and gaps", slices: 8, count: 1000, gap: 16, inputOffset: 12, outputOffset: 20, accumulate: true, scale: -2 },
  { name: "many images", slices: 64, count: 192, scale: 1 / 64 },
];

export interface GeluCase {
  name: string;
  rows: number;
  cols: number;
  inputOffset?: number;
  outputOffset?: number;
}

export const geluCases: readonly GeluCase[] = [
  { name: "one vector", rows: 1, cols: 4 },
  { name: "rows", rows: 17, cols: 388 },
  { name: "offsets", rows: 5, cols: 52, inputOffset: 36, outputOffset: 12 },
];
