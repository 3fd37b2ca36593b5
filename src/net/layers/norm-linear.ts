import { columnsOf, rowsOf, type View } from "../../gpu/view.js";
import { layerNorm } from "../../ops/layer-norm.js";
import { layerNormBackward } from "../../ops/layer-norm-backward.js";
import { linear } from "../../ops/linear.js";
import type { TrainedLinear } from "../folding.js";
import type { Recorder } from "../recorder.js";
import type { Layer } from "../tape.js";
import { inputGradient, weightGradient } from "./adjoints.js";

/** Some outputs of the layer for some rows. */
export interface Projection {
  /** First of the rows of x, first of the outputs; as many of each as y has rows and columns. */
  row: number;
  output: number;
  y: View;
  dy: View;
}

/** Rows of the residual stream, and what becomes of them. */
export interface Side {
  x: View;
  dx: View;
  /** Whether dx is added to what is there. */
  accumulate: boolean;
  projections: readonly Projection[];
}

/** LayerNorm and a linear layer whose parts may be wanted for different rows: queries here, keys and values there. */
export class NormLinear implements Layer<readonly Side[]> {
  readonly #weights: TrainedLinear;
  readonly #gradients: GPUBuffer;
  /** Numbers of a row that count. */
  readonly #width: number;

  constructor(weights: TrainedLinear, gradients: GPUBuffer, width: number) {
    this.#weights = weights;
    this.#gradients = gradients;
    this.#width = width;
  }

  #normal(r: Recorder, rows: number): View {
    return r.scratch("normal rows", rows, this.#weights.linear.cols, "elem");
  }

  forward(r: Recorder, sides: readonly Side[]): void {
    const { forward, bias } = this.#weights;
    const normal = this.#normal(
      r,
      sides.reduce((sum, { x }) => sum + x.rows, 0),
    );
    const starts = sides.map((_, index) => sides.slice(0, index).reduce((sum, { x }) => sum + x.rows, 0));
    for (const [index, { x }] of sides.entries())
      r.emit(layerNorm, { x, y: rowsOf(normal, starts[index]!, x.rows), width: this.#width });
    r.section("GEMM", () => {
      for (const [index, { projections }] of sides.entries())
        for (const { row, output, y } of projections)
          r.emit(linear, { x: rowsOf(normal, starts[index]! + row, y.rows), w: columnsOf(forward, output, y.cols), bias, y });
    });
  }

  backward(r: Recorder, sides: readonly Side[]): void {
    for (const { x, dx, accumulate, projections } of sides) {
      const normal = this.#normal(r, x.rows);
      const dNormal = r.scratch("narrow gradient", x.rows, this.#weights.linear.cols, "elem");
      r.emit(layerNorm, { x, y: normal, width: this.#width });
      for (const part of this.#weights.linear.parts) {
        // The rows that want this part begin together and end with the last of them.
        const users = projections.filter(({ output, y }) => output <= part.first && part.first + part.rows <= output + y.cols);
        if (users.length === 0) continue;
        const [{ row, output, dy }] = users as [Projection];
        const end = Math.max(...users.map((user) => user.row + user.y.rows));
        const gradient = { ...columnsOf(dy, part.first - output, part.rows), rows: end - row };
        weightGradient(r, this.#gradients, part, gradient, rowsOf(normal, row, end - row));
      }
      for (const { row, output, dy } of projections)
        inputGradient(r, this.#weights, dy, rowsOf(dNormal, row, dy.rows), { firstOutput: output });
      r.emit(layerNormBackward, { x, dy: dNormal, dx, width: this.#width, accumulate });
    }
  }
}
