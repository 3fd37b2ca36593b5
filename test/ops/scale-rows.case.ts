import { columnsOf, numbersOf } from "../../src/gpu/view.js";
import { scaleRows } from "../../src/ops/rows.js";
import { UNIT } from "../support/elements.js";
import { behind, Contents, memo, type Op, type OpCase, randomOf, rowAndColumn } from "../support/op.js";
import { beside } from "./attention.case.js";
import { published } from "./published.js";

export interface ScaleRowsCase extends OpCase {
  rows: number;
  cols: number;
  each: number;
  /** Where the residual is, if there is one: in a buffer of its own, or beside x in x's. */
  residual?: "own" | "beside";
  inputOffset?: number;
  inputGap?: number;
  residualOffset?: number;
  residualGap?: number;
  /** Factors in front of the first. */
  factorsOffset?: number;
  outputOffset?: number;
  outputGap?: number;
}

export const scaleRowsCases: readonly ScaleRowsCase[] = [
  { name: "one row of one vector", rows: 1, cols: 4, each: 1 },
  { name: "one row, with a residual", rows: 1, cols: 300, each: 5, residual: "own" },
  { name: "a factor a row", rows: 23, cols: 20, each: 1 },
  { name: "sequences of 17", rows: 5 * 17, cols: 32, each: 17, residual: "own" },
  { name: "a last sequence that is cut short", rows: 2 * 17 + 3, cols: 32, each: 17 },
  { name: "a residual in the input's buffer", rows: 4 * 5, cols: 12, each: 5, residual: "beside", inputOffset: 8, inputGap: 4 },
  {
    name: "offsets and gaps",
    rows: 31,
    cols: 28,
    each: 3,
    inputOffset: 12,
    inputGap: 8,
    outputOffset: 20,
    outputGap: 4,
    factorsOffset: 7,
  },
  {
    name: "offsets and gaps, with a residual",
    rows: 31,
    cols: 28,
    each: 3,
    residual: "own",
    inputOffset: 12,
    inputGap: 8,
    residualOffset: 40,
    residualGap: 16,
    outputOffset: 20,
    outputGap: 4,
  },
  ...published(({ bench, title, batch, tokens, width }): ScaleRowsCase[] => [
    { name: `${title}: a branch`, bench, rows: batch * tokens, cols: width, each: tokens, residual: "own" },
  ]),
];

export const scaleRowsOp: Op<ScaleRowsCase> = {
  name: "scale_rows",
  cases: scaleRowsCases,
  setup(one, profile) {
    const { rows, cols, each, residual, inputOffset = 0, inputGap = 0, outputOffset = 0, outputGap = 0, factorsOffset = 0 } = one;
    const operands = memo(() => {
      const random = randomOf(one);
      // Dropped ones among them, as stochastic depth has them.
      const factors = random.uniforms(Math.ceil(rows / each), -2, 2).map((factor, at) => (at % 3 === 1 ? 0 : factor));
      return { x: random.normals(rows * cols), r: random.normals(rows * cols), factors };
    });
    const contents = new Contents();
    const parts = residual === "beside" ? 2 : 1;
    const input = contents.matrix(
      profile,
      "f32",
      rows,
      parts * cols,
      () => (parts === 2 ? beside(cols, operands().x, operands().r) : operands().x),
      { first: inputOffset, stride: parts * cols + inputGap },
    );
    const own = () =>
      contents.matrix(profile, "f32", rows, cols, () => operands().r, {
        first: one.residualOffset ?? 0,
        stride: cols + (one.residualGap ?? 0),
      });
    const x = columnsOf(input, 0, cols);
    const y = contents.output(profile, "f32", rows, cols, { first: outputOffset, stride: cols + outputGap });
    return {
      call: scaleRows(profile, {
        x,
        factors: numbersOf(
          contents.add(() => behind(factorsOffset, operands().factors)),
          Math.ceil(rows / each),
          factorsOffset,
        ),
        each,
        residual: residual === "beside" ? columnsOf(input, cols, cols) : residual && own(),
        y: y.view,
      }),
      contents,
      outputs: [y.output],
      results: [
        {
          size: rows * cols,
          expected: (at) => {
            const { x, r, factors } = operands();
            const product = factors[Math.floor(at / cols / each)]! * x[at]!;
            return residual ? product + r[at]! : Math.fround(product);
          },
          // One product is rounded as IEEE has it; of a sum the product may be rounded or not.
          ...(residual
            ? {
                tolerance: (reference) => ({
                  bound: 0,
                  slack: (at) => UNIT * (Math.abs(reference[at]! - operands().r[at]!) + 1.01 * Math.abs(reference[at]!)),
                }),
              }
            : { exact: true }),
          place: rowAndColumn(cols),
        },
      ],
      flops: 0,
      shape: `${rows} × ${cols}`,
    };
  },
};
