import { foldMatrix } from "../../src/ops/weights.js";
import { Contents, memo, type Op } from "../support/op.js";
import { type FoldCase, flatWeights, foldSizes, placeOf } from "./flat-weights.js";

/** Outputs of other matrices in front of this one's, and behind them. */
const COLUMN = 8;
const BEHIND = 4;
const FACTOR = 0.125;

export const foldMatrixOp: Op<FoldCase> = {
  name: "fold_matrix",
  cases: foldSizes.flatMap((one) => [one, { ...one, bare: true }]),
  setup(one, profile) {
    const { rows, cols, bare = false } = one;
    const weights = memo(() => flatWeights(one, "fold"));
    const { length: _, norm, ...place } = placeOf(one);
    const contents = new Contents();
    const stride = COLUMN + rows + BEHIND;
    const forward = contents.output(profile, "elem", cols, rows, { first: COLUMN, stride });
    const backward = contents.output(profile, "elem", rows, cols, { first: COLUMN * cols });
    const at = (o: number, i: number) => weights().values[place.weight + o * cols + i]!;
    const gamma = (i: number) => (bare ? 1 : weights().values[norm.gamma + i]!);
    const tolerance = () => ({ bound: profile.elementBytes === 2 ? 2 ** -11 : 1e-6 });
    return {
      call: foldMatrix(profile, {
        ...{ rows, cols, ...place, factor: FACTOR, column: COLUMN },
        norm: bare ? undefined : norm,
        parameters: contents.add(() => weights().values),
        // Of all outputs: this matrix' own begin at `column`.
        forward: { ...forward.view, cols: stride, first: 0 },
        backward: backward.view.buffer,
      }),
      contents,
      outputs: [forward.output, backward.output],
      results: [
        {
          name: "forward",
          size: rows * cols,
          expected: (k) => FACTOR * gamma(Math.floor(k / rows)) * at(k % rows, Math.floor(k / rows)),
          tolerance,
        },
        {
          name: "backward",
          of: 1,
          size: rows * cols,
          expected: (k) => gamma(k % cols) * at(Math.floor(k / cols), k % cols),
          tolerance,
        },
      ],
      flops: 0,
      shape: `${rows} × ${cols}${bare ? "" : " with its norm"}`,
    };
  },
};
