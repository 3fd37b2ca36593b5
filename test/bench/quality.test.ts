import { describe, expect, it } from "vitest";
import { choosePairs, styleDistance } from "../../bench/quality.js";

describe("pairs of images", () => {
  it("are all ordered pairs where there is room", () => {
    const pairs = choosePairs(5, 1000);
    expect(new Set(pairs.map(String)).size).toBe(20);
    expect(pairs.every(([content, style]) => content !== style)).toBe(true);
  });

  it.each([
    [5, 7],
    [15, 12],
    [15, 60],
    [15, 61],
    [4, 3],
    [2, 1],
    [25, 60],
  ])("of %i images, %i: none twice, contents in equal parts, styles from everywhere", (count, most) => {
    const pairs = choosePairs(count, most);
    expect(pairs).toHaveLength(most);
    expect(new Set(pairs.map(String)).size).toBe(most);
    const uses = Array.from({ length: count }, (_, image) => pairs.filter(([content]) => content === image).length);
    expect(Math.max(...uses) - Math.min(...uses)).toBeLessThanOrEqual(1);
    for (const pair of pairs) for (const image of pair) expect(image).toBeLessThan(count);
    expect(pairs.every(([content, style]) => content !== style)).toBe(true);
    const shifts = new Set(pairs.map(([content, style]) => (style - content + count) % count));
    expect(shifts.size).toBe(Math.ceil(most / count));
  });

  it("are none of one image or of no images", () => {
    expect(choosePairs(1, 10)).toEqual([]);
    expect(choosePairs(0, 10)).toEqual([]);
  });
});

describe("the style distance", () => {
  it("is the sum over levels of mean squares of means and of deviations", () => {
    const zero = [new Float32Array(4), new Float32Array(2)];
    // Two channels: means 1 and 2 apart, deviations 3 and 0; then one channel, 2 and 1 apart.
    const other = [Float32Array.of(1, 2, 3, 0), Float32Array.of(2, 1)];
    expect(styleDistance(zero, other)).toBe((1 + 4) / 2 + 9 / 2 + 4 + 1);
    expect(styleDistance(other, other)).toBe(0);
  });
});
