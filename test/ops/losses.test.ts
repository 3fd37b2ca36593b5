import { beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { mapsElements, paddedChannels, statisticsElements } from "../../src/ops/features.js";
import {
  coefficientsElements,
  consistencyLossParameters,
  featureBackwardParameters,
  featurePartials,
  PIXEL_LOSS_SLICES,
  pixelLossParameters,
  planConsistencyLoss,
  planFeatureBackward,
  planPixelLoss,
  planStylizedLoss,
  stylizedLossParameters,
} from "../../src/ops/losses.js";
import { assertClose } from "../support/compare.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { Random } from "../support/random.js";
import { asFloats, runOp } from "../support/run-op.js";
import { mapsCases, named, planesCases } from "./feature-cases.js";
import * as oracle from "./feature-oracles.js";
import { behind, element, features, mapsInput, mapsOutput, narrow, runOutputs, wordsOutput } from "./feature-setups.js";

const gpu = gpuOfThisFile();
let halves: Gpu | undefined;
beforeAll(() => {
  if (gpu()) halves = inTier(gpu(), "f16");
});
const TIERS = [
  ["f32", () => gpu()],
  ["f16", () => halves!],
] as const;

type MapsCase = (typeof mapsCases)[number];
const frontOf = (one: MapsCase, shape: oracle.Maps = one) => (one.front ?? 0) * mapsElements({ ...shape, images: 1 });
const countsOf = (images: number) => Float32Array.from({ length: images }, (_, at) => 1 + (at % 2));

/** Gradient of a loss with respect to f that an op's coefficients [images, 5, stride] stand for. */
function gradientOf(shape: oracle.Maps, coefficients: ArrayLike<number>, f: ArrayLike<number>, g: ArrayLike<number>) {
  const { side, channels } = shape;
  const stride = paddedChannels(channels);
  return Float64Array.from({ length: f.length }, (_, at) => {
    const [b, c] = [Math.floor(at / (side * side * channels)), at % channels];
    const [m, n, p, q, r] = [0, 1, 2, 3, 4].map((which) => coefficients[(5 * b + which) * stride + c]!);
    return p! * (f[at]! - m!) + q! * (g[at]! - n!) + r!;
  });
}

/** [rows, channels] with zeros behind. */
function padded(channels: number, values: ArrayLike<number>): Float64Array {
  const stride = paddedChannels(channels);
  return Float64Array.from({ length: (values.length / channels) * stride }, (_, at) =>
    at % stride < channels ? values[Math.floor(at / stride) * channels + (at % stride)]! : 0,
  );
}

function expectZeroPadding(channels: number, coefficients: Float32Array): void {
  const stride = paddedChannels(channels);
  expect(coefficients.filter((value, at) => at % stride >= channels && value !== 0)).toHaveLength(0);
}

/** By channel, so that one whose deviation is small, and whose gradient is large, does not hide the others. */
function assertCloseByChannel(channels: number, actual: Float64Array, reference: Float64Array, what: string): void {
  for (let c = 0; c < channels; c++) {
    const of = (values: Float64Array) => values.filter((_, at) => at % channels === c);
    if (of(reference).some((value) => value !== 0)) assertClose(of(actual), of(reference), `${what}, channel ${c}`);
  }
}

const BATCH = 7;

describe.each(TIERS)("in %s", (_tier, device) => {
  describe.each(FAMILIES)("consistency, workgroups for %s", (_family, of) => {
    async function check(one: MapsCase, profile: Profile): Promise<void> {
      const { images, channels, front = 0 } = one;
      const random = new Random(one.name);
      const [f, g] = [features(profile, random, one), features(profile, random, one)];
      const counts = countsOf(images);
      const [coefficientsOffset, partialsOffset] = [front * coefficientsElements({ ...one, images: 1 }), 8 * front];
      const [coefficients, partials] = await runOutputs(device(), {
        plan: planConsistencyLoss(one, profile),
        parameters: consistencyLossParameters(
          one,
          { batch: BATCH, weight: 3 },
          { fOffset: frontOf(one), gOffset: 2 * frontOf(one), countsOffset: front, coefficientsOffset, partialsOffset },
        ),
        inputs: [mapsInput(profile, one, f, front), mapsInput(profile, one, g, 2 * front), behind(front, counts)],
        outputs: [wordsOutput(coefficientsElements(one), coefficientsOffset), wordsOutput(featurePartials(one), partialsOffset)],
      });
      const reference = oracle.consistencyGradient(one, BATCH, f, g, counts).map((value) => 3 * value);
      assertClose(gradientOf(one, asFloats(coefficients!), f, g), reference, `gradient of consistency, ${one.name}`);
      expectZeroPadding(channels, asFloats(coefficients!));
      const losses = padded(channels, oracle.consistency(one, BATCH, f, g, counts));
      assertClose(asFloats(partials!), losses, `consistency, ${one.name}`);
    }

    it.each(named(mapsCases))("%s", (_, one) => check(one, of(device().profile)));

    it("spreads over both sides of the grid", () =>
      check({ name: "a narrow grid", images: 10, side: 3, channels: 112 }, of(narrow(device().profile))));
  });

  describe.each(FAMILIES)("stylized, workgroups for %s", (_family, of) => {
    /** `scale` by channel, of f and g. */
    async function check(one: MapsCase, profile: Profile, scale: (c: number) => number = () => 1): Promise<void> {
      const { images, channels, front = 0 } = one;
      const random = new Random(one.name);
      const scaled = (values: Float32Array) =>
        element(
          profile,
          values.map((x, at) => x * scale(at % channels)),
        );
      const f = scaled(features(profile, random, one));
      // As from a trained model: near their contents, or the anatomical loss would not be small against its parts.
      const noise = features(profile, random, one);
      const g = element(
        profile,
        f.map((x, at) => x + 0.25 * scale(at % channels) * noise[at]!),
      );
      const own = oracle.statistics(one, g);
      // Contents' rows begin at 1 + front; the last image's style is the first, and row 0 belongs to no content.
      const firstContent = 1 + front;
      const other = random.uniforms(firstContent * 2 * channels, 0.1, 1);
      const rows = Float32Array.from([...other, ...own]);
      const styles = Uint32Array.from({ length: images }, (_, at) => (at === images - 1 ? 0 : firstContent + at + 1));
      const held = { g, statistics: rows, styles };

      const stride = paddedChannels(channels);
      const [statisticsOffset, coefficientsOffset] = [4 * front, front * coefficientsElements({ ...one, images: 1 })];
      const weights = { anatomical: 7, style: 10 };
      const [anatomicalOffset, between] = [8 * front, 4 * front];
      const count = featurePartials(one);
      const [coefficients, partials] = await runOutputs(device(), {
        plan: planStylizedLoss(one, profile),
        parameters: stylizedLossParameters(
          one,
          { batch: BATCH, anatomicalWeight: weights.anatomical, styleWeight: weights.style },
          {
            fOffset: frontOf(one),
            gOffset: 2 * frontOf(one),
            statisticsOffset,
            firstContent,
            stylesOffset: front,
            coefficientsOffset,
            anatomicalOffset,
            ...(front ? { styleOffset: anatomicalOffset + count + between } : {}),
          },
        ),
        inputs: [
          mapsInput(profile, one, f, front),
          mapsInput(profile, one, g, 2 * front),
          behind(statisticsOffset, statisticsRows(channels, rows)),
          Uint32Array.from([...new Array<number>(front).fill(0), ...styles]),
        ],
        outputs: [wordsOutput(coefficientsElements(one), coefficientsOffset), wordsOutput(2 * count + between, anatomicalOffset)],
      });
      const what = `stylized, ${one.name}`;
      const gradient = gradientOf(one, asFloats(coefficients!), f, g);
      assertCloseByChannel(channels, gradient, oracle.stylizedGradient(one, BATCH, f, held, weights), `gradient of ${what}`);
      expectZeroPadding(
        channels,
        asFloats(coefficients!).filter((_, at) => Math.floor(at / stride) % 5 >= 2),
      );
      const losses = oracle.stylized(one, BATCH, f, held);
      const floats = asFloats(partials!);
      assertClose(floats.subarray(0, count), padded(channels, losses.anatomical), `anatomical term of ${what}`);
      assertClose(floats.subarray(count + between), padded(channels, losses.style), `style term of ${what}`);
    }

    /** Statistics [rows, 2, channels] padded as kernels/feature_statistics.wgsl pads them. */
    function statisticsRows(channels: number, rows: Float32Array): Float32Array {
      const stride = paddedChannels(channels);
      const values = padded(channels, rows);
      expect(values.length).toBe(statisticsElements({ images: rows.length / (2 * channels), channels }));
      return Float32Array.from(values, (value, at) =>
        at % stride < channels || Math.floor(at / stride) % 2 === 0 ? value : Math.sqrt(oracle.EPSILON),
      );
    }

    it.each(named(mapsCases))("%s", (_, one) => check(one, of(device().profile)));

    it("channels that are dead, hardly vary, or lie on both sides of the clamp", () =>
      check(
        { name: "channels of many scales", images: 2, side: 9, channels: 6 },
        of(device().profile),
        (c) => [0, 1e-3, 2e-3, 1e-2, 1, 30][c]!,
      ));

    it("spreads over both sides of the grid", () =>
      check({ name: "a narrow grid", images: 10, side: 3, channels: 112 }, of(narrow(device().profile))));
  });

  describe.each([
    [true, true],
    [true, false],
    [false, false],
    [false, true],
  ])("feature backward, mask %s, pooled %s", (mask, pooled) => {
    async function check(one: MapsCase, profile: Profile): Promise<void> {
      const { images, channels, front = 0 } = one;
      const random = new Random(one.name);
      const small = oracle.pooled(one);
      const [f, g] = [features(profile, random, one, 2), features(profile, random, one)];
      const next = element(profile, random.normals(images * small.side ** 2 * channels));
      const coefficients = random.normals(images * 5 * channels);
      const rows = Float32Array.from(padded(channels, coefficients));
      const tap = gradientOf(one, rows, f, g);
      const reference = oracle.featureBackward(one, f, tap, mask, pooled ? next : undefined);
      const output = mapsOutput(profile, one, reference, front);
      const coefficientsOffset = front * coefficientsElements({ ...one, images: 1 });
      const maps = mapsInput(profile, one, f, front);
      const result = await runOp(device(), {
        plan: planFeatureBackward({ ...one, mask, pooled }, profile),
        parameters: featureBackwardParameters(one, {
          fOffset: frontOf(one),
          gOffset: 2 * frontOf(one),
          coefficientsOffset,
          ...(pooled ? { pooledOffset: frontOf(one, small) } : {}),
          outputOffset: frontOf(one),
        }),
        inputs: [
          maps,
          mapsInput(profile, one, g, 2 * front),
          behind(coefficientsOffset, rows),
          pooled ? mapsInput(profile, small, next, front) : maps,
        ],
        ...output,
      });
      assertClose(output.numbers(result), output.reference, `feature backward, ${one.name}`, output.tolerance);
    }

    it.each(named(mapsCases))("%s", (_, one) => check(one, device().profile));

    it("spreads over both sides of the grid", () =>
      check({ name: "a narrow grid", images: 2, side: 33, channels: 64 }, narrow(device().profile)));
  });
});

describe.each(FAMILIES)("pixel loss, workgroups for %s", (_family, of) => {
  async function check(one: MapsCase, profile: Profile): Promise<void> {
    const { images, side, channels, front = 0 } = one;
    const random = new Random(one.name);
    const count = images * channels * side ** 2;
    const each = channels * side ** 2;
    const [x, y, counts] = [random.normals(count), random.normals(count), countsOf(images)];
    const shape = { images, channels, imageSize: side };
    const partialsOffset = 3 * front;
    const [gradient, partials] = await runOutputs(gpu(), {
      plan: planPixelLoss(shape, profile),
      parameters: pixelLossParameters(
        shape,
        { batch: BATCH, weight: 70 },
        { xOffset: front * each, yOffset: front, countsOffset: front, gradientOffset: 2 * front, partialsOffset },
      ),
      inputs: [behind(front * each, x), behind(front, y), behind(front, counts)],
      outputs: [wordsOutput(count, 2 * front), wordsOutput(images * PIXEL_LOSS_SLICES, partialsOffset)],
    });
    // Of planes as of maps of one channel a pixel: the same mean squared error.
    const flat = { images, side, channels };
    const reference = oracle.consistencyGradient(flat, BATCH, y, x, counts).map((value) => 70 * value);
    assertClose(asFloats(gradient!), reference, `gradient of pixel loss, ${one.name}`);
    const term = oracle.consistency(flat, BATCH, y, x, counts);
    for (let b = 0; b < images; b++) {
      const sum = (values: ArrayLike<number>) => Array.from(values).reduce((total, value) => total + value, 0);
      const ours = sum(asFloats(partials!).subarray(b * PIXEL_LOSS_SLICES, (b + 1) * PIXEL_LOSS_SLICES));
      assertClose([ours], [sum(term.subarray(b * channels, (b + 1) * channels))], `pixel loss of image ${b}, ${one.name}`);
    }
  }

  it.each(named(planesCases))("%s", (_, one) => check(one, of(gpu().profile)));

  it("spreads over both sides of the grid", () =>
    check({ name: "a narrow grid", images: 5, side: 21, channels: 3 }, of(narrow(gpu().profile))));
});
