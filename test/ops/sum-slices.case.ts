import { sumSlices } from "../../src/ops/rows.js";
import { Contents, memo, type Op, type OpCase, randomOf } from "../support/op.js";
import { published } from "./published.js";

export interface SumSlicesCase extends OpCase {
  slices: number;
  count: number;
  gap?: number;
  inputOffset?: number;
  outputOffset?: number;
  scale?: number;
  accumulate?: boolean;
}

export const sumSlicesCases: readonly SumSlicesCase[] = [
  { name: "one slice of one vector", slices: 1, count: 4 },
  { name: "one past a workgroup", slices: 3, count: 260, scale: 0.5 },
  { name: "added", slices: 5, count: 96, accumulate: true },
  { name: "offsets and gaps", slices: 8, count: 1000, gap: 16, inputOffset: 12, outputOffset: 20, accumulate: true, scale: -2 },
  { name: "many images", slices: 64, count: 192, scale: 1 / 64 },
  ...published(
    ({ bench, title, batch, width, hidden }): SumSlicesCase[] => [
      { name: `${title}: gradient of fc1`, bench, slices: 3 * batch, count: width * hidden },
    ],
    [1, 8],
  ),
];

export const sumSlicesOp: Op<SumSlicesCase> = {
  name: "sum_slices",
  cases: sumSlicesCases,
  setup(one, profile) {
    const { slices, count, gap = 0, inputOffset = 0, outputOffset = 0, scale = 1, accumulate = false } = one;
    const operands = memo(() => {
      const random = randomOf(one);
      return { input: random.normals(slices * count), old: random.normals(count) };
    });
    const contents = new Contents();
    const x = contents.matrix(profile, "f32", slices, count, () => operands().input, {
      first: inputOffset,
      stride: count + gap,
    });
    const old = accumulate ? () => operands().old : undefined;
    const y = contents.output(profile, "f32", 1, count, { first: outputOffset }, old);
    return {
      call: sumSlices(profile, { x, y: y.view, ...(scale === 1 ? {} : { scale }), accumulate }),
      contents,
      outputs: [y.output],
      results: [
        {
          size: count,
          expected: (i) => {
            const { input, old } = operands();
            let sum = 0;
            for (let z = 0; z < slices; z++) sum += input[z * count + i]!;
            return scale * sum + (accumulate ? old[i]! : 0);
          },
        },
      ],
      flops: 0,
      shape: `${slices} × ${count}`,
    };
  },
};
