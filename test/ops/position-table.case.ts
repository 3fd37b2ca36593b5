import { positionTable } from "../../src/ops/weights.js";
import { Contents, memo, type Op, type OpCase, randomOf } from "../support/op.js";
import { published } from "./published.js";

export interface PositionTableCase extends OpCase {
  tokens: number;
  width: number;
}

export const positionTableCases: readonly PositionTableCase[] = [
  { name: "five tokens", tokens: 5, width: 12 },
  ...published(
    ({ bench, title, tokens, width }): PositionTableCase[] => [{ name: `${title}: a sequence`, bench, tokens, width }],
    [1],
  ),
];

export const positionTableOp: Op<PositionTableCase> = {
  name: "position_table",
  cases: positionTableCases,
  setup(one, profile) {
    const { tokens, width } = one;
    const [cls, bias, position] = [4, width + 28, 2 * width + 76];
    const values = memo(() => randomOf(one).normals(position + tokens * width + 40));
    const contents = new Contents();
    const table = contents.output(profile, "f32", tokens, width);
    return {
      call: positionTable(profile, { parameters: contents.add(values), table: table.view, position, cls, bias }),
      contents,
      outputs: [table.output],
      results: [
        {
          size: tokens * width,
          exact: true,
          expected: (at) => Math.fround(values()[position + at]! + values()[(at < width ? cls : bias) + (at % width)]!),
        },
      ],
      flops: 0,
      shape: `${tokens} × ${width}`,
    };
  },
};
