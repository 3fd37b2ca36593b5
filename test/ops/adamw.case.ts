import { adamW, stateWords, stepSettings } from "../../src/ops/optimizer.js";
import { Contents, memo, type Op, randomOf } from "../support/op.js";
import { ADAMW } from "./finish-step.case.js";
import { type FlatCase, flatCases } from "./sum-squares.case.js";

export interface AdamWCase extends FlatCase {
  step?: number;
  /** What the gradient is multiplied by. */
  coefficient?: number;
  /** Adam with L2 decay. */
  adam?: boolean;
  /** Every so many blocks of 64 numbers there is one that does not decay; all do where it is left out. */
  spared?: number;
}

export const adamWCases: readonly AdamWCase[] = [
  ...flatCases,
  { name: "a late step", count: 4 * 100, step: 12_345 },
  { name: "a gradient that is clipped", count: 4 * 100, coefficient: 1e-3 },
  { name: "Adam with L2 decay", count: 4 * 100, adam: true },
  { name: "numbers that do not decay", count: 64 * 70 + 12, spared: 3 },
  { name: "Adam, numbers that do not decay", count: 64 * 70 + 12, spared: 2, adam: true, coefficient: 0.5 },
];

/** One number of `torch.optim.AdamW`, or of `torch.optim.Adam`, behind its clipping. */
export function adamWOracle(
  weight: number,
  first: number,
  second: number,
  clipped: number,
  step: number,
  rate: number,
  { adam = false, decay = DECAY } = {},
) {
  const { beta1, beta2, epsilon } = ADAMW;
  const gradient = clipped + (adam ? decay * weight : 0);
  const m = beta1 * first + (1 - beta1) * gradient;
  const v = beta2 * second + (1 - beta2) * gradient * gradient;
  const denominator = Math.sqrt(v) / Math.sqrt(1 - beta2 ** step) + epsilon;
  return {
    weight: weight * (1 - (adam ? 0 : rate * decay)) - ((rate / (1 - beta1 ** step)) * m) / denominator,
    first: m,
    second: v,
  };
}

const RATE = 1e-3;
/** Large, so that a decay that is missing shows. */
export const DECAY = 0.5;

export const adamWOp: Op<AdamWCase> = {
  name: "adamw",
  cases: adamWCases,
  setup(one, profile) {
    const { count, step = 2, coefficient = 1, adam = false, spared = Number.POSITIVE_INFINITY } = one;
    const decays = (i: number) => (Math.floor(i / 64) + 1) % spared !== 0;
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
      return adamWOracle(weights[i]!, first[i]!, second[i]!, gradient, step, RATE, { adam, decay: decays(i) ? DECAY : 0 });
    };
    const decayed = () => {
      const words = new Uint32Array(Math.ceil(count / 64 / 32));
      for (let block = 0; 64 * block < count; block++) if (decays(64 * block)) words[block >> 5]! |= 1 << (block & 31);
      return words;
    };
    return {
      call: adamW(profile, {
        gradients: contents.add(() => operands().gradients),
        settings: contents.add(() => stepSettings(step, RATE, ADAMW)),
        state,
        weights: weights.view.buffer,
        first: first.view.buffer,
        second: second.view.buffer,
        decayed: contents.add(decayed),
        count,
        constants: { ...ADAMW, weightDecay: DECAY, decoupled: !adam },
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
