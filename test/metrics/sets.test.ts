import { describe, expect, it } from "vitest";
import { dice, iou } from "../../src/labels/masks.js";
import { artFid, fidToInfinity } from "../../src/metrics/art-fid.js";
import { FeatureMoments, frechetDistance } from "../../src/metrics/frechet.js";
import { lpips } from "../../src/metrics/lpips.js";
import { IntensityHistogram, wasserstein } from "../../src/metrics/wasserstein.js";
import { failure, noise } from "../image/helpers.js";
import { Random } from "../support/random.js";

/** `count` vectors of `size` numbers. */
const vectors = (name: string, count: number, size: number, scale = 1, mean = 0): Float32Array[] => {
  const random = new Random(name);
  return Array.from({ length: count }, () => random.normals(size, scale, mean));
};

describe("Fréchet distance", () => {
  it("of features that only move is the square of the way", async () => {
    const a = vectors("moved", 40, 9);
    const b = a.map((one) => one.map((value) => value + 2));
    expect(await frechetDistance(a, b)).toBeCloseTo(9 * 4, 4);
  });

  it("of independent channels is Σ (μ − μ')² + (σ − σ')²", async () => {
    // Four points whose channels do not go together: the covariance is diagonal.
    const points = [
      [1, 1],
      [1, -1],
      [-1, 1],
      [-1, -1],
    ];
    const [s, t] = [Math.sqrt(4 / 3), 3 * Math.sqrt(4 / 3)];
    expect(
      await frechetDistance(
        points,
        points.map(([x, y]) => [3 * x! + 5, 3 * y!]),
      ),
    ).toBeCloseTo(25 + 2 * (s - t) ** 2, 10);
  });

  it("of equal sets is 0, also of fewer images than numbers and far from zero", async () => {
    const few = vectors("few", 10, 60, 3, 1000);
    expect(await frechetDistance(few, few)).toBeLessThanOrEqual(1e-6);
    expect(await frechetDistance(few, few.toReversed())).toBeLessThanOrEqual(1e-6);
  });

  it("streams: moments of images one by one are those of all in two passes", () => {
    const features = vectors("stream", 30, 5, 2, 1e4);
    const moments = new FeatureMoments(5);
    for (const one of features) moments.add(one);
    const mean = (of: (x: Float32Array) => number) => features.reduce((sum, one) => sum + of(one), 0) / features.length;
    const covariance = moments.covariance();
    for (let i = 0; i < 5; i++) {
      const mi = mean((x) => x[i]!);
      expect(moments.mean[i]).toBeCloseTo(mi, 8);
      for (let j = 0; j < 5; j++) {
        const mj = mean((x) => x[j]!);
        expect(covariance[i * 5 + j]).toBeCloseTo((mean((x) => (x[i]! - mi) * (x[j]! - mj)) * 30) / 29, 8);
      }
    }
  });

  it("refuses a set of one image, other lengths, and what is no number", async () => {
    await failure(frechetDistance([[1, 2]], [[1, 2], [2, 3]]), "ARGUMENT"); // biome-ignore format: one check
    await failure(frechetDistance([], []), "ARGUMENT");
    await failure(frechetDistance([[1], [2]], [[1, 2], [2, 3]]), "ARGUMENT"); // biome-ignore format: one check
    await failure(frechetDistance([[1], [Number.NaN]], [[1], [2]]), "ARGUMENT");
  });
});

describe("Wasserstein distance", () => {
  it("of images that are shifted by k levels is k / 255", () => {
    const image = noise(16, 9, 3);
    const half = { ...image, data: image.data.map((value) => value >> 1) };
    const moved = { ...half, data: half.data.map((value) => value + 51) };
    const { channels, mean } = wasserstein([half], [moved]);
    for (const value of [...channels, mean]) expect(value).toBeCloseTo(0.2, 12);
    expect(wasserstein([image], [image, image]).mean).toBe(0);
  });

  it("refuses empty sets and other channels", async () => {
    const grey = noise(4, 4, 1);
    expect(wasserstein([grey], [grey]).channels).toEqual([0]);
    await failure((async () => wasserstein([], [grey]))(), "ARGUMENT");
    await failure((async () => wasserstein([grey], [noise(4, 4, 3)]))(), "ARGUMENT");
    await failure((async () => new IntensityHistogram(3).add(grey))(), "ARGUMENT");
  });
});

it("masks may be booleans or numbers, and have one size", async () => {
  expect(dice([true, true, false], [1, 0, 0])).toBeCloseTo(2 / 3, 12);
  expect(iou(Uint8Array.of(255, 255, 0, 0), [1, 0, 1, 0])).toBeCloseTo(1 / 3, 12);
  await failure((async () => dice([1], [1, 0]))(), "ARGUMENT");
});

it("ArtFID and lines refuse what they cannot be of", async () => {
  expect(artFid(0, 0)).toBe(1);
  await failure((async () => artFid(-1, 2))(), "ARGUMENT");
  await failure((async () => artFid(1, Number.NaN))(), "ARGUMENT");
  expect(fidToInfinity([10, 20], [3, 2])).toBeCloseTo(1, 12);
  await failure((async () => fidToInfinity([10, 10], [3, 2]))(), "ARGUMENT");
  await failure((async () => fidToInfinity([10, 20, 30], [3, 2]))(), "ARGUMENT");
});

it("LPIPS refuses activations that do not fit its weights", async () => {
  await failure((async () => lpips([[1, 2]], [[1, 2]], []))(), "ARGUMENT");
  await failure((async () => lpips([[1, 2, 3]], [[1, 2, 3]], [[1, 1]]))(), "ARGUMENT");
  await failure((async () => lpips([[1, 2]], [[1, 2, 3, 4]], [[1, 1]]))(), "ARGUMENT");
  // Nothing answers on either side, then on one: unit vectors of zeros are zeros.
  expect(lpips([[0, 0]], [[0, 0]], [[1, 1]])).toBe(0);
  expect(lpips([[0, 0]], [[3, 4]], [[1, 2]])).toBeCloseTo(0.36 + 2 * 0.64, 9);
});
