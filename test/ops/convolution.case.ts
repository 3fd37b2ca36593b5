import { type ConvolutionShape, convolution } from "../../src/ops/images.js";
import { Contents, memo, type Op, type OpCase, randomOf } from "../support/op.js";
import { planePlace } from "./patch-product.case.js";
import type { ImageDimensions } from "./patchify.case.js";
import { PUBLISHED_IMAGE, perBatch } from "./published.js";

/** With `flipped`, the gradient to the convolution's input from that of its output. */
export interface ConvolutionCase extends OpCase, ConvolutionShape {}

export const convolutionCases: readonly ConvolutionCase[] = [
  { name: "one pixel", images: 1, channels: 1, imageSize: 1, kernelSize: 5 },
  { name: "a kernel larger than the image", images: 2, channels: 3, imageSize: 3, kernelSize: 9 },
  { name: "a kernel of one", images: 2, channels: 3, imageSize: 7, kernelSize: 1 },
  { name: "one channel", images: 3, channels: 1, imageSize: 13, kernelSize: 3 },
  { name: "three channels", images: 2, channels: 3, imageSize: 29, kernelSize: 5 },
  { name: "four channels", images: 1, channels: 4, imageSize: 16, kernelSize: 7 },
  { name: "one past a vector", images: 1, channels: 3, imageSize: 33, kernelSize: 5 },
  ...perBatch(({ bench, title, batch }): ConvolutionCase[] => [
    { name: `${title}: images`, bench, images: batch, ...PUBLISHED_IMAGE, kernelSize: 5 },
  ]),
];

export const flippedConvolutionCases: readonly ConvolutionCase[] = [
  { name: "one pixel", images: 1, channels: 1, imageSize: 1, kernelSize: 5 },
  { name: "a kernel larger than the image", images: 2, channels: 3, imageSize: 3, kernelSize: 9 },
  { name: "a kernel of one", images: 5, channels: 3, imageSize: 7, kernelSize: 1 },
  { name: "five channels, one row past a slab", images: 1, channels: 5, imageSize: 9, kernelSize: 3 },
  { name: "one channel", images: 2, channels: 1, imageSize: 21, kernelSize: 7 },
  { name: "three channels", images: 2, channels: 3, imageSize: 32, kernelSize: 5 },
  ...perBatch(({ bench, title, batch }): ConvolutionCase[] => [
    { name: `${title}: gradient to the images`, bench, images: batch, ...PUBLISHED_IMAGE, kernelSize: 5 },
  ]),
].map((one) => ({ ...one, flipped: true }));

type Numbers = ArrayLike<number>;

/** One number of what comes out; input [images, channels, S, S], weight [channels, channels, K, K], zeros around. */
export function convolutionAt(
  { channels, imageSize: s, kernelSize: k }: Omit<ConvolutionShape, "images">,
  input: Numbers,
  weight: Numbers,
  at: number,
): number {
  const [b, o, y, x] = [Math.floor(at / s / s / channels), Math.floor(at / s / s) % channels, Math.floor(at / s) % s, at % s];
  const reach = (k - 1) / 2;
  let sum = 0;
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < k; i++) {
      for (let j = 0; j < k; j++) {
        const [row, column] = [y + i - reach, x + j - reach];
        if (row < 0 || row >= s || column < 0 || column >= s) continue;
        sum += weight[((o * channels + c) * k + i) * k + j]! * input[((b * channels + c) * s + row) * s + column]!;
      }
    }
  }
  return sum;
}

/** One number of the gradient to the input: every product that it took part in, from the other end. */
export function convolutionInputGradientAt(
  { channels, imageSize: s, kernelSize: k }: Omit<ConvolutionShape, "images">,
  dOutput: Numbers,
  weight: Numbers,
  at: number,
): number {
  const [b, c, row, column] = [
    Math.floor(at / s / s / channels),
    Math.floor(at / s / s) % channels,
    Math.floor(at / s) % s,
    at % s,
  ];
  const reach = (k - 1) / 2;
  let sum = 0;
  for (let o = 0; o < channels; o++) {
    for (let i = 0; i < k; i++) {
      for (let j = 0; j < k; j++) {
        const [y, x] = [row - i + reach, column - j + reach];
        if (y < 0 || y >= s || x < 0 || x >= s) continue;
        sum += weight[((o * channels + c) * k + i) * k + j]! * dOutput[((b * channels + o) * s + y) * s + x]!;
      }
    }
  }
  return sum;
}

export const numbersOfImages = ({ images, channels, imageSize }: ImageDimensions): number => images * channels * imageSize ** 2;

export const convolutionOp: Op<ConvolutionCase> = {
  name: "convolution",
  cases: [...convolutionCases, ...flippedConvolutionCases],
  setup(one, profile) {
    const { images, channels, imageSize, kernelSize, flipped = false } = one;
    const size = numbersOfImages(one);
    const operands = memo(() => {
      const random = randomOf(one);
      return { input: random.normals(size), weight: random.normals((channels * kernelSize) ** 2, 1 / kernelSize) };
    });
    const contents = new Contents();
    const output = contents.output(profile, "f32", 1, size);
    const matrix = (count: number, of: () => Float32Array) => contents.matrix(profile, "f32", 1, count, of).buffer;
    const oracle = flipped ? convolutionInputGradientAt : convolutionAt;
    return {
      call: convolution(profile, {
        ...{ images, channels, imageSize, kernelSize, flipped },
        input: matrix(size, () => operands().input),
        weight: matrix((channels * kernelSize) ** 2, () => operands().weight),
        output: output.view.buffer,
      }),
      contents,
      outputs: [output.output],
      results: [{ size, expected: (at) => oracle(one, operands().input, operands().weight, at), place: planePlace(one) }],
      flops: 2 * size * channels * kernelSize ** 2,
      shape: `${images} × ${channels} × ${imageSize} × ${imageSize}, ${kernelSize} × ${kernelSize}${flipped ? " flipped" : ""}`,
    };
  },
};
