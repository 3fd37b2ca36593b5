import { describe, expect, it } from "vitest";
import { colourDistance, psnr, ssim } from "../../src/image/metrics.js";
import type { PixelImage } from "../../src/image/types.js";
import { failure, gradient, noise } from "../image/helpers.js";

const flat = (value: number, width = 16, height = width): PixelImage => ({
  data: new Uint8Array(width * height * 3).fill(value),
  width,
  height,
  channels: 3,
});

/** The gradient with noise over it. */
function disturbed(image: PixelImage, strength: number, seed: number): PixelImage {
  const grains = noise(image.width, image.height, image.channels, seed).data;
  const data = image.data.map((value, i) =>
    Math.min(255, Math.max(0, Math.round(value + (strength * (grains[i]! - 128)) / 128))),
  );
  return { ...image, data };
}

/** Wang et al., equations 14 to 16, window by window in two dimensions and around each window's own mean. */
function naiveSsim(a: PixelImage, b: PixelImage, window = 11): number {
  const kernel: number[] = [];
  for (let y = 0; y < window; y++)
    for (let x = 0; x < window; x++) kernel.push(Math.exp(-((x - (window - 1) / 2) ** 2 + (y - (window - 1) / 2) ** 2) / 4.5));
  const sum = kernel.reduce((p, q) => p + q);
  const results: number[] = [];
  for (let c = 0; c < a.channels; c++) {
    for (let top = 0; top + window <= a.height; top++) {
      for (let left = 0; left + window <= a.width; left++) {
        const values = ({ data, width, channels }: PixelImage) =>
          kernel.map((_, i) => data[((top + Math.floor(i / window)) * width + left + (i % window)) * channels + c]!);
        const [va, vb] = [values(a), values(b)];
        const weighted = (f: (i: number) => number) => kernel.reduce((total, k, i) => total + (k / sum) * f(i), 0);
        const [ma, mb] = [weighted((i) => va[i]!), weighted((i) => vb[i]!)];
        const [saa, sbb] = [weighted((i) => (va[i]! - ma) ** 2), weighted((i) => (vb[i]! - mb) ** 2)];
        const sab = weighted((i) => (va[i]! - ma) * (vb[i]! - mb));
        results.push(((2 * ma * mb + 6.5025) * (2 * sab + 58.5225)) / ((ma ** 2 + mb ** 2 + 6.5025) * (saa + sbb + 58.5225)));
      }
    }
  }
  return results.reduce((p, q) => p + q) / results.length;
}

describe("psnr", () => {
  it("is 10 log10(255² / MSE)", () => {
    expect(psnr(flat(100), flat(101))).toBeCloseTo(48.1308036, 6);
    expect(psnr(flat(0), flat(255))).toBe(0);
    expect(psnr(flat(7), flat(7))).toBe(Number.POSITIVE_INFINITY);
    const half = flat(10);
    half.data.fill(20, 0, half.data.length / 2);
    expect(psnr(flat(10), half)).toBeCloseTo(10 * Math.log10(65025 / 50), 9);
  });
});

describe("ssim", () => {
  it.each([
    ["alike", 20, 17, 8],
    ["hardly alike", 11, 23, 90],
    ["one window", 11, 11, 40],
  ] as const)("is that of the naive way, %s", (_, width, height, strength) => {
    const image = gradient(width, height);
    const other = disturbed(image, strength, 5);
    const value = ssim(image, other);
    expect(value).toBeCloseTo(naiveSsim(image, other), 10);
    expect(value).toBeLessThan(0.99);
    expect(ssim(other, image)).toBeCloseTo(value, 12);
  });

  it("is 1 for equal images, negative for inverted noise, and that of luminance for flat ones", () => {
    const grains = noise(24, 24, 1, 3);
    expect(ssim(grains, grains)).toBeCloseTo(1, 12);
    expect(ssim(grains, { ...grains, data: grains.data.map((v) => 255 - v) })).toBeLessThan(-0.5);
    expect(ssim(flat(100), flat(150))).toBeCloseTo((2 * 100 * 150 + 6.5025) / (100 ** 2 + 150 ** 2 + 6.5025), 10);
  });

  it("takes images smaller than its window", () => {
    const image = gradient(7, 7);
    const other = disturbed(image, 30, 2);
    expect(ssim(image, other)).toBeCloseTo(naiveSsim(image, other, 7), 10);
    expect(ssim(gradient(1, 30), gradient(1, 30))).toBeCloseTo(1, 12);
  });
});

describe("colourDistance", () => {
  it("is that of channel means and deviations, whatever is where", () => {
    expect(colourDistance(flat(100), flat(100, 5, 9))).toBe(0);
    expect(colourDistance(flat(0), flat(255))).toBeCloseTo(Math.sqrt(3), 12);
    const halves = flat(80);
    halves.data.fill(120, 0, halves.data.length / 2);
    expect(colourDistance(halves, flat(100))).toBeCloseTo((Math.sqrt(3) * 20) / 255, 12);
    const image = noise(13, 9, 3);
    expect(colourDistance(image, { ...image, data: image.data.toReversed() })).toBeGreaterThan(0);
    const turned = {
      ...image,
      data: Uint8Array.from(image.data, (_, i) => image.data[image.data.length - 3 - i + 2 * (i % 3)]!),
    };
    expect(colourDistance(image, turned)).toBeCloseTo(0, 12);
  });
});

it("images that cannot be compared are refused", async () => {
  await failure((async () => psnr(flat(1), flat(1, 8)))(), "ARGUMENT");
  await failure((async () => ssim(flat(1), noise(16, 16, 1)))(), "ARGUMENT");
  await failure((async () => colourDistance(flat(1), noise(16, 16, 1)))(), "ARGUMENT");
  await failure((async () => psnr(flat(1), { ...flat(1), data: new Uint8Array(3) }))(), "ARGUMENT");
  await failure((async () => psnr(null as never, flat(1)))(), "ARGUMENT");
});
