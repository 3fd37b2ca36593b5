import { numbersOf } from "../../src/gpu/view.js";
import { coefficientsElements, consistencyLoss, featurePartials } from "../../src/ops/losses.js";
import { behind, Contents, memo, type Op, randomOf } from "../support/op.js";
import { BATCH, consistencyAt, consistencyGradientAt, countsOf, gradientAt, paddingResult, termResult } from "./losses.js";
import { countOf, features, levelCases, type MapsCase, mapsCases, mapsInput, shapeOf } from "./maps.js";

export const consistencyLossCases: readonly MapsCase[] = [...mapsCases, ...levelCases];

export const consistencyLossOp: Op<MapsCase> = {
  name: "consistency_loss",
  cases: consistencyLossCases,
  setup(one, profile) {
    const { images, side, channels, front = 0 } = one;
    const weight = 3;
    const counts = countsOf(images);
    const operands = memo(() => {
      const random = randomOf(one);
      return { f: features(profile, random, one), g: features(profile, random, one) };
    });
    const contents = new Contents();
    const coefficients = contents.output(profile, "f32", 1, coefficientsElements(one), {
      first: front * coefficientsElements({ ...one, images: 1 }),
    });
    const partials = contents.output(profile, "f32", 1, featurePartials(one), { first: 8 * front });
    return {
      call: consistencyLoss(profile, {
        ...{ images, side, channels, batch: BATCH, weight },
        f: mapsInput(contents, profile, one, () => operands().f, front),
        g: mapsInput(contents, profile, one, () => operands().g, 2 * front),
        counts: numbersOf(
          contents.add(() => behind(front, counts)),
          images,
          front,
        ),
        coefficients: coefficients.view,
        partials: partials.view,
      }),
      contents,
      outputs: [coefficients.output, partials.output],
      results: [
        {
          name: "gradient",
          size: countOf(one),
          value: (numbers, at) => gradientAt(one, numbers, operands().f, operands().g, at),
          expected: (at) => weight * consistencyGradientAt(one, BATCH, operands().f, operands().g, counts, at),
        },
        paddingResult(one, () => true),
        termResult("term", one, (image, c) => consistencyAt(one, BATCH, operands().f, operands().g, counts, [image, c])),
      ],
      flops: 0,
      shape: shapeOf(one),
    };
  },
};
