import { type AdamW, finishStep, HISTORY, NORM_PARTIALS, stateWords, stepSettings } from "../../src/ops/optimizer.js";
import { Contents, flat, memo, type Op, type OpCase, randomOf } from "../support/op.js";

export const ADAMW: AdamW = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01, decoupled: true };

export interface FinishStepCase extends OpCase {
  /** From 1. */
  step: number;
  clip: number;
  /** Of the losses. */
  scale?: number;
  /** In the place of one of the losses. */
  loss?: number;
  /** The first step that was broken before. */
  broken?: number;
  /** Loss terms; 4 where nothing is said. */
  terms?: number;
}

export const finishStepCases: readonly FinishStepCase[] = [
  { name: "the first step, clipped", step: 1, clip: 1 },
  { name: "a small gradient is left alone", step: 2, clip: 1e6 },
  { name: "the scaling of losses is undone", step: 3, clip: 1, scale: 1024 },
  { name: "the history begins anew", step: HISTORY + 5, clip: 1 },
  { name: "a loss is NaN", step: 7, clip: 1, loss: Number.NaN },
  { name: "a loss is infinite", step: 7, clip: 1, loss: Number.NEGATIVE_INFINITY },
  { name: "an earlier step was broken", step: 8, clip: 1, broken: 7 },
  { name: "an earlier step was broken, and this one is", step: 8, clip: 1, loss: Number.NaN, broken: 7 },
  { name: "one term", step: 3, clip: 1, terms: 1 },
  { name: "six terms, and the history begins anew", step: 2 * HISTORY + 3, clip: 1, terms: 6 },
  { name: "any, batch 1: a step", bench: { batch: 1 }, step: 1, clip: 1 },
];

/** The bits of an f32. */
const bitsOf = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0]!;

export const finishStepOp: Op<FinishStepCase> = {
  name: "finish_step",
  cases: finishStepCases,
  setup(one, profile) {
    const { step, clip, scale = 1, loss, broken = 0, terms = 4 } = one;
    const operands = memo(() => {
      const random = randomOf(one);
      const losses = random.uniforms(terms);
      if (loss !== undefined) losses[2] = loss;
      return { partials: random.uniforms(NORM_PARTIALS, 0, 10), losses };
    });
    const contents = new Contents();
    const row = 4 + terms * ((step - 1) % HISTORY);
    const state = contents.add(() => {
      // As earlier steps have left it.
      const words = new Uint32Array(randomOf(one).uniforms(stateWords(terms)).buffer);
      words[2] = broken;
      return words;
    });
    const norm = memo(() => Math.sqrt(operands().partials.reduce((sum, x) => sum + x, 0)) / scale);
    const firstBroken = broken || (loss !== undefined ? step : 0);
    const number = (at: number, name: string, expected: () => number) => ({
      name,
      size: 1,
      value: (numbers: ArrayLike<number>) => numbers[at]!,
      expected,
      tolerance: () => ({ bound: 1e-6 }),
    });
    return {
      call: finishStep(profile, {
        partials: contents.add(() => operands().partials),
        losses: contents.add(() => operands().losses),
        settings: contents.add(() => stepSettings(step, 1e-3, ADAMW, scale)),
        state,
        clip,
        terms,
      }),
      contents,
      // The losses of other steps must stay, and the word that says which was broken where this one is not the first.
      outputs: [
        {
          buffer: state,
          kind: "f32",
          region: flat(stateWords(terms)),
          stays: (at) => (at > 3 && (at < row || at >= row + terms)) || (at === 2 && firstBroken === broken),
        },
      ],
      results: [
        number(0, "norm", norm),
        number(1, "coefficient", () => Math.min(1, clip / (norm() + 1e-6)) / scale),
        { name: "first broken step", size: 1, value: (numbers) => bitsOf(numbers[2]!), expected: () => firstBroken, exact: true },
        { name: "step", size: 1, value: (numbers) => bitsOf(numbers[3]!), expected: () => step, exact: true },
        {
          name: "losses",
          size: terms,
          value: (numbers, at) => numbers[row + at]!,
          expected: (at) => operands().losses[at]!,
          exact: true,
        },
      ],
      flops: 0,
      shape: `${NORM_PARTIALS}`,
    };
  },
};
