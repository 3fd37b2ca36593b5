import { beforeAll, describe, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import {
  featureStatisticsParameters,
  mapsElements,
  mapsToPlanesParameters,
  maxPoolParameters,
  normalizePixelsParameters,
  paddedChannels,
  planesToMapsParameters,
  planFeatureStatistics,
  planMapsToPlanes,
  planMaxPool,
  planNormalizePixels,
  planPlanesToMaps,
  statisticsElements,
} from "../../src/ops/features.js";
import { assertClose } from "../support/compare.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { Random } from "../support/random.js";
import { asFloats, runOp } from "../support/run-op.js";
import { STATISTICS } from "./cases.js";
import { mapsCases, named, planesCases } from "./feature-cases.js";
import * as oracle from "./feature-oracles.js";
import { behind, element, features, mapsInput, mapsOutput, narrow, wordsOutput } from "./feature-setups.js";

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
const planesOf = ({ images, side, channels }: oracle.Maps) => images * channels * side ** 2;
/** Elements of maps in front of those used. */
const frontOf = (one: MapsCase, shape: oracle.Maps = one) => (one.front ?? 0) * mapsElements({ ...shape, images: 1 });

describe("normalize pixels", () => {
  async function check(one: MapsCase, profile: Profile): Promise<void> {
    const { front = 0 } = one;
    const random = new Random(one.name);
    const shape = { images: one.images, channels: one.channels, imageSize: one.side };
    const each = one.channels * one.side ** 2;
    const bytes = Uint8Array.from({ length: planesOf(one) }, (_, at) => (at < 2 ? 255 * at : random.integer(256)));
    const words = new Uint8Array(4 * Math.ceil((front * each + bytes.length) / 4)).fill(0xff);
    words.set(bytes, front * each);
    const result = await runOp(gpu(), {
      plan: planNormalizePixels(shape, profile),
      parameters: normalizePixelsParameters(shape, STATISTICS, { firstImage: front, outputOffset: front * each }),
      inputs: [new Uint32Array(words.buffer)],
      ...wordsOutput(bytes.length, front * each),
    });
    assertClose(asFloats(result), oracle.normalizePixels(one, bytes, STATISTICS), `normalize pixels, ${one.name}`);
  }

  it.each(named(planesCases.filter(({ channels }) => channels <= 4)))("%s", (_, one) => check(one, gpu().profile));

  it("spreads over both sides of the grid, with four channels", () =>
    check({ name: "a narrow grid", images: 2, side: 35, channels: 4 }, narrow(gpu().profile)));
});

describe.each(TIERS)("in %s", (_tier, device) => {
  describe("planes to maps", () => {
    it.each(named(planesCases))("%s", async (name, one) => {
      const { profile } = device();
      const front = one.front ?? 0;
      const planes = new Random(name).normals(planesOf(one));
      const inputOffset = front * one.channels * one.side ** 2;
      const output = mapsOutput(profile, one, oracle.planesToMaps(one, planes), front);
      const result = await runOp(device(), {
        plan: planPlanesToMaps(one, profile),
        parameters: planesToMapsParameters(one, { inputOffset, outputOffset: frontOf(one) }),
        inputs: [behind(inputOffset, planes)],
        ...output,
      });
      assertClose(output.numbers(result), output.reference, `planes to maps, ${name}`, output.tolerance);
    });
  });

  describe.each([false, true])("maps to planes, accumulating: %s", (accumulate) => {
    it.each(named(planesCases))("%s", async (name, one) => {
      const { profile } = device();
      const random = new Random(name);
      const [planes, before] = [random.normals(planesOf(one)), random.normals(planesOf(one))];
      const gradient = element(profile, planes);
      const outputOffset = (one.front ?? 0) * one.channels * one.side ** 2;
      const output = wordsOutput(planes.length, outputOffset);
      if (accumulate) output.before.set(new Uint32Array(before.buffer), outputOffset);
      const result = await runOp(device(), {
        plan: planMapsToPlanes({ ...one, accumulate }, profile),
        parameters: mapsToPlanesParameters(one, { inputOffset: frontOf(one), outputOffset }),
        inputs: [mapsInput(profile, one, oracle.planesToMaps(one, gradient), one.front)],
        ...output,
      });
      const reference = Float64Array.from(gradient, (value, at) => value + (accumulate ? before[at]! : 0));
      assertClose(asFloats(result), reference, `maps to planes, ${name}`);
    });
  });

  describe("max pool", () => {
    async function check(one: MapsCase, profile: Profile): Promise<void> {
      const f = element(profile, new Random(one.name).normals(planesOf(one)));
      const small = oracle.pooled(one);
      const output = mapsOutput(profile, small, oracle.maxPool(one, f), one.front);
      const result = await runOp(device(), {
        plan: planMaxPool(one, profile),
        parameters: maxPoolParameters(one, { inputOffset: frontOf(one), outputOffset: frontOf(one, small) }),
        inputs: [mapsInput(profile, one, f, one.front)],
        ...output,
      });
      // A maximum is one of its operands: there is nothing to round.
      assertClose(output.numbers(result), output.reference, `max pool, ${one.name}`, { bound: 0 });
    }

    it.each(named(mapsCases.filter(({ side }) => side > 1)))("%s", (_, one) => check(one, device().profile));

    it("spreads over both sides of the grid", () =>
      check({ name: "a narrow grid", images: 2, side: 33, channels: 64 }, narrow(device().profile)));
  });

  describe.each(FAMILIES)("feature statistics, workgroups for %s", (family, of) => {
    async function check(one: MapsCase, profile: Profile, f: Float32Array): Promise<void> {
      const front = one.front ?? 0;
      const stride = paddedChannels(one.channels);
      const outputOffset = front * 2 * stride;
      const result = await runOp(device(), {
        plan: planFeatureStatistics(one, profile),
        parameters: featureStatisticsParameters(one, { inputOffset: frontOf(one), outputOffset }),
        inputs: [mapsInput(profile, one, f, front)],
        ...wordsOutput(statisticsElements(one), outputOffset),
      });
      const narrowRows = oracle.statistics(one, f);
      // Padding is maps of zeros: mean 0, deviation at its clamp.
      const reference = Float64Array.from({ length: result.length }, (_, at) => {
        const [row, c] = [Math.floor(at / stride), at % stride];
        return c < one.channels ? narrowRows[row * one.channels + c]! : row % 2 === 0 ? 0 : Math.sqrt(oracle.EPSILON);
      });
      assertClose(asFloats(result), reference, `${family} feature statistics, ${one.name}`);
    }

    it.each(named(mapsCases))("%s", (name, one) => {
      const profile = of(device().profile);
      return check(one, profile, features(profile, new Random(name), one));
    });

    it("constant channels have the deviation of the clamp, also far from zero", () => {
      const one = { name: "constants", images: 2, side: 9, channels: 6 };
      const profile = of(device().profile);
      return check(
        one,
        profile,
        Float32Array.from({ length: planesOf(one) }, (_, at) => [0, 0.5, 3, 100, 0, 7][at % 6]!),
      );
    });

    it("spreads over both sides of the grid", () => {
      const one = { name: "a narrow grid", images: 10, side: 3, channels: 112 };
      const profile = of(narrow(device().profile));
      return check(one, profile, features(profile, new Random(one.name), one));
    });
  });
});
