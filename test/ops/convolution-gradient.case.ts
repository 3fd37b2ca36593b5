import { numbersOf } from "../../src/gpu/view.js";
import { convolutionGradient, convolutionGradientSlices, convolutionGradientStride } from "../../src/ops/decoder-backward.js";
import type { ConvolutionShape } from "../../src/ops/images.js";
import { behind, Contents, memo, type Op, randomOf } from "../support/op.js";
import { type ConvolutionCase, flippedConvolutionCases, numbersOfImages } from "./convolution.case.js";

type Numbers = ArrayLike<number>;

/** One number of the gradient to a convolution's weight [channels, channels, K, K]. */
export function convolutionWeightGradientAt(
  { images, channels, imageSize: s, kernelSize: k }: ConvolutionShape,
  dOutput: Numbers,
  input: Numbers,
  at: number,
): number {
  const [o, c, i, j] = [Math.floor(at / k / k / channels), Math.floor(at / k / k) % channels, Math.floor(at / k) % k, at % k];
  const reach = (k - 1) / 2;
  let sum = 0;
  for (let b = 0; b < images; b++) {
    for (let y = 0; y < s; y++) {
      for (let x = 0; x < s; x++) {
        const [row, column] = [y + i - reach, x + j - reach];
        if (row < 0 || row >= s || column < 0 || column >= s) continue;
        sum += dOutput[((b * channels + o) * s + y) * s + x]! * input[((b * channels + c) * s + row) * s + column]!;
      }
    }
  }
  return sum;
}

export const convolutionGradientCases: readonly ConvolutionCase[] = flippedConvolutionCases.map(({ flipped, ...one }) =>
  one.bench ? { ...one, name: one.name.replace("to the images", "to the weight") } : one,
);

/** The partial gradients, which are compared by their sum. */
export const convolutionGradientOp: Op<ConvolutionCase> = {
  name: "convolution_gradient",
  cases: convolutionGradientCases,
  setup(one, profile) {
    const { images, channels, imageSize, kernelSize } = one;
    const size = numbersOfImages(one);
    const operands = memo(() => {
      const random = randomOf(one);
      return { input: random.normals(size), dOutput: random.normals(size) };
    });
    const [slices, stride] = [convolutionGradientSlices(one), convolutionGradientStride(one)];
    // Any place will do for what is read, and a multiple of 4 for what is written.
    const [inputOffset, gradientOffset, partialsOffset] = one.bench ? [0, 0, 0] : [3, 5, 8];
    const contents = new Contents();
    const planes = (offset: number, of: () => Float32Array) =>
      numbersOf(
        contents.add(() => behind(offset, of())),
        size,
        offset,
      );
    const partials = contents.output(profile, "f32", 1, slices * stride, { first: partialsOffset });
    const count = (channels * kernelSize) ** 2;
    const summed = (numbers: Numbers, at: number) => {
      let sum = 0;
      for (let slice = 0; slice < slices; slice++) sum += numbers[slice * stride + at]!;
      return sum;
    };
    return {
      call: convolutionGradient(profile, {
        ...{ images, channels, imageSize, kernelSize },
        input: planes(inputOffset, () => operands().input),
        dOutput: planes(gradientOffset, () => operands().dOutput),
        partials: partials.view,
      }),
      contents,
      outputs: [partials.output],
      results: [
        {
          size: count,
          value: summed,
          expected: (at) => convolutionWeightGradientAt(one, operands().dOutput, operands().input, at),
        },
        {
          name: "padding",
          size: stride - count,
          value: (numbers, at) => summed(numbers, count + at),
          expected: () => 0,
          tolerance: () => ({ bound: 0 }),
        },
      ],
      flops: 2 * size * channels * kernelSize ** 2,
      shape: `${images} × ${channels} × ${imageSize} × ${imageSize}, ${kernelSize} × ${kernelSize}`,
    };
  },
};
