import { unfold } from "../../src/ops/weights.js";
import { Contents, flat, memo, type Op } from "../support/op.js";
import { type FlatWeights, type FoldCase, flatWeights, foldSizes, placeOf } from "./flat-weights.js";

export const unfoldCases: readonly FoldCase[] = foldSizes;

type Numbers = ArrayLike<number>;

/**
 * L = Σ A[o, i]·V[o, i] + Σ a[o]·c[o]: a loss whose gradients to V and c, as the GEMMs used them, are A and a; `w` are the
 * weights and `given` holds A and a in the places of the matrix and its bias.
 */
export function foldedLoss(
  { rows, cols }: FoldCase,
  { weight, bias, norm }: FlatWeights["place"],
  w: Numbers,
  given: Numbers,
): number {
  let sum = 0;
  for (let o = 0; o < rows; o++) {
    let c = w[bias + o]!;
    for (let i = 0; i < cols; i++) {
      sum += given[weight + o * cols + i]! * w[norm.gamma + i]! * w[weight + o * cols + i]!;
      c += w[weight + o * cols + i]! * w[norm.beta + i]!;
    }
    sum += given[bias + o]! * c;
  }
  return sum;
}

/** Its gradients, to weight [rows, cols], gamma and beta [cols]; that to the bias is `given`'s. */
export function unfoldedGradients(one: FoldCase, { weight, bias, norm }: FlatWeights["place"], w: Numbers, given: Numbers) {
  const { rows, cols } = one;
  return {
    weight: (at: number) => {
      const [o, i] = [Math.floor(at / cols), at % cols];
      return w[norm.gamma + i]! * given[weight + at]! + given[bias + o]! * w[norm.beta + i]!;
    },
    gamma: (i: number) => {
      let sum = 0;
      for (let o = 0; o < rows; o++) sum += w[weight + o * cols + i]! * given[weight + o * cols + i]!;
      return sum;
    },
    beta: (i: number) => {
      let sum = 0;
      for (let o = 0; o < rows; o++) sum += w[weight + o * cols + i]! * given[bias + o]!;
      return sum;
    },
  };
}

export const unfoldOp: Op<FoldCase> = {
  name: "unfold",
  cases: unfoldCases,
  setup(one, profile) {
    const { rows, cols } = one;
    const { length: _, ...place } = placeOf(one);
    const operands = memo(() => ({
      weights: flatWeights(one, "fold").values,
      given: flatWeights(one, "unfold").values,
    }));
    const gradients = memo(() => unfoldedGradients(one, place, operands().weights, operands().given));
    const contents = new Contents();
    const buffer = contents.add(() => operands().given.slice());
    // What stood there before is added to: a scale belongs to more than one matrix.
    const added = (name: "gamma" | "beta", of: number) => ({
      name,
      of,
      size: cols,
      value: (numbers: Numbers, at: number) => numbers[at]! - operands().given[place.norm[name] + at]!,
      expected: (at: number) => gradients()[name](at),
    });
    const output = (count: number, first: number) => ({ buffer, kind: "f32", region: flat(count, first), adds: true }) as const;
    return {
      call: unfold(profile, {
        ...{ rows, cols, ...place },
        parameters: contents.add(() => operands().weights),
        gradients: buffer,
      }),
      contents,
      // The gradient of the bias stays what it is.
      outputs: [output(rows * cols, place.weight), output(cols, place.norm.gamma), output(cols, place.norm.beta)],
      results: [
        { name: "weight", size: rows * cols, expected: (at) => gradients().weight(at) },
        added("gamma", 1),
        added("beta", 2),
      ],
      flops: 0,
      shape: `${rows} × ${cols}`,
    };
  },
};
