import { view } from "../../src/gpu/view.js";
import { linear } from "../../src/ops/linear.js";
import { kept } from "../support/elements.js";
import { Contents, inUnits, memo, type Op, type OpCase, randomOf } from "../support/op.js";
import { linearRow } from "./linear.case.js";
import { published } from "./published.js";

/** GEMMs of one shape side by side: a split-K GEMM, as the gradient of a weight is. */
export interface LinearSlicesCase extends OpCase {
  slices: number;
  rows: number;
  /** Of one slice. */
  depth: number;
  cols: number;
  accumulate: boolean;
}

export const linearSlicesCases: readonly LinearSlicesCase[] = [
  { name: "one slice, added", slices: 1, rows: 12, depth: 32, cols: 20, accumulate: true },
  { name: "three slices", slices: 3, rows: 12, depth: 32, cols: 24, accumulate: false },
  { name: "five slices, added", slices: 5, rows: 33, depth: 64, cols: 40, accumulate: true },
  ...published(
    ({ bench, title, batch, width, hidden }): LinearSlicesCase[] => [
      {
        name: `${title}: gradient of fc1`,
        bench,
        slices: 3 * batch,
        rows: width,
        depth: 208,
        cols: hidden,
        accumulate: false,
      },
    ],
    [1, 8],
  ),
];

export const linearSlicesOp: Op<LinearSlicesCase> = {
  name: "linear_slices",
  cases: linearSlicesCases,
  setup(one, profile) {
    const { slices, rows, depth, cols, accumulate } = one;
    const count = slices * rows * cols;
    const operands = memo(() => {
      const random = randomOf(one);
      return {
        // The left side's rows hold the depth of all slices, the right side's rows are the depth.
        input: kept(profile, random.normals(rows * slices * depth)),
        weight: kept(profile, random.normals(slices * depth * cols)),
        old: random.normals(count),
      };
    });
    const contents = new Contents();
    const x = contents.matrix(profile, "elem", rows, slices * depth, () => operands().input);
    const w = contents.matrix(profile, "elem", slices * depth, cols, () => operands().weight);
    const { view: all, output } = contents.output(
      profile,
      "f32",
      1,
      count,
      { first: 8 },
      accumulate ? () => operands().old : undefined,
    );
    const y = view(all.buffer, "f32", rows, cols, { first: all.first });
    const call = linear(profile, {
      x: { ...x, cols: depth },
      w: { ...w, rows: depth },
      y,
      ...(accumulate ? { residual: y } : {}),
      slices: { count: slices, x: depth, w: depth * cols, y: rows * cols },
    });
    return {
      call,
      contents,
      outputs: [output],
      results: [
        {
          size: count,
          expected: inUnits(cols, (unit) => {
            const [slice, row] = [Math.floor(unit / rows), unit % rows];
            const { input, weight, old } = operands();
            const from = (row * slices + slice) * depth;
            const sums = linearRow(
              cols,
              input.subarray(from, from + depth),
              weight.subarray(slice * depth * cols, (slice + 1) * depth * cols),
            );
            return accumulate ? sums.map((sum, col) => sum + old[unit * cols + col]!) : sums;
          }),
        },
      ],
      flops: call.flops,
      shape: `${slices} of ${rows} × ${depth} × ${cols}`,
    };
  },
};
