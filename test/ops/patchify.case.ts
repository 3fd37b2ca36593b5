import type { Profile } from "../../src/gpu/profile.js";
import { type PatchifyShape, type PixelFormat, patchify } from "../../src/ops/images.js";
import { roundedSlack } from "../support/elements.js";
import { Contents, inUnits, memo, type Op, type OpCase, randomOf, rowAndColumn } from "../support/op.js";
import { PUBLISHED_IMAGE, PUBLISHED_PATCH, perBatch, STATISTICS } from "./published.js";

export interface PatchifyCase extends OpCase, Omit<PatchifyShape, "height" | "width">, ImageDimensions {
  /** The side where it is left out. */
  height?: number;
  /** Rows in front of the first image's. */
  firstRow?: number;
}

export const patchifyCases: readonly PatchifyCase[] = [
  ...(["bytes", "floats", "planes"] as const).flatMap((format): PatchifyCase[] => [
    { name: `${format}, one channel, patches of 7`, images: 1, channels: 1, imageSize: 7, patchSize: 7, depth: 52, format },
    {
      name: `${format}, one channel, an odd count of pixels`,
      images: 3,
      channels: 1,
      imageSize: 21,
      patchSize: 7,
      depth: 52,
      format,
      firstRow: 10,
    },
    { name: `${format}, patches of 7`, images: 2, channels: 3, imageSize: 28, patchSize: 7, depth: 148, format },
    { name: `${format}, patches of 16`, images: 3, channels: 3, imageSize: 48, patchSize: 16, depth: 768, format, firstRow: 30 },
    { name: `${format}, four channels`, images: 2, channels: 4, imageSize: 32, patchSize: 16, depth: 1024, format },
    { name: `${format}, four channels, patches of 7`, images: 1, channels: 4, imageSize: 14, patchSize: 7, depth: 196, format },
    { name: `${format}, patches of one pixel`, images: 2, channels: 3, imageSize: 5, patchSize: 1, depth: 4, format },
  ]),
  ...(["bytes", "floats", "planes"] as const).map(
    (format): PatchifyCase => ({
      ...{
        name: `${format}, wider than high`,
        images: 2,
        channels: 3,
        imageSize: 56,
        height: 40,
        patchSize: 8,
        depth: 192,
        format,
      },
    }),
  ),
  { name: "bytes, higher than wide", images: 3, channels: 1, imageSize: 7, height: 21, patchSize: 7, depth: 52, format: "bytes" },
  { name: "planes of six channels", images: 2, channels: 6, imageSize: 14, patchSize: 7, depth: 296, format: "planes" },
  ...perBatch(({ bench, title, batch }): PatchifyCase[] =>
    (["bytes", "planes"] as const).map((format) => ({
      name: `${title}: ${format}`,
      bench,
      images: batch,
      ...PUBLISHED_IMAGE,
      patchSize: PUBLISHED_PATCH,
      depth: 768,
      format,
    })),
  ),
];

export interface ImageDimensions {
  images: number;
  channels: number;
  imageSize: number;
}

type Numbers = ArrayLike<number>;

/** Value of a pixel in a buffer, normalised. */
function pixel(
  { channels, imageSize: w, height: h = w }: ImageDimensions & { height?: number },
  format: PixelFormat,
  data: Numbers,
  [b, c, y, x]: readonly [number, number, number, number],
): number {
  if (format === "planes") return data[((b * channels + c) * h + y) * w + x]!;
  const value = data[((b * h + y) * w + x) * channels + c]!;
  return ((format === "bytes" ? value / 255 : value) - STATISTICS.mean[c]!) / STATISTICS.std[c]!;
}

/** One image's rows of patches, [1 + patches, depth]; the CLS row and padding are zero. */
export function patchifyOracle(shape: PatchifyCase, data: Numbers, image: number): Float64Array {
  const { channels, imageSize, height = imageSize, patchSize: p, depth, format } = shape;
  const [down, across] = [height / p, imageSize / p];
  const rows = new Float64Array((down * across + 1) * depth);
  for (let py = 0; py < down; py++) {
    for (let px = 0; px < across; px++) {
      let at = (1 + py * across + px) * depth;
      for (let c = 0; c < channels; c++) {
        for (let y = 0; y < p; y++)
          for (let x = 0; x < p; x++) rows[at++] = pixel(shape, format, data, [image, c, py * p + y, px * p + x]);
      }
    }
  }
  return rows;
}

/** Bytes as the words of a buffer; what fills the last word is 0xff, so that using it shows. */
export function bytesAsWords(bytes: Uint8Array): Uint32Array {
  const padded = new Uint8Array(4 * Math.ceil(bytes.length / 4)).fill(0xff);
  padded.set(bytes);
  return new Uint32Array(padded.buffer);
}

function pixelsOf(one: PatchifyCase): Uint8Array | Float32Array {
  const { images, channels, imageSize, height = imageSize, format } = one;
  const count = images * channels * imageSize * height;
  const random = randomOf(one);
  if (format === "bytes") return Uint8Array.from({ length: count }, (_, at) => (at < 2 ? 255 * at : random.integer(256)));
  return format === "floats" ? random.uniforms(count) : random.normals(count);
}

export const patchifyOp: Op<PatchifyCase> = {
  name: "patchify",
  cases: patchifyCases,
  setup(one, profile: Profile) {
    const { images, channels, imageSize, height = imageSize, patchSize, depth, format, firstRow = 0 } = one;
    const pixels = memo(() => pixelsOf(one));
    const contents = new Contents();
    const buffer = contents.add(() => {
      const data = pixels();
      return data instanceof Uint8Array ? bytesAsWords(data) : data;
    });
    const each = (imageSize / patchSize) * (height / patchSize) + 1;
    const patches = contents.output(profile, "elem", images * each, depth, { first: firstRow * depth });
    return {
      call: patchify(profile, {
        ...{ images, channels, height, width: imageSize, patchSize, format, normalization: STATISTICS },
        pixels: buffer,
        patches: patches.view,
      }),
      contents,
      outputs: [patches.output],
      results: [
        {
          size: images * each * depth,
          expected: inUnits(each * depth, (image) => patchifyOracle(one, pixels(), image)),
          tolerance: roundedSlack(profile),
          place: rowAndColumn(depth),
        },
      ],
      flops: 0,
      shape: `${images} × ${channels} × ${height} × ${imageSize} ${format}`,
    };
  },
};
