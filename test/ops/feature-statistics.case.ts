import { view } from "../../src/gpu/view.js";
import { featureStatistics, paddedChannels } from "../../src/ops/features.js";
import { Contents, memo, type Op, randomOf } from "../support/op.js";
import {
  channelOf,
  countOf,
  EPSILON,
  features,
  levelCases,
  type MapsCase,
  mapsCases,
  mapsInput,
  momentsOf,
  shapeOf,
} from "./maps.js";

export interface FeatureStatisticsCase extends MapsCase {
  /** What every channel holds, in turns, in the place of random numbers. */
  constants?: readonly number[];
}

export const featureStatisticsCases: readonly FeatureStatisticsCase[] = [...mapsCases, ...levelCases];

/** Means, then deviations: [images, 2, channels]. */
export const featureStatisticsOp: Op<FeatureStatisticsCase> = {
  name: "feature_statistics",
  cases: featureStatisticsCases,
  setup(one, profile) {
    const { images, side, channels, front = 0, constants } = one;
    const f = memo(() =>
      constants
        ? Float32Array.from({ length: countOf(one) }, (_, at) => constants[at % channels]!)
        : features(profile, randomOf(one), one),
    );
    const contents = new Contents();
    const stride = paddedChannels(channels);
    const statistics = contents.output(profile, "f32", 1, 2 * images * stride, { first: front * 2 * stride });
    return {
      call: featureStatistics(profile, {
        ...{ images, side, channels },
        maps: mapsInput(contents, profile, one, f, front),
        statistics: view(statistics.view.buffer, "f32", 2 * images, stride, { first: front * 2 * stride }),
      }),
      contents,
      outputs: [statistics.output],
      results: [
        {
          size: 2 * images * stride,
          expected: (at) => {
            const [row, c] = [Math.floor(at / stride), at % stride];
            // Padding is maps of zeros: mean 0, deviation at its clamp.
            if (c >= channels) return row % 2 === 0 ? 0 : Math.sqrt(EPSILON);
            const { mean, deviation } = momentsOf(channelOf(one, f(), Math.floor(row / 2), c));
            return row % 2 === 0 ? mean : deviation;
          },
        },
      ],
      flops: 0,
      shape: shapeOf(one),
    };
  },
};
