import type { View } from "../gpu/view.js";
import type { Recorder } from "../net/recorder.js";
import type { Layer } from "../net/tape.js";
import { crossEntropy } from "../ops/classification.js";
import { PartialSums } from "./terms.js";

export interface CrossEntropyWhere {
  /** [images, classes] f32, and the gradient there, elem. */
  logits: View;
  dLogits: View;
  /** [images] pairs: see `targetsOf`. */
  targets: GPUBuffer;
}

/** A class weight each. */
export const evenWeights = (classes: number): number[] => new Array(classes).fill(1);

/**
 * What the loss is told of every image: its label, and the bits of the number that its loss is multiplied by, one over the sum of
 * the batch's class weights. PyTorch's mean is weighted so.
 * @param all labels of the whole batch, which these may be some of
 * @returns [2 · labels]
 */
export function targetsOf(labels: ArrayLike<number>, all: ArrayLike<number>, weights: ArrayLike<number>): Uint32Array {
  const sum = Array.from(all, (label) => weights[label]!).reduce((a, b) => a + b, 0);
  const targets = new Uint32Array(2 * labels.length);
  const scales = new Float32Array(targets.buffer);
  for (let i = 0; i < labels.length; i++) {
    targets[2 * i] = labels[i]!;
    // A batch in which no class counts has nothing to learn from; a quotient of zeros would be NaN.
    scales[2 * i + 1] = sum > 0 ? 1 / sum : 0;
  }
  return targets;
}

/** Softmax cross-entropy with label smoothing and class weights. It ends the graph: its gradient is written where it stands. */
export class CrossEntropy implements Layer<CrossEntropyWhere> {
  readonly #losses: GPUBuffer;
  readonly #options: { classes: number; smoothing: number; weights: readonly number[]; scale: number };

  /** @param losses the sums of the loss terms, of which this is the only one; @param options `scale`: of the gradient */
  constructor(losses: GPUBuffer, options: { classes: number; smoothing: number; weights: readonly number[]; scale: number }) {
    this.#losses = losses;
    this.#options = options;
  }

  forward(r: Recorder, { logits, dLogits, targets }: CrossEntropyWhere): void {
    const { classes, smoothing, weights, scale } = this.#options;
    const partials = new PartialSums(r);
    const [rows] = partials.term([4 * logits.rows]);
    const padded = new Float32Array(logits.cols);
    padded.set(weights);
    r.emit(crossEntropy, {
      ...{ logits, classes, targets, classWeights: r.constant("class weights", padded) },
      ...{ partials: rows!, gradient: dLogits, smoothing, lossScale: scale },
    });
    partials.total(this.#losses);
  }
}
