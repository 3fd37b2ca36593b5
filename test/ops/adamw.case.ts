import { adamW, stateWords, stepSettings } from "../../src/ops/optimizer.js";
import { Contents, memo, type Op, randomOf } from "../support/op.js";
import { ADAMW } from "./finish-step.case.js";
import { type FlatCase, flatCases } from "./sum-squares.case.js";

export interface AdamWCase extends FlatCase {
  step?: number;
  /** What the gradient is multiplied by. */
  coefficient?: number;
}

export const adamWCases: readonly AdamWCase[] = [
  ...flatCases,
  { name: "a late step", count: 4 * 100, step: 12_345 },
  { name: "a gradient that is clipped", count: 4 * 100, coefficient: 1e-3 },
];

/** One number of `torch.optim.AdamW`, behind its clipping. */
export function adamWOracle(weight: number, first: number, second: number, gradient: number, step: number, rate: number) {
  const { beta1, beta2, epsilon, weightDecay } = ADAMW;
  const m = beta1 * first + (1 - beta1) * gradient;
  const v = beta2 * second + (1 - beta2) * gradient * gradient;
  const denominator = Math.sqrt(v) / Math.sqrt(1 - beta2 ** step) + epsilon;
  return { weight: weight * (1 - rate * weightDecay) - ((rate / (1 - beta1 ** step)) * m) / denominator, first: m, second: v };
}

const RATE = 1e-3;

export const adamWOp: Op<AdamWCase> = {
  name: "adamw",
  cases: adamWCases,
  setup(one, profile) {
    const { count, step = 2, coefficient = 1 } = one;
    const operands = memo(() => {
      const random = randomOf(one);
      const squares = random.normals(count, 0.1);
      return {
        weights: random.normals(count),
        first: random.normals(count, 0.1),
        second: squares.map((x) => x * x),
        gradients: random.normals(count, 0.1),
      };
    });
    const contents = new Contents();
    const moving = (name: "weights" | "first" | "second") =>
      contents.output(profile, "f32", 1, count, {}, () => operands()[name]);
    const [weights, first, second] = [moving("weights"), moving("first"), moving("second")];
    const state = contents.add(() => {
      const words = new Float32Array(stateWords(4));
      words[1] = coefficient;
      return words;
    });
    const at = (i: number) => {
      const { weights, first, second, gradients } = operands();
      const gradient = Math.fround(coefficient) * gradients[i]!;
      return adamWOracle(weights[i]!, first[i]!, second[i]!, gradient, step, RATE);
    };
    return {
      call: adamW(profile, {
        gradients: contents.add(() => operands().gradients),
        settings: contents.add(() => stepSettings(step, RATE, ADAMW)),
        state,
        weights: weights.view.buffer,
        first: first.view.buffer,
        second: second.view.buffer,
        count,
        constants: ADAMW,
      }),
      contents,
      outputs: [weights.output, first.output, second.output],
      results: [
        { name: "weights", size: count, expected: (i) => at(i).weight, tolerance: () => ({ bound: 1e-6 }) },
        { name: "first moments", of: 1, size: count, expected: (i) => at(i).first, tolerance: () => ({ bound: 1e-6 }) },
        { name: "second moments", of: 2, size: count, expected: (i) => at(i).second, tolerance: () => ({ bound: 1e-6 }) },
      ],
      flops: 0,
      shape: `${count}`,
    };
  },
};
