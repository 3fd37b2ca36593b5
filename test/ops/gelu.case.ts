import { gelu } from "../../src/ops/rows.js";
import { kept, roundedSlack } from "../support/elements.js";
import { Contents, memo, type Op, type OpCase, randomOf } from "../support/op.js";
import { published } from "./published.js";

/** erf to about 1e-15: the positive series erf(x) = 2/√π · e^(-x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!, which does not cancel. */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x); // 1 - 2e-17
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** x·Φ(x). */
export const geluOracle = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));

/** d/dx x·Φ(x) = Φ(x) + x·φ(x). */
export const geluDerivative = (x: number): number =>
  0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);

export interface GeluCase extends OpCase {
  rows: number;
  cols: number;
  inputOffset?: number;
  outputOffset?: number;
  derivative?: boolean;
}

export const geluCases: readonly GeluCase[] = [
  { name: "one vector", rows: 1, cols: 4 },
  { name: "rows", rows: 17, cols: 388 },
  { name: "offsets", rows: 5, cols: 52, inputOffset: 36, outputOffset: 12 },
  ...published(({ bench, title, batch, tokens, hidden }): GeluCase[] => [
    { name: `${title}: hidden units`, bench, rows: 3 * batch * tokens, cols: hidden },
  ]),
];

export const geluOp: Op<GeluCase> = {
  name: "gelu",
  cases: [false, true].flatMap((derivative) => geluCases.map((one) => ({ ...one, derivative }))),
  setup(one, profile) {
    const { rows, cols, inputOffset = 0, outputOffset = 0, derivative = false } = one;
    const contents = new Contents();
    const input = memo(() => kept(profile, randomOf(one).normals(rows * cols, 3)));
    const x = contents.matrix(profile, "elem", rows, cols, input, { first: inputOffset });
    const y = contents.output(profile, "elem", rows, cols, { first: outputOffset });
    const of = derivative ? geluDerivative : geluOracle;
    return {
      call: gelu(profile, { x, y: y.view, derivative }),
      contents,
      outputs: [y.output],
      results: [{ size: rows * cols, expected: (at) => of(input()[at]!), tolerance: roundedSlack(profile) }],
      flops: 0,
      shape: `${rows} × ${cols}${derivative ? " derivative" : ""}`,
    };
  },
};
