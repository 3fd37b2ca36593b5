import { numbersOf } from "../../src/gpu/view.js";
import { distancePartials, paddedChannels, perceptualDistance } from "../../src/ops/features.js";
import { behind, Contents, memo, type Op, randomOf } from "../support/op.js";
import { features, levelCases, type MapsCase, mapsCases, mapsInput, shapeOf } from "./maps.js";

export const perceptualDistanceCases: readonly MapsCase[] = [...mapsCases, ...levelCases];

/** Of one pixel's channels, in float64: Σ w (f / (|f| + 1e-10) − g / (|g| + 1e-10))². */
function distanceAt(f: ArrayLike<number>, g: ArrayLike<number>, weights: ArrayLike<number>, from: number): number {
  const lengthOf = (x: ArrayLike<number>) => {
    let squares = 0;
    for (let c = 0; c < weights.length; c++) squares += x[from + c]! ** 2;
    return Math.sqrt(squares) + 1e-10;
  };
  const [one, other] = [lengthOf(f), lengthOf(g)];
  let sum = 0;
  for (let c = 0; c < weights.length; c++) sum += weights[c]! * (f[from + c]! / one - g[from + c]! / other) ** 2;
  return sum;
}

export const perceptualDistanceOp: Op<MapsCase> = {
  name: "perceptual_distance",
  cases: perceptualDistanceCases,
  setup(one, profile) {
    const { images, side, channels, front = 0 } = one;
    const operands = memo(() => {
      const random = randomOf(one);
      const maps = () => features(profile, random, one);
      return { f: maps(), g: maps(), weights: random.normals(channels).map(Math.abs) };
    });
    const contents = new Contents();
    const slices = distancePartials(one);
    const padded = paddedChannels(channels);
    const partials = contents.output(profile, "f32", 1, images * slices, { first: front * slices });
    return {
      call: perceptualDistance(profile, {
        ...{ images, side, channels },
        a: mapsInput(contents, profile, one, () => operands().f, front),
        b: mapsInput(contents, profile, one, () => operands().g, front),
        weights: numbersOf(
          contents.add(() => {
            const all = behind(front * padded, new Float32Array(padded));
            all.set(operands().weights, front * padded);
            return all;
          }),
          channels,
          front * padded,
        ),
        partials: partials.view,
      }),
      contents,
      outputs: [partials.output],
      // Each image is held against its own value.
      results: Array.from({ length: one.bench ? 1 : images }, (_, image) => ({
        name: `image ${image}`,
        size: 1,
        value: (numbers: ArrayLike<number>) => {
          let sum = 0;
          for (let slice = 0; slice < slices; slice++) sum += numbers[image * slices + slice]!;
          return sum;
        },
        expected: () => {
          const { f, g, weights } = operands();
          let sum = 0;
          for (let pixel = 0; pixel < side ** 2; pixel++)
            sum += distanceAt(f, g, weights, (image * side ** 2 + pixel) * channels);
          return sum;
        },
      })),
      flops: 0,
      shape: shapeOf(one),
    };
  },
};
