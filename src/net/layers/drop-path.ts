import type { View } from "../../gpu/view.js";
import { scaleRows } from "../../ops/rows.js";
import type { Recorder } from "../recorder.js";

/** Stochastic depth (Huang et al. 2016): what an image's branch is multiplied by, 0 or 1 / (1 - p), before it is added. */
export interface DropPath {
  /** A number for every `each` rows, f32. */
  factors: View;
  each: number;
}

/** y = x + branch. `emit` computes the branch into what it is given: into y itself, x added, where nothing is dropped. */
export function addBranch(r: Recorder, drop: DropPath | undefined, x: View, y: View, emit: (to: View) => void): void {
  if (!drop) {
    emit(y);
    return;
  }
  const branch = r.scratch("branch", y.rows, y.cols, "f32");
  emit(branch);
  r.emit(scaleRows, { ...drop, x: branch, residual: x, y });
}

/** The branch's gradient, from that of the sum; the residual's is the sum's own. */
export function branchGradient(r: Recorder, drop: DropPath | undefined, dy: View): View {
  if (!drop) return dy;
  const branch = r.scratch("branch", dy.rows, dy.cols, "f32");
  r.emit(scaleRows, { ...drop, x: dy, y: branch });
  return branch;
}
