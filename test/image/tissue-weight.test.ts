import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { decodeImage } from "../../src/image/decode.js";
import { keepBackground, tissueWeight, tissueWeights } from "../../src/image/tissue-weight.js";
import type { PixelImage } from "../../src/image/types.js";
import { goldenFolder } from "../support/fixtures.js";
import { noise } from "./helpers.js";

describe("tissueWeight", () => {
  it("is 0 of glass however bright, 1 of stain and of the dark, and rises between", () => {
    for (const grey of [1, 0.9, 0.75, 0.72]) expect(tissueWeight(grey, grey, grey)).toBe(0);
    expect(tissueWeight(0.63, 0.63, 0.63)).toBe(1);
    expect(tissueWeight(0.7, 0.4, 0.6)).toBe(1);
    expect(tissueWeight(0, 0, 0)).toBe(1);
    const pale = [0.93, 0.91, 0.89, 0.87].map((green) => tissueWeight(0.95, green, 0.95));
    expect(pale).toEqual([...pale].sort((a, b) => a - b));
    expect(pale[0]).toBeLessThan(0.05);
    expect(pale.at(-1)).toBeGreaterThan(0.5);
  });

  it("of a tinted lamp is counted from its colour", () => {
    const lamp = [0.95, 0.9, 0.8];
    expect(tissueWeight(0.95, 0.9, 0.8)).toBeGreaterThan(0.99);
    expect(tissueWeight(0.95, 0.9, 0.8, lamp)).toBe(0);
    expect(tissueWeight(0.76, 0.72, 0.64, lamp)).toBeCloseTo(0, 10);
  });
});

describe("tissueWeights", () => {
  it.each([
    [1, 1, 3],
    [1, 9, 3],
    [7, 2, 1],
    [13, 11, 3],
  ] as const)("of %i × %i × %i pixels: of the mean of 5 × 5, clipped at the border", (width, height, channels) => {
    const image = noise(width, height, channels);
    const weights = tissueWeights(image);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const sums = [0, 0, 0];
        let count = 0;
        for (let j = Math.max(0, y - 2); j <= Math.min(height - 1, y + 2); j++)
          for (let i = Math.max(0, x - 2); i <= Math.min(width - 1, x + 2); i++, count++)
            for (let c = 0; c < 3; c++) sums[c]! += image.data[(j * width + i) * channels + (channels === 3 ? c : 0)]! / 255;
        const [r, g, b] = sums.map((sum) => sum / count);
        expect(weights[y * width + x]).toBeCloseTo(tissueWeight(r!, g!, b!), 6);
      }
  });

  const golden = goldenFolder("guided");
  it.skipIf(!golden)(`are numpy's${golden ? "" : ": no golden case beside the checkout"}`, async () => {
    const { guided } = JSON.parse(readFileSync(join(golden!, "cases.json"), "utf8")) as {
      guided: { content: string; weight?: string; weightMean: number; kept: string; paintedLow?: string }[];
    };
    const cases = guided.filter(({ weight }) => weight);
    expect(cases.length).toBeGreaterThanOrEqual(5);
    for (const { content, weight, weightMean } of cases) {
      const weights = tissueWeights(await decodeImage(join(golden!, content), { channels: 3 }));
      const { data } = await decodeImage(join(golden!, weight!), { channels: 1 });
      expect(Math.max(...weights.map((value, at) => Math.abs(255 * value - data[at]!)))).toBeLessThan(1.001);
      expect(weights.reduce((sum, value) => sum + value, 0) / weights.length).toBeCloseTo(weightMean, 5);
    }
  });
});

it("keepBackground leaves glass as it is and tissue as it is painted", () => {
  const [width, height] = [12, 8];
  // Glass on the left, stain on the right.
  const data = Uint8Array.from({ length: width * height * 3 }, (_, at) => {
    const x = Math.floor(at / 3) % width;
    return x < 6 ? 240 : [180, 90, 150][at % 3]!;
  });
  const image: PixelImage = { data, width, height, channels: 3 };
  const painted: PixelImage = { ...image, data: new Uint8Array(data.length).fill(100) };
  const kept = keepBackground(image, painted);
  for (let y = 0; y < height; y++) {
    expect([...kept.data.subarray(y * width * 3, (y * width + 3) * 3)]).toEqual(Array(9).fill(240));
    expect([...kept.data.subarray((y * width + 9) * 3, (y + 1) * width * 3)]).toEqual(Array(9).fill(100));
  }
});
