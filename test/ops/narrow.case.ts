import { view } from "../../src/gpu/view.js";
import { narrow } from "../../src/ops/rows.js";
import { kept } from "../support/elements.js";
import { Contents, memo, type Op, type OpCase, randomOf } from "../support/op.js";
import { published } from "./published.js";

export interface NarrowCase extends OpCase {
  rows: number;
  cols: number;
  /** Numbers in front of the first row. */
  front?: number;
  /** Numbers behind the last one. */
  behind?: number;
}

export const narrowCases: readonly NarrowCase[] = [
  { name: "rows of a gradient", rows: 65, cols: 4, front: 8, behind: 12 },
  ...published(({ bench, title, batch, tokens, width }): NarrowCase[] => [
    { name: `${title}: three streams`, bench, rows: 3 * batch * tokens, cols: width },
  ]),
];

export const narrowOp: Op<NarrowCase> = {
  name: "narrow",
  cases: narrowCases,
  setup(one, profile) {
    const { rows, cols, front = 0, behind = 0 } = one;
    const count = rows * cols;
    const input = memo(() => randomOf(one).normals(front + count + behind));
    const wanted = memo(() => kept(profile, input().slice(front, front + count)));
    const contents = new Contents();
    const y = contents.output(profile, "elem", rows, cols);
    return {
      call: narrow(profile, { x: view(contents.add(input), "f32", rows, cols, { first: front }), y: y.view }),
      contents,
      outputs: [y.output],
      results: [{ size: count, exact: true, expected: (at) => wanted()[at]! }],
      flops: 0,
      shape: `${rows} × ${cols}`,
    };
  },
};
