import { everyRow, type View } from "../../gpu/view.js";
import { layerNorm } from "../../ops/layer-norm.js";
import { layerNormBackward } from "../../ops/layer-norm-backward.js";
import { linear } from "../../ops/linear.js";
import type { TrainedLinear } from "../folding.js";
import type { Recorder } from "../recorder.js";
import type { Layer } from "../tape.js";
import { inputGradient, weightGradient } from "./adjoints.js";

export interface ClsHeadWhere {
  /** Tokens of all images, f32, and their gradient, which is written: zero but for CLS's. */
  x: View;
  dx: View;
  /** Tokens of an image. */
  tokens: number;
  /** [images, classes] f32, and the gradient there, elem. */
  logits: View;
  dLogits: View;
}

/** logits = W · LayerNorm(CLS) + b: the final norm and the classifier, over the first row of every image. */
export class ClsHead implements Layer<ClsHeadWhere> {
  readonly #weights: TrainedLinear;
  readonly #gradients: GPUBuffer;
  /** Numbers of a row that count. */
  readonly #width: number;

  constructor(weights: TrainedLinear, gradients: GPUBuffer, width: number) {
    this.#weights = weights;
    this.#gradients = gradients;
    this.#width = width;
  }

  #normalize(r: Recorder, { x, tokens }: ClsHeadWhere): View {
    const normal = r.scratch("normal rows", x.rows / tokens, this.#weights.linear.cols, "elem");
    r.emit(layerNorm, { x: everyRow(x, tokens), y: normal, width: this.#width });
    return normal;
  }

  forward(r: Recorder, where: ClsHeadWhere): void {
    const normal = this.#normalize(r, where);
    const { forward: w, bias } = this.#weights;
    r.section("GEMM", () => r.emit(linear, { x: normal, w, bias, y: where.logits }));
  }

  backward(r: Recorder, where: ClsHeadWhere): void {
    const { x, dx, tokens, dLogits } = where;
    const normal = this.#normalize(r, where);
    weightGradient(r, this.#gradients, this.#weights.linear.parts[0]!, dLogits, normal);
    const dNormal = r.scratch("narrow gradient", normal.rows, normal.cols, "elem");
    inputGradient(r, this.#weights, dLogits, dNormal);
    // What lies behind `width` in a row of the gradient becomes zero: here that is all of the image's other tokens.
    const row = { dy: dNormal, width: this.#width, accumulate: false };
    r.emit(layerNormBackward, { ...row, x: everyRow(x, tokens), dx: everyRow(dx, tokens) });
  }
}
