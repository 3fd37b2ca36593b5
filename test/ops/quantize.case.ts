import { type QuantizeShape, quantize } from "../../src/ops/images.js";
import { Contents, flat, memo, type Op, type OpCase, randomOf, sentinels } from "../support/op.js";
import { numbersOfImages } from "./convolution.case.js";
import { PUBLISHED_IMAGE, perBatch, STATISTICS } from "./published.js";

export interface QuantizeCase extends OpCase, QuantizeShape {
  /** Planes of this case's own, of an image that is not normalised. */
  planes?: Float32Array;
}

export const quantizeCases: readonly QuantizeCase[] = [
  ...(["bytes", "floats"] as const).flatMap((format): QuantizeCase[] => [
    { name: `${format}, one value`, images: 1, channels: 1, imageSize: 1, format },
    { name: `${format}, an odd count`, images: 3, channels: 1, imageSize: 7, format },
    { name: `${format}, two past a word`, images: 2, channels: 3, imageSize: 9, format },
    { name: `${format}, three channels`, images: 2, channels: 3, imageSize: 24, format },
    { name: `${format}, four channels`, images: 1, channels: 4, imageSize: 17, format },
  ]),
  ...perBatch(({ bench, title, batch }): QuantizeCase[] => [
    { name: `${title}: images`, bench, images: batch, ...PUBLISHED_IMAGE, format: "bytes" },
  ]),
];

/**
 * Values in all of [0, 255] and beyond both ends. In levels each is a whole number plus at most 0.45, so that the rounding
 * of a denormalisation in f32 (1e-5 levels) cannot decide which byte is right.
 */
function planesOf(one: QuantizeCase): Float32Array {
  const { channels, imageSize } = one;
  const random = randomOf(one);
  const plane = imageSize ** 2;
  return Float32Array.from({ length: numbersOfImages(one) }, (_, at) => {
    const channel = Math.floor(at / plane) % channels;
    const level = random.integer(356) - 50;
    return ((level + random.uniform(-0.45, 0.45)) / 255 - STATISTICS.mean[channel]!) / STATISTICS.std[channel]!;
  });
}

export const quantizeOp: Op<QuantizeCase> = {
  name: "quantize",
  cases: quantizeCases,
  setup(one, profile) {
    const { images, channels, imageSize, format } = one;
    const size = numbersOfImages(one);
    const planes = memo(() => one.planes ?? planesOf(one));
    const normalization = one.planes ? { mean: [0], std: [1] } : STATISTICS;
    const contents = new Contents();
    const region = flat(format === "bytes" ? Math.ceil(size / 4) : size);
    const pixels = contents.add(() => sentinels(region));
    return {
      call: quantize(profile, {
        ...{ images, channels, imageSize, format, normalization },
        image: contents.add(planes),
        pixels,
      }),
      contents,
      outputs: [{ buffer: pixels, kind: format === "bytes" ? "bytes" : "f32", region }],
      results: [
        {
          size,
          exact: format === "bytes",
          // Bytes fill whole words; what is behind the last pixel is nobody's.
          value: (numbers, at) => numbers[at]!,
          // Pixels are [images, S, S, channels].
          expected: (at) => {
            const [pixel, c] = [Math.floor(at / channels), at % channels];
            const [image, place] = [Math.floor(pixel / imageSize ** 2), pixel % imageSize ** 2];
            const normal = planes()[(image * channels + c) * imageSize ** 2 + place]!;
            const value = Math.min(1, Math.max(0, normal * normalization.std[c]! + normalization.mean[c]!));
            return format === "bytes" ? Math.round(255 * value) : value;
          },
        },
      ],
      flops: 0,
      shape: `${images} × ${channels} × ${imageSize} × ${imageSize} ${format}`,
    };
  },
};
