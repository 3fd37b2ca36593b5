import { type Source, sumRows } from "../../src/ops/rows.js";
import { kept } from "../support/elements.js";
import { Contents, memo, type Op, type OpCase, randomOf } from "../support/op.js";
import { published } from "./published.js";
import { SOURCES } from "./transpose.case.js";

export interface SumRowsCase extends OpCase {
  rows: number;
  cols: number;
  /** f32 where it is left out. */
  source?: Source;
  inputOffset?: number;
  inputGap?: number;
  outputOffset?: number;
  scale?: number;
  accumulate?: boolean;
  /** All numbers alike, whose roundings add up. */
  value?: number;
}

export const sumRowsCases: readonly SumRowsCase[] = [
  { name: "one vector", rows: 1, cols: 4 },
  { name: "rows of one vector", rows: 21, cols: 4, accumulate: true },
  { name: "a bias's gradient", rows: 96, cols: 612, scale: 0.25 },
  { name: "one row past a workgroup, added", rows: 17, cols: 260, accumulate: true, scale: -3 },
  { name: "offsets and gaps", rows: 13, cols: 100, inputOffset: 32, inputGap: 20, outputOffset: 7, accumulate: true },
  { name: "one long row", rows: 1, cols: 40_000, outputOffset: 3, scale: 1e-3 },
  { name: "millions of one value", rows: 1, cols: 3_000_000, value: 0.1 },
  { name: "one past a block", rows: 2, cols: 4 * 32 * 256 + 4 },
  ...published(({ bench, title, batch, tokens, hidden }): SumRowsCase[] => [
    { name: `${title}: gradient of a bias`, bench, rows: hidden, cols: 4 * Math.ceil((3 * batch * tokens) / 4) },
  ]),
];

export const sumRowsOp: Op<SumRowsCase> = {
  name: "sum_rows",
  cases: SOURCES.flatMap((source) => sumRowsCases.map((one) => ({ ...one, source }))),
  setup(one, profile) {
    const { rows, cols, source = "f32", inputOffset = 0, inputGap = 0, outputOffset = 0, scale = 1, accumulate = false } = one;
    const operands = memo(() => {
      const random = randomOf(one);
      const input = random.normals(rows * cols, one.value === undefined ? 1 : 0, one.value ?? 0);
      return { input: kept(profile, input, source), old: random.normals(rows, 10) };
    });
    const contents = new Contents();
    const x = contents.matrix(profile, source, rows, cols, () => operands().input, {
      first: inputOffset,
      stride: cols + inputGap,
    });
    const old = accumulate ? () => operands().old : undefined;
    const y = contents.output(profile, "f32", 1, rows, { first: outputOffset }, old);
    return {
      call: sumRows(profile, { x, y: y.view, ...(scale === 1 ? {} : { scale }), accumulate }),
      contents,
      outputs: [y.output],
      results: [
        {
          size: rows,
          expected: (row) => {
            const { input, old } = operands();
            let sum = 0;
            for (let j = 0; j < cols; j++) sum += input[row * cols + j]!;
            return scale * sum + (accumulate ? old[row]! : 0);
          },
        },
      ],
      flops: 0,
      shape: `${rows} × ${cols} ${source}`,
    };
  },
};
