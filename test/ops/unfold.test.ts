import { describe, expect, it } from "vitest";
import { view } from "../../src/gpu/view.js";
import { unfold } from "../../src/ops/weights.js";
import { assertClose } from "../support/compare.js";
import { FAMILIES, gpuOfThisFile } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { flatWeights } from "./flat-weights.js";
import { foldedLoss, unfoldCases, unfoldedGradients, unfoldOp } from "./unfold.case.js";

const gpu = gpuOfThisFile();

describe.each(FAMILIES)("unfolding, kernels for %s", (_family, of) => {
  it.each(tested(unfoldCases))("%s", (name, one) => check(gpu(), unfoldOp.setup(one, of(gpu().profile)), name));
});

describe("the oracle's gradients are the derivatives of a folded loss", () => {
  it.each(tested(unfoldCases))("%s", (_, one) => {
    const { values, place } = flatWeights(one, "fold");
    const given = flatWeights(one, "unfold").values;
    // The loss is linear in every single number, so central differences are exact but for rounding.
    const point = Float64Array.from(values);
    const derivative = (at: number) => {
      const [up, down] = [point.slice(), point.slice()];
      up[at]! += 0.5;
      down[at]! -= 0.5;
      return foldedLoss(one, place, up, given) - foldedLoss(one, place, down, given);
    };
    const { weight, gamma, beta } = unfoldedGradients(one, place, values, given);
    const holds = (what: string, first: number, count: number, gradient: (at: number) => number) => {
      // At most a few hundred numbers of a matrix, spread over it.
      const indices = Array.from({ length: count }, (_, k) => k).filter((k) => k % Math.ceil(count / 200) === 0);
      const slopes = Float64Array.from(indices, (at) => derivative(first + at));
      assertClose(indices.map(gradient), slopes, what, { bound: 1e-9 });
    };
    holds("weight", place.weight, one.rows * one.cols, weight);
    holds("gamma", place.norm.gamma, one.cols, gamma);
    holds("beta", place.norm.beta, one.cols, beta);
    holds("bias", place.bias, one.rows, (o) => given[place.bias + o]!);
  });
});

it("is refused where there is no LayerNorm in front", () => {
  const { buffer } = view({} as GPUBuffer, "f32", 1, 4);
  const place = { rows: 4, cols: 4, weight: 0, bias: 16, norm: undefined };
  expect(() => unfold(gpu().profile, { ...place, parameters: buffer, gradients: buffer })).toThrow(RangeError);
});
