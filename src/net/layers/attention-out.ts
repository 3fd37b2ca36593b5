import { rowsOf, type View } from "../../gpu/view.js";
import { attention } from "../../ops/attention.js";
import { attentionBackwardContext, attentionBackwardQuery } from "../../ops/attention-backward.js";
import { linear } from "../../ops/linear.js";
import { addRows } from "../../ops/rows.js";
import type { TrainedLinear } from "../folding.js";
import type { Recorder } from "../recorder.js";
import type { Layer } from "../tape.js";
import { asOperand, inputGradient, weightGradient } from "./adjoints.js";
import { addBranch, branchGradient, type DropPath } from "./drop-path.js";

/** Which sequences attend to which contexts: see ops/attention.ts and ops/attention-backward.ts. */
export interface AttentionIndex {
  sequences: number;
  contexts: number;
  index: GPUBuffer;
  readers: GPUBuffer;
}

export interface AttentionWhere {
  sequences: AttentionIndex;
  q: View;
  k: View;
  v: View;
  dq: View;
  dk: View;
  dv: View;
  /** What comes out of attention, kept: [rows, heads · head size] elem. */
  attended: View;
  /** The residual rows that are added, and the result, f32. */
  x: View;
  y: View;
  dy: View;
  /** Where the residual's gradient goes: dy's own rows, or others that it is added to. */
  dx: View;
  drop?: DropPath | undefined;
}

/** Attention by heads, its output projection, and the residual: y = x + W · attention(q, k, v) + b. */
export class AttentionOut implements Layer<AttentionWhere> {
  readonly #weights: TrainedLinear;
  readonly #gradients: GPUBuffer;
  readonly #tokens: number;
  readonly #heads: number;
  /** What queries were multiplied by when their matrix was folded. */
  readonly #scale: number;

  constructor(weights: TrainedLinear, gradients: GPUBuffer, shape: { tokens: number; heads: number; scale: number }) {
    this.#weights = weights;
    this.#gradients = gradients;
    this.#tokens = shape.tokens;
    this.#heads = shape.heads;
    this.#scale = shape.scale;
  }

  #operands({ sequences: { sequences, index }, q, k, v, attended }: AttentionWhere) {
    return { sequences, index, tokens: this.#tokens, heads: this.#heads, q, k, v, y: attended };
  }

  forward(r: Recorder, where: AttentionWhere): void {
    r.section("attention", () => r.emit(attention, this.#operands(where)));
    const { attended, x, y } = where;
    const { forward: w, bias } = this.#weights;
    addBranch(r, where.drop, x, y, (to) =>
      r.section("GEMM", () => r.emit(linear, { x: attended, w, bias, y: to, ...(to === y ? { table: x } : {}) })),
    );
  }

  backward(r: Recorder, where: AttentionWhere): void {
    const { attended, dy, dx, dq, dk, dv, sequences } = where;
    const dBranch = branchGradient(r, where.drop, dy);
    weightGradient(r, this.#gradients, this.#weights.linear.parts[0]!, dBranch, attended);
    const dAttended = r.scratch("narrow gradient", attended.rows, attended.cols, "elem");
    inputGradient(r, this.#weights, asOperand(r, dBranch), dAttended);
    const statistics = r.scratch("attention statistics", attended.rows, 2 * this.#heads, "f32").buffer;
    const { contexts, readers } = sequences;
    const operands = { ...this.#operands(where), contexts, readers, dy: dAttended, dq, dk, dv, statistics, scale: this.#scale };
    r.section("attention", () => {
      r.emit(attentionBackwardQuery, operands);
      r.emit(attentionBackwardContext, operands);
    });
    if (dx.first !== dy.first) r.emit(addRows, { from: dy, to: rowsOf(dx, 0, dy.rows) });
  }
}
