import { rowsOf, type View } from "../../gpu/view.js";
import { layerNorm } from "../../ops/layer-norm.js";
import { layerNormBackward } from "../../ops/layer-norm-backward.js";
import { linear } from "../../ops/linear.js";
import { gelu } from "../../ops/rows.js";
import type { TrainedLinear } from "../folding.js";
import type { Recorder } from "../recorder.js";
import type { Layer } from "../tape.js";
import { asOperand, inputGradient, weightGradient } from "./adjoints.js";
import { addBranch, branchGradient, type DropPath } from "./drop-path.js";

export interface MlpWhere {
  /** Residual rows, f32. */
  x: View;
  /** fc1's results, kept: [rows, hidden] elem. */
  hidden: View;
  /** Where the results go: rows of x from `row` on, as many as y has. `again`: they are wanted again where they were not kept. */
  outputs: readonly { row: number; y: View; again?: boolean }[];
  /** The gradient of all results, which becomes that of x in place. */
  dx: View;
  /** With one output of all rows. */
  drop?: DropPath | undefined;
}

/** y = x + fc2(GELU(fc1(LayerNorm(x)))). */
export class Mlp implements Layer<MlpWhere> {
  readonly #fc1: TrainedLinear;
  readonly #fc2: TrainedLinear;
  readonly #gradients: GPUBuffer;
  /** Numbers of a row that count. */
  readonly #width: number;

  constructor(fc1: TrainedLinear, fc2: TrainedLinear, gradients: GPUBuffer, width: number) {
    this.#fc1 = fc1;
    this.#fc2 = fc2;
    this.#gradients = gradients;
    this.#width = width;
  }

  #normalize(r: Recorder, x: View): View {
    const normal = r.scratch("normal rows", x.rows, this.#fc1.linear.cols, "elem");
    r.emit(layerNorm, { x, y: normal, width: this.#width });
    return normal;
  }

  #activate(r: Recorder, hidden: View): View {
    const activated = r.scratch("wide rows", hidden.rows, hidden.cols, "elem");
    r.emit(gelu, { x: hidden, y: activated });
    return activated;
  }

  #run(r: Recorder, { x, hidden, drop }: MlpWhere, outputs: MlpWhere["outputs"]): void {
    const normal = this.#normalize(r, x);
    r.section("GEMM", () => r.emit(linear, { x: normal, w: this.#fc1.forward, bias: this.#fc1.bias, y: hidden }));
    if (outputs.length === 0) return;
    const activated = this.#activate(r, hidden);
    const { forward: w, bias } = this.#fc2;
    for (const { row, y } of outputs) {
      const rows = (matrix: View) => rowsOf(matrix, row, y.rows);
      addBranch(r, drop, rows(x), y, (to) =>
        r.section("GEMM", () => r.emit(linear, { x: rows(activated), w, bias, y: to, ...(to === y ? { table: rows(x) } : {}) })),
      );
    }
  }

  forward(r: Recorder, where: MlpWhere): void {
    this.#run(r, where, where.outputs);
  }

  again(r: Recorder, where: MlpWhere): void {
    this.#run(
      r,
      where,
      where.outputs.filter(({ again }) => again),
    );
  }

  backward(r: Recorder, { x, hidden, dx, drop }: MlpWhere): void {
    const [fc1, fc2] = [this.#fc1.linear.parts[0]!, this.#fc2.linear.parts[0]!];
    const activated = this.#activate(r, hidden);
    const dBranch = branchGradient(r, drop, dx);
    weightGradient(r, this.#gradients, fc2, dBranch, activated);
    const dHidden = r.scratch("wide gradient", hidden.rows, hidden.cols, "elem");
    inputGradient(r, this.#fc2, asOperand(r, dBranch), dHidden, { at: hidden });
    const normal = this.#normalize(r, x);
    weightGradient(r, this.#gradients, fc1, dHidden, normal);
    const dNormal = r.scratch("narrow gradient", x.rows, fc1.cols, "elem");
    inputGradient(r, this.#fc1, dHidden, dNormal);
    r.emit(layerNormBackward, { x, dy: dNormal, dx, width: this.#width, accumulate: true });
  }
}
