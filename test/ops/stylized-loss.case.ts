import type { Profile } from "../../src/gpu/profile.js";
import { numbersOf, view } from "../../src/gpu/view.js";
import { paddedChannels } from "../../src/ops/features.js";
import { coefficientsElements, featurePartials, stylizedLoss } from "../../src/ops/losses.js";
import { kept } from "../support/elements.js";
import { behind, Contents, memo, type Op, type Result, randomOf } from "../support/op.js";
import { BATCH, gradientAt, padded, paddingResult, stylizedAt, stylizedGradient, termResult } from "./losses.js";
import { EPSILON, features, levelCases, type MapsCase, mapsCases, mapsInput, shapeOf, statisticsOf } from "./maps.js";

export interface StylizedLossCase extends MapsCase {
  /** Of f and g, by channel. */
  scales?: readonly number[];
}

export const stylizedLossCases: readonly StylizedLossCase[] = [...mapsCases, ...levelCases];

const WEIGHTS = { anatomical: 7, style: 10 };

/** Row of the first content's statistics: row 0 belongs to no content. */
const firstContentOf = ({ front = 0 }: StylizedLossCase) => 1 + front;

function operandsOf(one: StylizedLossCase, profile: Profile) {
  const { images, channels, scales } = one;
  const random = randomOf(one);
  const scaled = (values: Float32Array) =>
    scales
      ? kept(
          profile,
          values.map((x, at) => x * scales[at % channels]!),
        )
      : values;
  const f = scaled(features(profile, random, one));
  // As from a trained model: near their contents, or the anatomical loss would not be small against its parts.
  const noise = features(profile, random, one);
  const g = kept(
    profile,
    f.map((x, at) => x + 0.25 * (scales?.[at % channels] ?? 1) * noise[at]!),
  );
  const firstContent = firstContentOf(one);
  const other = random.uniforms(firstContent * 2 * channels, 0.1, 1);
  const statistics = Float32Array.from([...other, ...statisticsOf(one, g)]);
  // The last image's style is the first row.
  const styles = Uint32Array.from({ length: images }, (_, at) => (at === images - 1 ? 0 : firstContent + at + 1));
  return { f, targets: { g, statistics, styles } };
}

/** Statistics [rows, 2, channels] padded as kernels/feature_statistics.wgsl pads them. */
function statisticsRows(channels: number, rows: Float32Array): Float32Array {
  const stride = paddedChannels(channels);
  return Float32Array.from(padded(channels, rows), (value, at) =>
    at % stride < channels || Math.floor(at / stride) % 2 === 0 ? value : Math.sqrt(EPSILON),
  );
}

export const stylizedLossOp: Op<StylizedLossCase> = {
  name: "stylized_loss",
  cases: stylizedLossCases,
  setup(one, profile) {
    const { images, side, channels, front = 0 } = one;
    const operands = memo(() => operandsOf(one, profile));
    const stride = paddedChannels(channels);
    const firstContent = firstContentOf(one);
    const contents = new Contents();
    const rows = firstContent + images;
    const statistics = view(
      contents.add(() => behind(4 * front, statisticsRows(channels, operands().targets.statistics))),
      "f32",
      2 * rows,
      stride,
      { first: 4 * front },
    );
    const styles = contents.add(() => Uint32Array.from([...new Array<number>(front).fill(0), ...operands().targets.styles]));
    const coefficients = contents.output(profile, "f32", 1, coefficientsElements(one), {
      first: front * coefficientsElements({ ...one, images: 1 }),
    });
    // Two terms in one buffer, some numbers apart.
    const [count, between] = [featurePartials(one), 4 * front];
    const first = 8 * front;
    const partials = contents.output(profile, "f32", 1, 2 * count + between, { first });
    const gap = (at: number) => at >= count && at < count + between;

    // By channel, so that one whose deviation is small, and whose gradient is large, does not hide the others.
    const pixels = side * side;
    const gradients = Array.from({ length: channels }, (_, c): Result => {
      const made = new Map<number, Float64Array>();
      const placeOf = (at: number) => at * channels + c;
      return {
        name: `gradient, channel ${c}`,
        size: images * pixels,
        value: (numbers, at) => gradientAt(one, numbers, operands().f, operands().targets.g, placeOf(at)),
        expected: (at) => {
          const image = Math.floor(at / pixels);
          const { f, targets } = operands();
          const own = made.get(image) ?? stylizedGradient(one, BATCH, f, targets, WEIGHTS, [image, c]);
          made.set(image, own);
          return own[at % pixels]!;
        },
        // Nothing can be said of a channel that has no gradient at all.
        tolerance: (reference) =>
          reference.some((value) => value !== 0) ? {} : { bound: 0, slack: () => Number.POSITIVE_INFINITY },
      };
    });
    const term = (which: "anatomical" | "style") => (image: number, c: number) =>
      stylizedAt(one, BATCH, operands().f, operands().targets, [image, c])[which];
    return {
      call: stylizedLoss(profile, {
        ...{ images, side, channels, firstContent, batch: BATCH, statistics },
        f: mapsInput(contents, profile, one, () => operands().f, front),
        g: mapsInput(contents, profile, one, () => operands().targets.g, 2 * front),
        styles: numbersOf(styles, images, front),
        coefficients: coefficients.view,
        anatomical: numbersOf(partials.view.buffer, count, first),
        style: numbersOf(partials.view.buffer, count, first + count + between),
        anatomicalWeight: WEIGHTS.anatomical,
        styleWeight: WEIGHTS.style,
      }),
      contents,
      outputs: [coefficients.output, { ...partials.output, stays: gap }],
      results: [
        ...(one.bench ? gradients.slice(0, 4) : gradients),
        paddingResult(one, (row) => row >= 2),
        termResult("anatomical term", one, term("anatomical")),
        termResult("style term", one, term("style"), count + between),
      ],
      flops: 0,
      shape: shapeOf(one),
    };
  },
};
