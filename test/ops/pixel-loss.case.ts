import { numbersOf } from "../../src/gpu/view.js";
import { PIXEL_LOSS_SLICES, pixelLoss } from "../../src/ops/losses.js";
import { behind, Contents, memo, type Op, randomOf } from "../support/op.js";
import { BATCH, consistencyAt, consistencyGradientAt, countsOf } from "./losses.js";
import { countOf, imageCases, type MapsCase, planesCases } from "./maps.js";

export const pixelLossCases: readonly MapsCase[] = [...planesCases, ...imageCases];

export const pixelLossOp: Op<MapsCase> = {
  name: "pixel_loss",
  cases: pixelLossCases,
  setup(one, profile) {
    const { images, side, channels, front = 0 } = one;
    const [count, each, weight] = [countOf(one), channels * side ** 2, 70];
    const counts = countsOf(images);
    const operands = memo(() => {
      const random = randomOf(one);
      return { x: random.normals(count), y: random.normals(count) };
    });
    const contents = new Contents();
    const planes = (first: number, of: () => Float32Array) =>
      numbersOf(
        contents.add(() => behind(first, of())),
        count,
        first,
      );
    const gradient = contents.output(profile, "f32", 1, count, { first: 2 * front });
    const partials = contents.output(profile, "f32", 1, images * PIXEL_LOSS_SLICES, { first: 3 * front });
    return {
      call: pixelLoss(profile, {
        ...{ images, channels, imageSize: side, batch: BATCH, weight },
        x: planes(front * each, () => operands().x),
        y: planes(front, () => operands().y),
        counts: numbersOf(
          contents.add(() => behind(front, counts)),
          images,
          front,
        ),
        gradient: gradient.view,
        partials: partials.view,
      }),
      contents,
      outputs: [gradient.output, partials.output],
      results: [
        {
          name: "gradient",
          size: count,
          // Of planes as of maps of one channel a pixel: the same mean squared error.
          expected: (at) => weight * consistencyGradientAt(one, BATCH, operands().y, operands().x, counts, at),
        },
        // Each image is held against its own value.
        ...Array.from({ length: one.bench ? 1 : images }, (_, image) => ({
          name: `term of image ${image}`,
          of: 1,
          size: 1,
          value: (numbers: ArrayLike<number>) => {
            let sum = 0;
            for (let slice = 0; slice < PIXEL_LOSS_SLICES; slice++) sum += numbers[image * PIXEL_LOSS_SLICES + slice]!;
            return sum;
          },
          expected: () => {
            const { x, y } = operands();
            let sum = 0;
            for (let c = 0; c < channels; c++) sum += consistencyAt(one, BATCH, y, x, counts, [image, c]);
            return sum;
          },
        })),
      ],
      flops: 0,
      shape: `${images} × ${channels} × ${side} × ${side}`,
    };
  },
};
