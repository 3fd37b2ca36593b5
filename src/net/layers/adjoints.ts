import type { Profile } from "../../gpu/profile.js";
import { columnsOf, numbersOf, rowsOf, type View, view } from "../../gpu/view.js";
import { linear } from "../../ops/linear.js";
import { narrow, sumRows, sumSlices, transpose } from "../../ops/rows.js";
import type { TrainedLinear } from "../folding.js";
import type { Part } from "../parameters.js";
import type { Recorder } from "../recorder.js";

/** What the backward passes of several layers are made of. */

/** Rows that a GEMM's depth is rounded up to, so that every kernel's panels are whole. */
const DEPTH_UNIT = 32;
/** Slices of split-K at most, in gradients of matrices; and how many workgroups are worth having. */
const MOST_SLICES = 32;
const ENOUGH_TILES = 256;
/** Rows of a slice at least: shorter ones cost more in sums than they win. */
const SHORTEST_SLICE = 128;

/**
 * Rows of zeros that must stand behind every operand of a weight gradient: its depth, which is rounded up, reads them, and zero
 * times NaN would be NaN.
 */
export const rowsBehind = ({ software }: Profile): number => DEPTH_UNIT * (software ? 1 : MOST_SLICES);

/** Split-K: how the gradient of a [rows, cols] matrix is summed over `depth` rows, in slices, and the rows of each. */
function splitDepth({ software }: Profile, depth: number, rows: number, cols: number): { slices: number; each: number } {
  const tiles = Math.ceil(rows / 64) * Math.ceil(cols / 64);
  const wanted = software ? 1 : Math.ceil(ENOUGH_TILES / tiles);
  const most = Math.max(1, Math.floor(depth / SHORTEST_SLICE));
  const each = DEPTH_UNIT * Math.ceil(depth / Math.min(wanted, most, MOST_SLICES) / DEPTH_UNIT);
  return { slices: Math.ceil(depth / each), each };
}

/** A matrix and its bias in the flat array of gradients; the bias may be left out. */
export type GradientPlace = Pick<Part, "weight" | "rows" | "cols"> & { bias?: number };

/** dW += dyᵀ · x, db += Σ dy, over all rows of x. */
export function weightGradient(r: Recorder, gradients: GPUBuffer, place: GradientPlace, dy: View, x: View): void {
  const { rows, cols, weight, bias } = place;
  const { slices, each } = splitDepth(r.profile, x.rows, rows, cols);
  const transposed = r.scratch("transposed gradient", rows, slices * each, "elem");
  const partial = slices === 1 ? undefined : r.scratch("split-K partials", slices, rows * cols, "f32");
  r.emit(transpose, { x: { ...dy, rows: x.rows }, y: transposed });
  if (bias !== undefined) r.emit(sumRows, { x: transposed, y: numbersOf(gradients, rows, bias), accumulate: true });
  const whole = view(gradients, "f32", rows, cols, { first: weight });
  r.section("GEMM", () =>
    r.emit(linear, {
      x: columnsOf(transposed, 0, each),
      w: x,
      y: partial ? view(partial.buffer, "f32", rows, cols) : whole,
      residual: partial ? undefined : whole,
      slices: { count: slices, x: each, w: each * x.stride, y: rows * cols },
    }),
  );
  if (partial) r.emit(sumSlices, { x: partial, y: whole, accumulate: true });
}

/** dx = dy · W, by the outputs of W from `firstOutput` on; with `at` times the derivative of GELU there, in front of the layer. */
export function inputGradient(
  r: Recorder,
  { backward }: TrainedLinear,
  dy: View,
  dx: View,
  { firstOutput = 0, at }: { firstOutput?: number; at?: View } = {},
): void {
  const derivative = at && ({ of: "gelu", at } as const);
  r.section("GEMM", () => r.emit(linear, { x: dy, w: rowsOf(backward, firstOutput, dy.cols), y: dx, derivative }));
}

/** Rows of a gradient that is kept in f32 as an operand of GEMMs. */
export function asOperand(r: Recorder, dy: View): View {
  if (r.profile.elementBytes === 4) return { ...dy, type: "elem" };
  const narrowed = r.scratch("narrowed gradient", dy.rows, dy.cols, "elem");
  r.emit(narrow, { x: dy, y: narrowed });
  return narrowed;
}
