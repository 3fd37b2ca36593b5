import { numbersOf, view } from "../../src/gpu/view.js";
import { patchProductBackward } from "../../src/ops/decoder-backward.js";
import type { PatchProductShape } from "../../src/ops/images.js";
import { kept, packed, roundedSlack } from "../support/elements.js";
import { behind, Contents, inUnits, memo, type Op, type OpCase, randomOf, surrounded } from "../support/op.js";
import { PUBLISHED_IMAGE, PUBLISHED_PATCH, published } from "./published.js";

export interface PatchProductBackwardCase extends OpCase, Omit<PatchProductShape, "stride"> {
  /** Behind a token's numbers, in elements, of the tokens and of their gradient. */
  gap?: number;
  outputGap?: number;
  /** Images in front of those used, in every operand. */
  front?: number;
}

export const patchProductBackwardCases: readonly PatchProductBackwardCase[] = [
  { name: "one patch of one pixel", images: 1, imageSize: 1, channels: 1, patchSize: 1, rank: 1, gap: 2, outputGap: 2 },
  { name: "one channel", images: 2, imageSize: 21, channels: 1, patchSize: 7, rank: 2 },
  { name: "three channels, patches of 7", images: 5, imageSize: 14, channels: 3, patchSize: 7, rank: 2, front: 1 },
  { name: "three channels, patches of 16", images: 2, imageSize: 32, channels: 3, patchSize: 16, rank: 2 },
  { name: "five channels", images: 1, imageSize: 10, channels: 5, patchSize: 5, rank: 3, gap: 10, outputGap: 2, front: 2 },
  { name: "rows with padding", images: 2, imageSize: 20, channels: 3, patchSize: 5, rank: 2, gap: 8, outputGap: 16 },
  { name: "rank 8, as in base", images: 1, imageSize: 32, channels: 3, patchSize: 16, rank: 8 },
  ...published(({ bench, title, batch, rank }): PatchProductBackwardCase[] => [
    { name: `${title}: images`, bench, images: batch, ...PUBLISHED_IMAGE, patchSize: PUBLISHED_PATCH, rank },
  ]),
];

type Numbers = ArrayLike<number>;

/** dImage [images, channels, S, S], tokens and result [images, 1 + n, 2 · channels · patch · rank]. */
export function patchProductGradient(
  { images, channels: ch, imageSize: size, patchSize: p, rank }: Omit<PatchProductShape, "stride">,
  dImage: Numbers,
  tokens: Numbers,
): Float64Array {
  const side = size / p;
  const half = ch * p * rank;
  const gradient = new Float64Array(tokens.length);
  for (let b = 0; b < images; b++) {
    for (let patch = 0; patch < side * side; patch++) {
      const token = (b * (side * side + 1) + 1 + patch) * 2 * half;
      for (let c = 0; c < ch; c++) {
        for (let i = 0; i < p; i++) {
          for (let j = 0; j < p; j++) {
            // The product's number f, read back as [p, p, ch].
            const f = (c * p + i) * p + j;
            const [row, column, channel] = [Math.floor(f / ch / p), Math.floor(f / ch) % p, f % ch];
            const [y, x] = [Math.floor(patch / side) * p + row, (patch % side) * p + column];
            const d = dImage[((b * ch + channel) * size + y) * size + x]!;
            for (let r = 0; r < rank; r++) {
              const left = token + (c * p + i) * rank + r;
              const right = token + half + (c * rank + r) * p + j;
              gradient[left]! += d * tokens[right]!;
              gradient[right]! += d * tokens[left]!;
            }
          }
        }
      }
    }
  }
  return gradient;
}

export const patchProductBackwardOp: Op<PatchProductBackwardCase> = {
  name: "patch_product_backward",
  cases: patchProductBackwardCases,
  setup(one, profile) {
    const { images, channels, imageSize, patchSize, rank, gap = 0, outputGap = 0, front = 0 } = one;
    const numbers = 2 * channels * patchSize * rank;
    const each = (imageSize / patchSize) ** 2 + 1;
    const rows = images * each;
    const [stride, outputStride] = [numbers + gap, numbers + outputGap];
    const pixels = channels * imageSize ** 2;
    const operands = memo(() => {
      const random = randomOf(one);
      return { tokens: kept(profile, random.normals(rows * numbers)), dImage: random.normals(images * pixels) };
    });
    const contents = new Contents();
    const first = front * each * stride;
    const tokens = contents.add(() => {
      const all = surrounded(operands().tokens, { offset: first, stride, rows, cols: numbers }).slice();
      // CLS is dropped: what it holds must not matter.
      for (let b = 0; b < images; b++) all.fill(Number.NaN, first + b * each * stride, first + (b * each + 1) * stride);
      return packed(profile, all);
    });
    const image = contents.add(() => behind(3 * front, operands().dImage));
    const dTokens = contents.output(profile, "elem", rows, outputStride, { first: front * each * outputStride });
    return {
      call: patchProductBackward(profile, {
        ...{ images, channels, imageSize, patchSize, rank },
        dImage: numbersOf(image, images * pixels, 3 * front),
        tokens: view(tokens, "elem", rows, numbers, { first, stride }),
        dTokens: dTokens.view,
      }),
      contents,
      outputs: [dTokens.output],
      results: [
        {
          size: rows * outputStride,
          expected: inUnits(each * outputStride, (b) => {
            const { dImage, tokens } = operands();
            const gradient = patchProductGradient(
              { ...one, images: 1 },
              dImage.subarray(b * pixels, (b + 1) * pixels),
              tokens.subarray(b * each * numbers, (b + 1) * each * numbers),
            );
            return Float64Array.from({ length: each * outputStride }, (_, at) => {
              const [row, column] = [Math.floor(at / outputStride), at % outputStride];
              return column < numbers ? gradient[row * numbers + column]! : 0;
            });
          }),
          tolerance: roundedSlack(profile),
        },
      ],
      flops: 4 * images * pixels * rank,
      shape: `${images} × ${channels} × ${imageSize} × ${imageSize}, rank ${rank}`,
    };
  },
};
