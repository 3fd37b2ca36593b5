import { numbersOf } from "../../src/gpu/view.js";
import { normalizePixels } from "../../src/ops/features.js";
import { Contents, flat, memo, type Op, randomOf, sentinels } from "../support/op.js";
import { countOf, imageCases, type MapsCase, planesCases } from "./maps.js";
import { bytesAsWords } from "./patchify.case.js";
import { STATISTICS } from "./published.js";

export const normalizePixelsCases: readonly MapsCase[] = [...planesCases.filter(({ channels }) => channels <= 4), ...imageCases];

/** bytes [images, S, S, C] to planes [images, C, S, S]. */
export const normalizePixelsOp: Op<MapsCase> = {
  name: "normalize_pixels",
  cases: normalizePixelsCases,
  setup(one, profile) {
    const { images, side, channels, front = 0 } = one;
    const count = countOf(one);
    const first = front * channels * side ** 2;
    const bytes = memo(() => {
      const random = randomOf(one);
      return Uint8Array.from({ length: count }, (_, at) => (at < 2 ? 255 * at : random.integer(256)));
    });
    const contents = new Contents();
    const pixels = contents.add(() => {
      const all = new Uint8Array(first + count).fill(0xff);
      all.set(bytes(), first);
      return bytesAsWords(all);
    });
    const region = flat(count, first);
    const planes = contents.add(() => sentinels(region));
    return {
      call: normalizePixels(profile, {
        ...{ images, channels, imageSize: side, pixels, normalization: STATISTICS, firstImage: front },
        planes: numbersOf(planes, count, first),
      }),
      contents,
      outputs: [{ buffer: planes, kind: "f32", region }],
      results: [
        {
          size: count,
          expected: (at) => {
            const [image, c, pixel] = [
              Math.floor(at / side ** 2 / channels),
              Math.floor(at / side ** 2) % channels,
              at % side ** 2,
            ];
            const byte = bytes()[(image * side ** 2 + pixel) * channels + c]!;
            return (byte / 255 - STATISTICS.mean[c]!) / STATISTICS.std[c]!;
          },
        },
      ],
      flops: 0,
      shape: `${images} × ${channels} × ${side} × ${side}`,
    };
  },
};
