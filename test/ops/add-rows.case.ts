import { numbersOf } from "../../src/gpu/view.js";
import { addRows } from "../../src/ops/rows.js";
import { Contents, fill, flat, memo, type Op, type OpCase, randomOf, sentinels } from "../support/op.js";
import { published } from "./published.js";

export interface AddRowsCase extends OpCase {
  count: number;
  from: number;
  to: number;
}

export const addRowsCases: readonly AddRowsCase[] = [
  { name: "one vector", count: 4, from: 0, to: 4 },
  { name: "forwards, with a gap", count: 300, from: 12, to: 400 },
  { name: "backwards", count: 4 * 64 * 7 + 4, from: 2048, to: 16 },
  ...published(({ bench, title, batch, tokens, width }): AddRowsCase[] => {
    const count = batch * tokens * width;
    return [{ name: `${title}: one stream`, bench, count, from: 0, to: count }];
  }),
];

export const addRowsOp: Op<AddRowsCase> = {
  name: "add_rows",
  cases: addRowsCases,
  setup(one, profile) {
    const { count, from, to } = one;
    const values = memo(() => randomOf(one).normals(2 * count));
    const contents = new Contents();
    const buffer = contents.add(() => {
      const before = sentinels(flat(count, from), flat(count, to));
      fill(before, flat(count, from), values().subarray(0, count));
      fill(before, flat(count, to), values().subarray(count));
      return before;
    });
    return {
      call: addRows(profile, { from: numbersOf(buffer, count, from), to: numbersOf(buffer, count, to) }),
      contents,
      outputs: [{ buffer, kind: "f32", region: flat(count, to), adds: true }],
      results: [{ size: count, exact: true, expected: (at) => Math.fround(values()[at]! + values()[count + at]!) }],
      flops: 0,
      // Both rows lie in the one buffer.
      bytes: 3 * 4 * count,
      shape: `${count}`,
    };
  },
};
