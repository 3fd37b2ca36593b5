import { view } from "../../src/gpu/view.js";
import { type PatchProductShape, patchProduct } from "../../src/ops/images.js";
import { kept, packed } from "../support/elements.js";
import { Contents, inUnits, memo, type Op, type OpCase, randomOf, surrounded } from "../support/op.js";
import type { ImageDimensions } from "./patchify.case.js";
import { PUBLISHED_IMAGE, PUBLISHED_PATCH, published } from "./published.js";

export interface PatchProductCase extends OpCase, Omit<PatchProductShape, "stride"> {
  /** Behind a token's numbers, in elements. */
  gap?: number;
}

export const patchProductCases: readonly PatchProductCase[] = [
  { name: "one patch of one pixel", images: 1, channels: 1, imageSize: 1, patchSize: 1, rank: 1, gap: 2 },
  { name: "one channel", images: 2, channels: 1, imageSize: 21, patchSize: 7, rank: 2 },
  { name: "three channels, patches of 7", images: 2, channels: 3, imageSize: 14, patchSize: 7, rank: 2 },
  { name: "three channels, patches of 16", images: 3, channels: 3, imageSize: 32, patchSize: 16, rank: 1 },
  { name: "four channels", images: 1, channels: 4, imageSize: 32, patchSize: 16, rank: 3 },
  { name: "rank 8, as in base", images: 1, channels: 3, imageSize: 48, patchSize: 16, rank: 8 },
  { name: "rows with padding", images: 2, channels: 3, imageSize: 20, patchSize: 5, rank: 2, gap: 8 },
  ...published(({ bench, title, batch, rank }): PatchProductCase[] => [
    { name: `${title}: images`, bench, images: batch, ...PUBLISHED_IMAGE, patchSize: PUBLISHED_PATCH, rank },
  ]),
];

type Numbers = ArrayLike<number>;

/** tokens [images, 1 + n, 2 · channels · patch · rank] → [images, channels, S, S]: `decode` of the reference, line by line. */
export function patchProductOracle(shape: ImageDimensions & { patchSize: number; rank: number }, tokens: Numbers): Float64Array {
  const { images: b, channels: ch, imageSize, patchSize: p, rank } = shape;
  const side = imageSize / p;
  const n = side * side;
  const half = ch * p * rank;
  // left, right = (h[:, 1:] for h in z.chunk(2, -1)), as [b, n, half]
  const left = new Float64Array(b * n * half);
  const right = new Float64Array(b * n * half);
  for (let image = 0; image < b; image++) {
    for (let patch = 0; patch < n; patch++) {
      for (let i = 0; i < half; i++) {
        const token = (image * (n + 1) + patch + 1) * 2 * half;
        left[(image * n + patch) * half + i] = tokens[token + i]!;
        right[(image * n + patch) * half + i] = tokens[token + half + i]!;
      }
    }
  }
  // patches = left.reshape(b, n, ch, p, rank) @ right.reshape(b, n, ch, rank, p)
  const patches: number[] = [];
  for (let matrix = 0; matrix < b * n * ch; matrix++) {
    for (let row = 0; row < p; row++) {
      for (let column = 0; column < p; column++) {
        let sum = 0;
        for (let r = 0; r < rank; r++) sum += left[(matrix * p + row) * rank + r]! * right[(matrix * rank + r) * p + column]!;
        patches.push(sum);
      }
    }
  }
  // patches.reshape(b, side, side, p, p, ch), then einsum nhwpqc -> nchpwq, then reshape(b, ch, side * p, side * p)
  const image = new Float64Array(b * ch * imageSize * imageSize);
  let at = 0;
  for (let i = 0; i < b; i++) {
    for (let h = 0; h < side; h++) {
      for (let w = 0; w < side; w++) {
        for (let pp = 0; pp < p; pp++) {
          for (let q = 0; q < p; q++) {
            for (let c = 0; c < ch; c++) image[(((i * ch + c) * side + h) * p + pp) * side * p + w * p + q] = patches[at++]!;
          }
        }
      }
    }
  }
  return image;
}

/** For messages: where a number of planes is. */
export const planePlace =
  ({ channels, imageSize }: Omit<ImageDimensions, "images">) =>
  (at: number): string => {
    const plane = imageSize ** 2;
    const row = `y ${Math.floor(at / imageSize) % imageSize}, x ${at % imageSize}`;
    return `image ${Math.floor(at / plane / channels)}, channel ${Math.floor(at / plane) % channels}, ${row}`;
  };

export const patchProductOp: Op<PatchProductCase> = {
  name: "patch_product",
  cases: patchProductCases,
  setup(one, profile) {
    const { images, channels, imageSize, patchSize, rank, gap = 0 } = one;
    const numbers = 2 * channels * patchSize * rank;
    const each = (imageSize / patchSize) ** 2 + 1;
    const stride = numbers + gap;
    const values = memo(() => kept(profile, randomOf(one).normals(images * each * numbers)));
    const contents = new Contents();
    const tokens = contents.add(() => {
      const all = surrounded(values(), { offset: 0, stride, rows: images * each, cols: numbers }).slice();
      // CLS is dropped: what it holds must not matter.
      for (let b = 0; b < images; b++) all.fill(Number.NaN, b * each * stride, (b * each + 1) * stride);
      return packed(profile, all);
    });
    const size = images * channels * imageSize ** 2;
    const image = contents.output(profile, "f32", 1, size);
    return {
      call: patchProduct(profile, {
        ...{ images, channels, imageSize, patchSize, rank },
        tokens: view(tokens, "elem", images * each, numbers, { stride }),
        image: image.view.buffer,
      }),
      contents,
      outputs: [image.output],
      results: [
        {
          size,
          expected: inUnits(size / images, (b) =>
            patchProductOracle({ ...one, images: 1 }, values().subarray(b * each * numbers, (b + 1) * each * numbers)),
          ),
          place: planePlace(one),
        },
      ],
      flops: 2 * size * rank,
      shape: `${images} × ${channels} × ${imageSize} × ${imageSize}, rank ${rank}`,
    };
  },
};
