import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Gpu } from "../../src/gpu/gpu.js";
import { HashedWeights, hashedUniform } from "../../src/hub/hashed.js";
import type { PixelImage } from "../../src/image/types.js";
import { lpips } from "../../src/metrics/lpips.js";
import { Vgg16Engine } from "../../src/metrics/vgg16-engine.js";
import { type Stage, VGG_16, vggShapes } from "../../src/models/vgg/weights.js";
import { gradient, noise } from "../image/helpers.js";
import { gpuOfThisFile, hardwareProfile, inTier } from "../support/gpu.js";
import { levelsOf } from "./vgg-oracle.js";

const gpu = gpuOfThisFile();

/** A VGG-16 an eighth as wide. */
const THIN: readonly Stage[] = VGG_16.stages.map(({ convolutions, channels }) => ({ convolutions, channels: channels / 8 }));
const weights = new HashedWeights(vggShapes(3, THIN), 3);
const linear = THIN.map(({ channels }, level) => hashedUniform(`linear ${level}`, channels, 3).map(Math.abs));

let engine: Vgg16Engine;
beforeAll(async () => {
  engine = await Vgg16Engine.create(inTier(gpu(), "f32"), weights, linear, THIN);
});
afterAll(() => engine.dispose());

/** In float64. */
const levels = (image: PixelImage) => levelsOf(image, THIN, (key) => weights.read(key));
const distance = async (a: PixelImage, b: PixelImage) => {
  const [one, other] = [await levels(a), await levels(b)];
  return lpips(one.map(({ data }) => data), other.map(({ data }) => data), linear); // biome-ignore format: one call
};

const near = (actual: number, expected: number) =>
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(2e-5 * Math.abs(expected));

describe("LPIPS on the device is that in float64", () => {
  it.each([
    ["a square", 32, 32],
    ["a flat image", 37, 21],
    ["a narrow one", 16, 45],
    ["the smallest", 16, 16],
    ["odd sides", 33, 33],
  ])("of %s", async (_, width, height) => {
    const [a, b] = [gradient(width, height), noise(width, height, 3, 5)];
    const [c, d] = [noise(width, height, 3, 6), noise(width, height, 1, 7)];
    const found = await engine.distances([a, c], [b, d]);
    near(found[0]!, await distance(a, b));
    // Grey is repeated.
    near(found[1]!, await distance(c, d));
    expect(await engine.distances([a, c], [a, c])).toEqual([0, 0]);
  });

  it("after images of other sizes, and of fewer at a time", async () => {
    const [a, b] = [gradient(40, 24), noise(40, 24, 3, 8)];
    const [alone] = await engine.distances([a], [b]);
    const several = await engine.distances([b, a, a], [b, a, b]);
    await engine.distances([gradient(24, 40)], [noise(24, 40, 3)]);
    expect(several.slice(0, 2)).toEqual([0, 0]);
    expect(several[2]).toBe(alone);
    expect(await engine.distances([a], [b])).toEqual([alone]);
    near(alone!, await distance(a, b));
  });
});

it("a GPU's kernels, in dispatches that are cut where they would run for long, give the same", async () => {
  const { device, facts } = gpu();
  const on = new Gpu(device, facts, hardwareProfile(inTier(gpu(), "f32").profile), false);
  const other = await Vgg16Engine.create(on, weights, linear, THIN);
  const [a, b] = [gradient(24, 20), noise(24, 20, 3, 4)];
  const [found] = await other.distances([a], [b]);
  expect(Number.isFinite(on.flopsPerDispatch)).toBe(true);
  near(found!, await distance(a, b));
  expect(await other.distances([a], [b])).toEqual([found]);
  other.dispose();
});

it("features are means over the positions of the last level", async () => {
  const images = [gradient(32, 32), noise(32, 32, 3, 9)];
  const found = await engine.features(images);
  for (const [index, image] of images.entries()) {
    const { data, channels, height, width } = (await levels(image)).at(-1)!;
    expect(found[index]).toHaveLength(channels);
    const area = height * width;
    const expected = Array.from(
      { length: channels },
      (_, c) => data.slice(c * area, (c + 1) * area).reduce((s, x) => s + x) / area,
    );
    const largest = Math.max(...expected);
    expect(largest).toBeGreaterThan(0);
    for (const [c, value] of expected.entries()) expect(Math.abs(found[index]![c]! - value)).toBeLessThanOrEqual(2e-5 * largest);
  }
});

it("holds as many images a submission as fit, and gives its memory back", async () => {
  const size = { height: 64, width: 64 };
  expect(engine.largestBatch("features", size)).toBe(4);
  expect(engine.largestBatch("pairs", size, 2)).toBe(2);
  const on = inTier(gpu(), "f32");
  const before = on.allocatedBytes;
  const other = await Vgg16Engine.create(on, weights, linear, THIN);
  await other.features([noise(16, 16, 3)]);
  other.dispose();
  expect(on.allocatedBytes).toBe(before);
});
