import { describe, expect, it } from "vitest";
import { convolutionGradientSlices, convolutionGradientStride } from "../../src/ops/decoder-backward.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import type { ConvolutionCase } from "./convolution.case.js";
import { convolutionGradientCases, convolutionGradientOp } from "./convolution-gradient.case.js";

const gpu = gpuOfThisFile();

describe("convolution's gradient to its weight", () => {
  async function run(one: ConvolutionCase, profile = gpu().profile) {
    expect(convolutionGradientStride(one) % 4).toBe(0);
    await check(gpu(), convolutionGradientOp.setup(one, profile), `gradient of the convolution, ${one.name}`);
  }

  it.each(tested(convolutionGradientCases))("%s", (_, one) => run(one));

  it("spreads over both sides of the grid", () =>
    run({ name: "a narrow grid", images: 5, channels: 3, imageSize: 25, kernelSize: 5 }, narrow(gpu().profile, 61)));
});

it("sizes of its buffer count slabs of an image, and padding", () => {
  expect(convolutionGradientSlices({ images: 2, imageSize: 32 })).toBe(2 * 4);
  expect(convolutionGradientSlices({ images: 3, imageSize: 9 })).toBe(3 * 2);
  expect(convolutionGradientStride({ channels: 3, kernelSize: 5 })).toBe(228);
});
