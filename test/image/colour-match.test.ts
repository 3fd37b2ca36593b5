import { describe, expect, it } from "vitest";
import { matchColour } from "../../src/image/colour-match.js";
import type { PixelImage } from "../../src/image/types.js";
import { gradient, largestDifference, noise } from "./helpers.js";

/** The formula as it stands, in float64. */
function naive(content: PixelImage, style: PixelImage): number[] {
  const statistics = ({ data, channels }: PixelImage, c: number): [number, number] => {
    const values = [...data].filter((_, i) => i % channels === c).map((x) => x / 255);
    const mean = values.reduce((a, b) => a + b) / values.length;
    return [mean, Math.sqrt(values.reduce((a, x) => a + (x - mean) ** 2, 0) / values.length)];
  };
  return [...content.data].map((level, i) => {
    const [mc, sc] = statistics(content, i % content.channels);
    const [ms, ss] = statistics(style, i % content.channels);
    return 255 * Math.min(1, Math.max(0, ((level / 255 - mc) * ss) / (sc + 1e-8) + ms));
  });
}

describe("matchColour", () => {
  it("is the formula", () => {
    for (const [content, style] of [
      [noise(7, 5, 3, 2), gradient(6, 8)],
      [gradient(8, 6), noise(5, 4, 3, 3)],
      [noise(9, 2, 1, 4), noise(3, 3, 1, 5)],
    ] as const) {
      const out = matchColour(content, style);
      expect(out).toMatchObject({ width: content.width, height: content.height, channels: content.channels });
      expect(largestDifference(out.data, naive(content, style))).toBeLessThanOrEqual(0.5 + 1e-9);
    }
  });

  it("leaves an image matched to itself as it is, and clamps", () => {
    const image = noise(30, 30, 3);
    expect(matchColour(image, image).data).toEqual(image.data);
    const dark = { ...image, data: image.data.map((x) => x >> 4) };
    const bright = { ...image, data: image.data.map((x) => (x > 127 ? 255 : 0)) };
    const { data } = matchColour(dark, bright);
    expect([Math.min(...data), Math.max(...data)]).toEqual([0, 255]);
  });

  it("gives a flat content the style's mean", () => {
    const flat: PixelImage = { data: new Uint8Array(48).fill(77), width: 4, height: 4, channels: 3 };
    const style: PixelImage = { data: Uint8Array.from([10, 20, 30, 30, 40, 50]), width: 2, height: 1, channels: 3 };
    expect([...matchColour(flat, style).data.subarray(0, 3)]).toEqual([20, 30, 40]);
  });

  it("refuses different channels", () => {
    expect(() => matchColour(noise(4, 4, 3), noise(4, 4, 1))).toThrow(/3 channels and the style 1/);
  });
});
