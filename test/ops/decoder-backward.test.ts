import { beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import {
  convolutionGradientParameters,
  convolutionGradientSlices,
  convolutionGradientStride,
  patchProductBackwardParameters,
  planConvolutionGradient,
  planPatchProductBackward,
} from "../../src/ops/decoder-backward.js";
import { convolutionParameters, planConvolution } from "../../src/ops/images.js";
import { assertClose } from "../support/compare.js";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { Random } from "../support/random.js";
import { asFloats, runOp, surrounded } from "../support/run-op.js";
import { convolutionGradientCases, named, patchProductGradientCases } from "./feature-cases.js";
import * as oracle from "./feature-oracles.js";
import { behind, element, elements, narrow, packed, roundedSlack, wordsOutput } from "./feature-setups.js";

const gpu = gpuOfThisFile();
let halves: Gpu | undefined;
beforeAll(() => {
  if (gpu()) halves = inTier(gpu(), "f16");
});

type ConvolutionCase = (typeof convolutionGradientCases)[number];

function operands({ name, images, side, channels, kernelSize }: ConvolutionCase) {
  const random = new Random(name);
  const count = images * channels * side ** 2;
  return {
    input: random.normals(count),
    dOutput: random.normals(count),
    weight: random.normals((channels * kernelSize) ** 2, 1 / kernelSize),
  };
}

describe("convolution, flipped: the gradient to its input", () => {
  async function check(one: ConvolutionCase, profile: Profile): Promise<void> {
    const { dOutput, weight } = operands(one);
    const shape = { ...one, imageSize: one.side, flipped: true };
    const result = await runOp(gpu(), {
      plan: planConvolution(shape, profile),
      parameters: convolutionParameters(shape),
      inputs: [dOutput, weight],
      ...wordsOutput(dOutput.length),
    });
    const reference = oracle.convolutionInputGradient(one, dOutput, weight);
    assertClose(asFloats(result), reference, `flipped convolution, ${one.name}`);
  }

  it.each(named(convolutionGradientCases))("%s", (_, one) => check(one, gpu().profile));

  it("spreads over both sides of the grid", () =>
    check({ name: "a narrow grid", images: 5, side: 33, channels: 3, kernelSize: 3 }, narrow(gpu().profile)));
});

describe("convolution's gradient to its weight", () => {
  async function check(one: ConvolutionCase, profile: Profile): Promise<void> {
    const { input, dOutput } = operands(one);
    const shape = { ...one, imageSize: one.side };
    const [slices, stride] = [convolutionGradientSlices(shape), convolutionGradientStride(shape)];
    expect(stride % 4).toBe(0);
    const result = asFloats(
      await runOp(gpu(), {
        plan: planConvolutionGradient(shape, profile),
        parameters: convolutionGradientParameters(shape, { inputOffset: 3, gradientOffset: 5, partialsOffset: 8 }),
        inputs: [behind(3, input), behind(5, dOutput)],
        ...wordsOutput(slices * stride, 8),
      }),
    );
    const numbers = (one.channels * one.kernelSize) ** 2;
    const reference = oracle.convolutionWeightGradient(one, dOutput, input);
    const summed = Float64Array.from({ length: stride }, (_, at) => {
      let sum = 0;
      for (let slice = 0; slice < slices; slice++) sum += result[slice * stride + at]!;
      return sum;
    });
    assertClose(summed.subarray(0, numbers), reference, `gradient of the convolution, ${one.name}`);
    expect([...summed.subarray(numbers)].every((value) => value === 0)).toBe(true);
  }

  it.each(named(convolutionGradientCases))("%s", (_, one) => check(one, gpu().profile));

  it("spreads over both sides of the grid", () =>
    check({ name: "a narrow grid", images: 5, side: 25, channels: 3, kernelSize: 5 }, narrow(gpu().profile)));
});

describe.each([
  ["f32", () => gpu()],
  ["f16", () => halves!],
] as const)("the patch product's gradient, in %s", (_tier, device) => {
  async function check(one: (typeof patchProductGradientCases)[number], profile: Profile): Promise<void> {
    const { images, side, channels, patchSize, rank, gap = 0, outputGap = 0, front = 0 } = one;
    const random = new Random(one.name);
    const numbers = 2 * channels * patchSize * rank;
    const perImage = (side / patchSize) ** 2 + 1;
    const rows = images * perImage;
    const [stride, outputStride] = [numbers + gap, numbers + outputGap];
    const tokens = element(profile, random.normals(rows * numbers));
    const dImage = random.normals(images * channels * side ** 2);
    const [tokensOffset, outputOffset, imageOffset] = [front * perImage * stride, front * perImage * outputStride, 3 * front];
    const source = surrounded(tokens, { offset: tokensOffset, stride, rows, cols: numbers });
    // CLS is dropped: what it holds must not matter.
    for (let b = 0; b < images; b++) {
      const cls = tokensOffset + b * perImage * stride;
      source.fill(Number.NaN, cls, cls + stride);
    }
    const shape = { images, channels, imageSize: side, patchSize, rank, stride };
    const placement = { imageOffset, tokensOffset, outputOffset, outputStride };
    const each = profile.elementBytes === 2 ? 2 : 1;
    const result = await runOp(device(), {
      plan: planPatchProductBackward(shape, profile, placement),
      parameters: patchProductBackwardParameters(shape, placement),
      inputs: [behind(imageOffset, dImage), packed(profile, source)],
      ...wordsOutput((rows * outputStride) / each, outputOffset / each),
    });
    const gradient = oracle.patchProductGradient(one, dImage, tokens);
    const reference = Float64Array.from({ length: rows * outputStride }, (_, at) => {
      const [row, column] = [Math.floor(at / outputStride), at % outputStride];
      return column < numbers ? gradient[row * numbers + column]! : 0;
    });
    const slack = roundedSlack(profile, reference);
    assertClose(elements(profile, result), reference, `patch product backward, ${one.name}`, slack ? { slack } : {});
  }

  it.each(named(patchProductGradientCases))("%s", (_, one) => check(one, device().profile));

  it("spreads over both sides of the grid", () =>
    check({ name: "a narrow grid", images: 5, side: 28, channels: 3, patchSize: 7, rank: 4 }, narrow(device().profile)));
});
