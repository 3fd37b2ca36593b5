import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { decodeImage } from "../../src/image/decode.js";
import { psnr, ssim } from "../../src/image/metrics.js";
import type { PixelImage } from "../../src/image/types.js";
import { dice, iou } from "../../src/labels/masks.js";
import { artFid, fidToInfinity } from "../../src/metrics/art-fid.js";
import { frechetDistance } from "../../src/metrics/frechet.js";
import { lpips } from "../../src/metrics/lpips.js";
import { IntensityHistogram, wasserstein } from "../../src/metrics/wasserstein.js";
import { shared } from "../support/fixtures.js";

/** What reference/metrics.py gives, in float64. */
interface Cases {
  pairs: { a: string; b: string; psnr: number | "infinite"; ssim: number }[];
  wasserstein: { a: string; b: string; channels: number[]; mean: number }[];
  frechet: { a: number[][]; b: number[][]; distance: number }[];
  lpips: { a: number[][][][]; b: number[][][][]; weights: number[][]; distance: number };
  masks: { a: number[][]; b: number[][]; dice: number | null; iou: number | null }[];
  artFid: { lpips: number; fid: number; artFid: number }[];
  toInfinity: { sizes: number[]; values: number[]; value: number };
}

const folder = join(shared, "golden", "metrics");
const missing = !existsSync(folder);
const cases = missing ? undefined : (JSON.parse(readFileSync(join(folder, "cases.json"), "utf8")) as Cases);

const near = (actual: number, expected: number) =>
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(1e-6 * Math.abs(expected));

const image = async (name: string): Promise<PixelImage> => {
  const { data, width, height } = await decodeImage(join(folder, name), { channels: 3 });
  return { data, width, height, channels: 3 };
};

describe.skipIf(missing)(`the reference's numbers${missing ? ` (skipped: no ${folder})` : ""}`, () => {
  it("PSNR and SSIM of pairs", async () => {
    expect(cases!.pairs.length).toBe(5);
    for (const { a, b, ...expected } of cases!.pairs) {
      const [one, other] = [await image(a), await image(b)];
      if (expected.psnr === "infinite") expect(psnr(one, other)).toBe(Number.POSITIVE_INFINITY);
      else near(psnr(one, other), expected.psnr);
      near(ssim(one, other), expected.ssim);
    }
  });

  it("Wasserstein distances, of sets of several images too", async () => {
    expect(cases!.wasserstein.length).toBe(4);
    for (const { a, b, channels, mean } of cases!.wasserstein) {
      const found = wasserstein([await image(a)], [await image(b)]);
      for (const [c, value] of channels.entries()) near(found.channels[c]!, value);
      near(found.mean, mean);
    }
    // A set in which everything occurs twice has the same distribution.
    const [a, b] = [await image("a.png"), await image("odd.png")];
    const histogram = new IntensityHistogram();
    for (const one of [a, a, a]) histogram.add(one);
    near(wasserstein(histogram, [b, b]).mean, wasserstein([a], [b]).mean);
  });

  it("Fréchet distances, of fewer images than numbers and of one number too", async () => {
    expect(cases!.frechet.length).toBe(4);
    for (const { a, b, distance } of cases!.frechet) {
      // The reference's own of equal sets is what rounding left.
      const equal = JSON.stringify(a) === JSON.stringify(b);
      for (const found of [await frechetDistance(a, b), await frechetDistance(b, a)])
        if (equal) expect(Math.abs(found - distance)).toBeLessThanOrEqual(1e-6);
        else near(found, distance);
      expect(await frechetDistance(a, a)).toBeLessThanOrEqual(1e-6);
    }
  });

  it("LPIPS of activations", () => {
    const { a, b, weights, distance } = cases!.lpips;
    const flat = (levels: number[][][][]) => levels.map((maps) => maps.flat(2));
    near(lpips(flat(a), flat(b), weights), distance);
    expect(lpips(flat(a), flat(a), weights)).toBe(0);
  });

  it("Dice and intersection over union, undefined where both masks are empty", () => {
    expect(cases!.masks.length).toBe(4);
    for (const { a, b, ...expected } of cases!.masks) {
      for (const [value, wanted] of [
        [dice(a.flat(), b.flat()), expected.dice],
        [iou(a.flat(), b.flat()), expected.iou],
      ] as const) {
        if (wanted === null) expect(value).toBeNaN();
        else near(value, wanted);
      }
    }
  });

  it("ArtFID, and the distance of infinitely many images", () => {
    expect(cases!.artFid.length).toBe(3);
    for (const one of cases!.artFid) near(artFid(one.lpips, one.fid), one.artFid);
    const { sizes, values, value } = cases!.toInfinity;
    near(fidToInfinity(sizes, values), value);
  });
});
