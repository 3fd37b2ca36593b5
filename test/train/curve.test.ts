import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { LOSS_WEIGHTS } from "../../src/models/stylizing-vit/losses.js";
import { curveSvg } from "../../src/train/curve.js";
import type { EpochReport } from "../../src/train/progress.js";
import { totalLoss } from "../../src/train/types.js";

const losses = (scale: number) => {
  const terms = { identity: 0.02 * scale, consistency: 2.2 * scale, anatomical: 0.3 * scale ** 0.3, style: 0.12 * scale ** 0.6 };
  return { ...terms, total: totalLoss(terms, LOSS_WEIGHTS) };
};

function line(epoch: number, best = false): EpochReport {
  const scale = 0.05 + Math.exp(-epoch / 8);
  const numbers = { step: epoch * 10, learningRate: 1e-3, gradientNorm: 1, psnr: 20, ssim: 0.5, colour: 0.1, seconds: 1 };
  return { ...numbers, epoch, training: losses(scale), validation: losses(scale * 1.2), best, imagesPerSecond: 1 };
}

/** Every tag closed, attributes quoted, and no number that is none. */
function expectWellFormed(svg: string): void {
  const open: string[] = [];
  const tags = /<(\/?)(\w+)((?:\s+[\w-]+="[^"<]*")*)\s*(\/?)>/g;
  for (const [, close, name, , empty] of svg.matchAll(tags)) {
    if (close) expect(open.pop()).toBe(name);
    else if (!empty) open.push(name!);
  }
  expect(open).toEqual([]);
  expect(svg.replace(tags, "").replace(/<style>.*<\/style>/s, "")).not.toMatch(/[<]/);
  expect(svg).not.toMatch(/NaN|undefined|Infinity/);
}

const count = (svg: string, pattern: RegExp) => svg.match(pattern)?.length ?? 0;

describe("curveSvg", () => {
  it("draws two totals and four terms over all epochs, and marks the best", async () => {
    const log = Array.from({ length: 30 }, (_, i) => line(i + 1, i === 26));
    const svg = curveSvg(log, LOSS_WEIGHTS, 50, "tiny & <others>");
    expectWellFormed(svg);
    expect(count(svg, /L[\d.]+ [\d.]+/g)).toBe(6 * 29);
    for (const name of ["training", "validation", "70 × identity", "consistency", "7 × anatomical", "10 × style"])
      expect(svg).toContain(`>${name}</text>`);
    expect(svg).toContain("tiny &#38; &#60;others&#62;");
    expect(svg).toMatch(/best: epoch 27, /);
    expect(count(svg, /<circle/g)).toBe(1);
    expect(svg).toContain("prefers-color-scheme: dark");
    expect(svg.length).toBeLessThan(12_000);
    // Higher losses stand higher: y of the first point is above that of the last.
    const [first, last] = [...svg.matchAll(/class="line total"|d="M[\d.]+ ([\d.]+)(?:L[\d.]+ [\d.]+)*L[\d.]+ ([\d.]+)"/g)]
      .filter((match) => match[1])
      .map((match) => [Number(match[1]), Number(match[2])])[0]!;
    expect(first).toBeLessThan(last!);
    const { width, height } = await sharp(Buffer.from(svg)).metadata();
    expect([width, height]).toEqual([860, 440]);
  });

  it("keeps the labels of lines that end together apart", () => {
    const equal = { identity: 1, consistency: 1, anatomical: 1, style: 1, total: 4 };
    const log = [1, 2].map((epoch) => ({ ...line(epoch), training: equal, validation: equal }));
    const svg = curveSvg(log, { identity: 1, consistency: 1, anatomical: 1, style: 1 }, 2);
    expectWellFormed(svg);
    const ys = [...svg.matchAll(/<text x="710.0" y="([\d.]+)"/g)].map((match) => Number(match[1])).sort((a, b) => a - b);
    expect(ys).toHaveLength(6);
    for (let i = 1; i < ys.length; i++) expect(ys[i]! - ys[i - 1]!).toBeGreaterThanOrEqual(15.9);
    expect(ys.at(-1)).toBeLessThan(400);
  });

  it("holds for one epoch, for none, for weights of zero and for a loss of zero", () => {
    for (const log of [[line(1, true)], []]) expectWellFormed(curveSvg(log, LOSS_WEIGHTS, 1));
    const without = curveSvg([line(1), line(2)], { ...LOSS_WEIGHTS, style: 0 }, 2);
    expectWellFormed(without);
    expect(without).not.toContain("style</text>");
    const nothing = { identity: 0, consistency: 0, anatomical: 0, style: 0, total: 0 };
    expectWellFormed(curveSvg([{ ...line(1), training: nothing, validation: nothing }], LOSS_WEIGHTS, 5));
  });
});
