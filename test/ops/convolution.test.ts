import { describe, expect, it } from "vitest";
import { gpuOfThisFile } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { Random } from "../support/random.js";
import { check } from "../support/run-op.js";
import { dot, expectSlopes, normals, slopes } from "../support/slopes.js";
import {
  type ConvolutionCase,
  convolutionAt,
  convolutionCases,
  convolutionInputGradientAt,
  convolutionOp,
  flippedConvolutionCases,
} from "./convolution.case.js";
import { convolutionWeightGradientAt } from "./convolution-gradient.case.js";

const gpu = gpuOfThisFile();

const run = (one: ConvolutionCase, profile = gpu().profile) =>
  check(gpu(), convolutionOp.setup(one, profile), `convolution, ${one.name}`);

describe("convolution", () => {
  it.each(tested(convolutionCases))("%s", (_, one) => run(one));

  it("spreads over both sides of the grid", () =>
    run(convolutionCases.find(({ name }) => name === "three channels")!, narrow(gpu().profile, 3)));
});

describe("convolution, flipped: the gradient to its input", () => {
  it.each(tested(flippedConvolutionCases))("%s", (_, one) => run(one));

  it("spreads over both sides of the grid", () =>
    run(
      { name: "a narrow grid", images: 5, channels: 3, imageSize: 33, kernelSize: 3, flipped: true },
      narrow(gpu().profile, 61),
    ));
});

it.each([1, 3, 5])("the oracles' gradients are the slopes of a convolution with kernels of %d", (kernelSize) => {
  const of = { images: 2, imageSize: 4, channels: 2, kernelSize };
  const input = normals(new Random("input"), 2 * 2 * 16);
  const weight = normals(new Random("weight"), 4 * kernelSize ** 2);
  const d = normals(new Random("d"), input.length);
  const value = (x: Float64Array, w: Float64Array) =>
    dot(
      input.map((_, at) => convolutionAt(of, x, w, at)),
      d,
    );
  expectSlopes(
    input.map((_, at) => convolutionInputGradientAt(of, d, weight, at)),
    slopes(input, (x) => value(x, weight), 1e-3),
  );
  expectSlopes(
    weight.map((_, at) => convolutionWeightGradientAt(of, d, input, at)),
    slopes(weight, (w) => value(input, w), 1e-3),
  );
  expect(d.length).toBe(input.length);
});
