import { foldBias } from "../../src/ops/weights.js";
import { Contents, memo, type Op } from "../support/op.js";
import { type FoldCase, flatWeights, foldSizes, placeOf } from "./flat-weights.js";

const FACTOR = 0.125;
/** Numbers of other biases in front. */
const FIRST = 8;

export const foldBiasOp: Op<FoldCase> = {
  name: "fold_bias",
  cases: foldSizes.flatMap((one) => [one, { ...one, bare: true }]),
  setup(one, profile) {
    const { rows, cols, bare = false } = one;
    const weights = memo(() => flatWeights(one, "fold"));
    const { length: _, norm, ...place } = placeOf(one);
    const contents = new Contents();
    const folded = contents.output(profile, "f32", 1, rows, { first: FIRST });
    return {
      call: foldBias(profile, {
        ...{ rows, cols, ...place, factor: FACTOR, first: FIRST },
        norm: bare ? undefined : norm,
        parameters: contents.add(() => weights().values),
        folded: folded.view.buffer,
      }),
      contents,
      outputs: [folded.output],
      results: [
        {
          size: rows,
          expected: (o) => {
            const { values } = weights();
            let sum = values[place.bias + o]!;
            if (!bare) for (let i = 0; i < cols; i++) sum += values[place.weight + o * cols + i]! * values[norm.beta + i]!;
            return FACTOR * sum;
          },
        },
      ],
      flops: 0,
      shape: `${rows} × ${cols}${bare ? "" : " with its norm"}`,
    };
  },
};
