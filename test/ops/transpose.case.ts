import { type Source, transpose } from "../../src/ops/rows.js";
import { kept } from "../support/elements.js";
import { Contents, memo, type Op, type OpCase, randomOf } from "../support/op.js";
import { published } from "./published.js";

export interface TransposeCase extends OpCase {
  rows: number;
  /** Rows of zeros beyond the next multiple of 4. */
  padding?: number;
  cols: number;
  /** `elem` where it is left out. */
  source?: Source;
  inputOffset?: number;
  inputGap?: number;
  outputOffset?: number;
}

export const SOURCES: readonly Source[] = ["elem", "f32"];

export const transposeCases: readonly TransposeCase[] = [
  { name: "one row", rows: 1, cols: 4 },
  { name: "five rows", rows: 5, cols: 12 },
  { name: "one block of a workgroup", rows: 32, cols: 32 },
  { name: "one past it", rows: 33, cols: 36 },
  { name: "a sequence", rows: 197, cols: 96 },
  { name: "more padding than one vec4", rows: 18, padding: 44, cols: 40 },
  { name: "offsets and gaps", rows: 51, cols: 68, inputOffset: 24, inputGap: 12, outputOffset: 40 },
  ...published(({ bench, title, batch, tokens, hidden }): TransposeCase[] => [
    { name: `${title}: hidden units`, bench, rows: 3 * batch * tokens, cols: hidden },
  ]),
];

export const transposeOp: Op<TransposeCase> = {
  name: "transpose",
  cases: SOURCES.flatMap((source) => transposeCases.map((one) => ({ ...one, source }))),
  setup(one, profile) {
    const { rows, padding = 0, cols, source = "elem", inputOffset = 0, inputGap = 0, outputOffset = 0 } = one;
    const paddedRows = Math.ceil(rows / 4) * 4 + padding;
    const input = memo(() => kept(profile, randomOf(one).normals(rows * cols), source));
    const contents = new Contents();
    const x = contents.matrix(profile, source, rows, cols, input, { first: inputOffset, stride: cols + inputGap });
    const y = contents.output(profile, "elem", cols, paddedRows, { first: outputOffset });
    return {
      call: transpose(profile, { x, y: y.view }),
      contents,
      outputs: [y.output],
      results: [
        {
          size: cols * paddedRows,
          // Nothing is computed: the result is the input, rounded once where it becomes float16.
          exact: true,
          expected: (at) => {
            const row = at % paddedRows;
            const value = row < rows ? input()[row * cols + Math.floor(at / paddedRows)]! : 0;
            return kept(profile, Float32Array.of(value))[0]!;
          },
        },
      ],
      flops: 0,
      shape: `${rows} × ${cols} ${source}`,
    };
  },
};
