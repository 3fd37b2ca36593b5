import { describe, expect, it } from "vitest";
import { type MatchedImage, matchColour } from "../../src/image/colour-match.js";
import { cut, type FittedImage, fitSquare } from "../../src/image/preprocess.js";
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

function withAlpha({ data, width, height, channels }: PixelImage, alpha: (pixel: number) => number) {
  const out = new Uint8Array(width * height * (channels + 1));
  for (let pixel = 0; pixel < width * height; pixel++) {
    out.set(data.subarray(pixel * channels, (pixel + 1) * channels), pixel * (channels + 1));
    out[pixel * (channels + 1) + channels] = alpha(pixel);
  }
  return { data: out, width, height, channels: channels + 1 };
}

const withoutAlpha = ({ data, width, height }: Pick<MatchedImage, "data" | "width" | "height">): PixelImage => ({
  data: Uint8Array.from(data).filter((_, i) => i % 4 !== 3),
  width,
  height,
  channels: 3,
});

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

  it("takes floats, clamped bytes and alpha, which it keeps", () => {
    const [content, style] = [noise(7, 5, 3, 2), gradient(6, 8)];
    const expected = naive(content, style);
    const floats = { ...content, data: Float32Array.from(content.data, (x) => x / 255) };
    const out = matchColour(floats, { ...style, data: new Uint8ClampedArray(style.data) });
    expect(out.data).toBeInstanceOf(Float32Array);
    expect(
      largestDifference(
        Float32Array.from(out.data, (x) => 255 * x),
        expected,
      ),
    ).toBeLessThan(1e-3);
    expect(largestDifference(matchColour({ ...content, data: new Uint8ClampedArray(content.data) }, style).data, expected)).toBeLessThanOrEqual(0.5); // biome-ignore format: one line
    const alpha = (image: PixelImage) => withAlpha(image, () => 9);
    const clear = matchColour(alpha(content), alpha(style));
    expect(clear).toEqual(withAlpha(matchColour(content, style), () => 9));
    const [grey, other] = [noise(4, 4, 1), noise(4, 4, 1, 5)];
    expect(matchColour(alpha(grey), other)).toEqual(alpha(matchColour(grey, other)));
  });

  it("leaves padding and transparent pixels out of what it measures", async () => {
    const [content, style] = [noise(20, 10, 3, 2), noise(10, 20, 3, 3)];
    const plain = matchColour(content, style);
    const [wide, high] = [await fitSquare(content, 20), await fitSquare(style, 20)];
    expect(wide.placement).toEqual({ left: 0, top: 5, width: 20, height: 10 });
    const out = matchColour(wide, high);
    expect(cut(out, wide.placement)).toEqual(plain);
    // The padding stays black.
    expect(new Set([...out.data.subarray(0, 300), ...out.data.subarray(900)])).toEqual(new Set([0]));
    const shown =
      ({ placement: { left, top, width, height } }: FittedImage) =>
      (pixel: number) => {
        const [x, y] = [(pixel % 20) - left, Math.floor(pixel / 20) - top];
        return x >= 0 && y >= 0 && x < width && y < height ? 255 : 0;
      };
    const [a, b] = [wide, high].map((image) => withAlpha({ ...image, placement: undefined } as PixelImage, shown(image)));
    expect(cut(withoutAlpha(matchColour(a!, b!)), wide.placement)).toEqual(plain);
    const nothing = withAlpha(noise(3, 3, 3), () => 0);
    expect(matchColour(nothing, style)).toEqual(nothing);
    expect(() => matchColour(content, nothing)).toThrow(/style is transparent everywhere/);
  });

  it("refuses different channels, and what is no image", () => {
    expect(() => matchColour(noise(4, 4, 3), noise(4, 4, 1))).toThrow(/3 channels and the style 1/);
    const image = noise(4, 4, 3);
    for (const [wrong, message] of [
      [null, /The content is null/],
      [{ ...image, data: Float32Array.from(image.data) }, /Divide by 255/],
      [{ ...image, placement: { left: 1, top: 0, width: 4, height: 4 } }, /placement of the content/],
      [{ data: new Uint8Array(80), width: 4, height: 4, channels: 5 }, /5 channels/],
    ] as const)
      expect(() => matchColour(wrong as unknown as PixelImage, image)).toThrow(expect.objectContaining({ code: "ARGUMENT", message: expect.stringMatching(message) })); // biome-ignore format: one line
  });
});
