import { presetConfig } from "../../src/models/stylizing-vit/config.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { NORM_PARTIALS, sumSquares } from "../../src/ops/optimizer.js";
import { Contents, memo, type Op, type OpCase, randomOf } from "../support/op.js";
import { published } from "./published.js";

export interface FlatCase extends OpCase {
  /** A multiple of 4. */
  count: number;
}

/** Numbers of a published model's trained weights, up to a multiple of 4. */
const weightsOf = (model: string): number => {
  let count = 0;
  for (const shape of parameterShapes(presetConfig(model)).values()) count += shape.reduce((a, b) => a * b, 1);
  return 4 * Math.ceil(count / 4);
};

export const flatCases: readonly FlatCase[] = [
  { name: "one vector", count: 4 },
  { name: "one past whole workgroups", count: 4 * (64 * NORM_PARTIALS + 1) },
  { name: "an odd count", count: 4 * 5003 },
  ...published(({ bench, title }): FlatCase[] => [{ name: `${title}: weights`, bench, count: weightsOf(bench.model) }], [1]),
];

/** The partial sums, which are compared by their sum. */
export const sumSquaresOp: Op<FlatCase> = {
  name: "sum_squares",
  cases: flatCases,
  setup(one, profile) {
    const { count } = one;
    const values = memo(() => randomOf(one).normals(count));
    const contents = new Contents();
    const partials = contents.output(profile, "f32", 1, NORM_PARTIALS);
    return {
      call: sumSquares(profile, { values: contents.add(values), partials: partials.view.buffer, count }),
      contents,
      outputs: [partials.output],
      results: [
        {
          size: 1,
          value: (numbers) => Array.from(numbers).reduce((sum, x) => sum + x, 0),
          expected: () => values().reduce((sum, x) => sum + x * x, 0),
          tolerance: () => ({ bound: 1e-6 }),
        },
      ],
      flops: 0,
      shape: `${count}`,
    };
  },
};
