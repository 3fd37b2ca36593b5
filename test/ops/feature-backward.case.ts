import type { Profile } from "../../src/gpu/profile.js";
import { view } from "../../src/gpu/view.js";
import { type MapsShape, paddedChannels } from "../../src/ops/features.js";
import { coefficientsElements, featureBackward } from "../../src/ops/losses.js";
import { kept } from "../support/elements.js";
import { behind, Contents, memo, type Op, randomOf } from "../support/op.js";
import { gradientAt, padded } from "./losses.js";
import {
  countOf,
  features,
  firstMaximum,
  levelCases,
  type MapsCase,
  mapsCases,
  mapsInput,
  mapsOutput,
  pooled,
  shapeOf,
} from "./maps.js";

export interface FeatureBackwardCase extends MapsCase {
  /** Whether f came out of a ReLU. */
  mask?: boolean;
  /** Whether f was pooled. */
  pooled?: boolean;
}

export const featureBackwardCases: readonly FeatureBackwardCase[] = mapsCases;

export const MASK_AND_POOLED = [
  [true, true],
  [true, false],
  [false, false],
  [false, true],
] as const;

type Numbers = ArrayLike<number>;

/** Backward of ReLU, tap and pooling: `tap` is the loss's own gradient of f, `next` that of the pooled maps. */
export function featureBackwardAt(
  shape: MapsShape,
  f: Numbers,
  tap: (at: number) => number,
  mask: boolean,
  next: Numbers | undefined,
  at: number,
): number {
  if (mask && !(f[at]! > 0)) return 0;
  if (!next) return tap(at);
  const { side, channels } = shape;
  const small = Math.floor(side / 2);
  const [c, x, y] = [at % channels, Math.floor(at / channels) % side, Math.floor(at / channels / side) % side];
  const image = Math.floor(at / channels / side / side);
  const [windowX, windowY] = [Math.floor(x / 2), Math.floor(y / 2)];
  // The last row and column of an odd side are in no window.
  if (windowX >= small || windowY >= small) return tap(at);
  const window = ((image * small + windowY) * small + windowX) * channels + c;
  return tap(at) + (firstMaximum(shape, f, window) === at ? next[window]! : 0);
}

function operandsOf(one: FeatureBackwardCase, profile: Profile) {
  const random = randomOf(one);
  return {
    f: features(profile, random, one, 2),
    g: features(profile, random, one),
    next: kept(profile, random.normals(countOf(pooled(one)))),
    coefficients: Float32Array.from(padded(one.channels, random.normals(one.images * 5 * one.channels))),
  };
}

export const featureBackwardOp: Op<FeatureBackwardCase> = {
  name: "feature_backward",
  cases: [
    ...MASK_AND_POOLED.flatMap(([mask, pooled]) => mapsCases.map((one) => ({ ...one, mask, pooled }))),
    ...levelCases.map((one) => ({ ...one, mask: true, pooled: true })),
  ],
  setup(one, profile) {
    const { images, side, channels, front = 0, mask = false } = one;
    const shape = { images, side, channels };
    const operands = memo(() => operandsOf(one, profile));
    const contents = new Contents();
    const stride = paddedChannels(channels);
    const first = front * coefficientsElements({ images: 1, channels });
    const coefficients = contents.add(() => behind(first, operands().coefficients));
    const dx = mapsOutput(contents, profile, one, shape, (at) => {
      const { f, g, next, coefficients } = operands();
      const tap = (at: number) => gradientAt(shape, coefficients, f, g, at);
      return featureBackwardAt(shape, f, tap, mask, one.pooled ? next : undefined, at);
    });
    return {
      call: featureBackward(profile, {
        ...shape,
        f: mapsInput(contents, profile, shape, () => operands().f, front),
        g: mapsInput(contents, profile, shape, () => operands().g, 2 * front),
        coefficients: view(coefficients, "f32", 5 * images, stride, { first }),
        ...(one.pooled ? { dPooled: mapsInput(contents, profile, pooled(shape), () => operands().next, front) } : {}),
        dx: dx.view,
        mask,
      }),
      contents,
      outputs: [dx.output],
      results: [dx.result],
      flops: 0,
      shape: `${shapeOf(one)}${mask ? " mask" : ""}${one.pooled ? " pooled" : ""}`,
    };
  },
};
