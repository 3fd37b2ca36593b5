import { describe, expect, it } from "vitest";
import type { SampledImage } from "../../src/image/checks.js";
import { channelMoments, MomentAccumulator } from "../../src/image/moments.js";
import type { Placement } from "../../src/image/types.js";
import { measureStatistics } from "../../src/models/batch.js";
import { noise } from "./helpers.js";

const whole = ({ width, height }: SampledImage): Placement => ({ left: 0, top: 0, width, height });

/** The definition in float64, in two passes over a list of all values. */
function naive(images: readonly (readonly [SampledImage, Placement])[]) {
  const [mean, deviation]: [number[], number[]] = [[], []];
  for (let c = 0; c < images[0]![0].channels; c++) {
    const values: number[] = [];
    for (const [{ data, width, channels }, { left, top, width: across, height: down }] of images)
      for (let y = top; y < top + down; y++)
        for (let x = left; x < left + across; x++)
          values.push(data[(y * width + x) * channels + c]! / (data instanceof Float32Array ? 1 : 255));
    mean.push(values.reduce((sum, value) => sum + value, 0) / values.length);
    deviation.push(Math.sqrt(values.reduce((sum, value) => sum + (value - mean[c]!) ** 2, 0) / values.length));
  }
  return { mean, deviation };
}

function check(images: readonly (SampledImage | readonly [SampledImage, Placement])[]): void {
  const parts = images.map((one) => ("data" in one ? ([one, whole(one)] as const) : one));
  const accumulator = new MomentAccumulator(parts[0]![0].channels);
  for (const [image, where] of parts) accumulator.add(image, where);
  const found = accumulator.moments();
  const wanted = naive(parts);
  for (const key of ["mean", "deviation"] as const) {
    expect(found[key]).toHaveLength(wanted[key].length);
    for (const [c, value] of found[key].entries()) expect(Math.abs(value - wanted[key][c]!), key).toBeLessThanOrEqual(1e-12);
  }
}

const constant = (value: number, width: number, height = width, channels = 3): SampledImage => ({
  data: new Uint8Array(width * height * channels).fill(value),
  width,
  height,
  channels,
});

/** Floats with values that no byte has, around 0.5 and `spread` wide. */
const floats = (width: number, height: number, channels: 1 | 3, seed: number, spread = 1): SampledImage => {
  const image = noise(width, height, channels, seed);
  const fine = noise(width, height, channels, seed + 100).data;
  return { ...image, data: Float32Array.from(image.data, (v, i) => 0.5 + spread * ((v + fine[i]! / 256) / 256 - 0.5)) };
};

describe("moments by channel are those of two passes in float64", () => {
  it.each([
    ["bytes", () => [noise(31, 17, 3)]],
    ["one channel", () => [noise(8, 5, 1)]],
    ["clamped bytes", () => [{ ...noise(9, 9, 3), data: Uint8ClampedArray.from(noise(9, 9, 3).data) }]],
    ["one pixel", () => [{ data: Uint8Array.of(0, 77, 255), width: 1, height: 1, channels: 3 }]],
    ["one pixel of floats", () => [{ data: Float32Array.of(0, 0.3, 1), width: 1, height: 1, channels: 3 }]],
    ["a large image", () => [noise(1201, 803, 3, 4)]],
    ["floats", () => [floats(31, 17, 3, 5)]],
    ["floats, nearly constant", () => [floats(301, 203, 1, 6, 1e-5)]],
    ["many floats", () => [floats(701, 503, 3, 7)]],
    ["several images", () => [noise(5, 9, 3, 1), constant(200, 7), noise(30, 2, 3, 2)]],
    ["bytes and floats", () => [noise(16, 9, 3, 1), floats(5, 6, 3, 2), floats(30, 20, 3, 3, 0.1), constant(3, 4)]],
    ["parts", () => [
      [noise(20, 10, 3, 1), { left: 3, top: 2, width: 9, height: 7 }],
      [floats(20, 10, 3, 2), { left: 19, top: 0, width: 1, height: 10 }],
      noise(4, 4, 3, 3),
    ]],
  ] as readonly (readonly [string, () => (SampledImage | readonly [SampledImage, Placement])[]])[])("%s", (_, images) => check(images())); // biome-ignore format: a table

  it("one pixel in a million is seen: n Σx² and (Σx)² agree in their first thirteen digits", () => {
    const image = constant(254, 1000, 1000, 1);
    image.data[123] = 255;
    check([image]);
  });
});

it("a constant channel has its own level for a mean and no deviation at all", () => {
  for (const level of [0, 1, 77, 254, 255])
    expect(channelMoments(constant(level, 311, 97))).toEqual({ mean: Array(3).fill(level / 255), deviation: [0, 0, 0] });
  const flat = { ...constant(0, 311, 97), data: new Float32Array(311 * 97 * 3).fill(0.1) };
  const { mean, deviation } = channelMoments(flat);
  for (const value of mean) expect(value).toBeCloseTo(Math.fround(0.1), 15);
  for (const value of deviation) expect(value).toBeLessThan(1e-15);
});

it("of bytes the order of images does not matter, to the last bit", () => {
  const images = [1, 2, 3, 4, 5].map((seed) => noise(3 + 7 * seed, 11, 3, seed));
  expect(measureStatistics(images.toReversed())).toEqual(measureStatistics(images));
});

it("statistics have a deviation of one level at least", () => {
  expect(measureStatistics([constant(51, 4)])).toEqual({ mean: [0.2, 0.2, 0.2], std: [1 / 255, 1 / 255, 1 / 255] });
});

it("statistics of nothing, of images of several kinds and of a malformed one are refused", () => {
  const refusal = (text: RegExp) => expect.objectContaining({ code: "ARGUMENT", message: expect.stringMatching(text) });
  expect(() => measureStatistics([])).toThrow(refusal(/no image/));
  expect(() => measureStatistics([constant(1, 2), constant(1, 2, 2, 1)])).toThrow(refusal(/3 and 1 channels/));
  expect(() => measureStatistics([{ ...constant(1, 2), height: 3 }])).toThrow(refusal(/Image 0 says 2 × 3 × 3 and has 12/));
});
