import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { decodeImage } from "../../src/image/decode.js";
import { fitSquare, loadSquare, placementIn, unfit } from "../../src/image/preprocess.js";
import { resize } from "../../src/image/resize.js";
import type { PixelImage } from "../../src/image/types.js";
import { failure, gradient, largestDifference, noise, raw } from "./helpers.js";

/** The triangle filter written out in float64, without rounding. */
function triangle({ data, width, height, channels }: PixelImage, toWidth: number, toHeight: number): Float64Array {
  const filter = (from: number, to: number, i: number, read: (j: number) => number): number => {
    const centre = ((i + 0.5) * from) / to - 0.5;
    const reach = Math.max(1, from / to);
    let [sum, total] = [0, 0];
    for (let j = Math.max(0, Math.floor(centre - reach)); j <= Math.min(from - 1, Math.ceil(centre + reach)); j++) {
      const weight = Math.max(0, 1 - Math.abs(j - centre) / reach);
      sum += weight * read(j);
      total += weight;
    }
    return sum / total;
  };
  const stride = toWidth * channels;
  const half = new Float64Array(height * stride).map((_, at) => {
    const [y, x, c] = [Math.floor(at / stride), Math.floor((at % stride) / channels), at % channels];
    return filter(width, toWidth, x, (j) => data[(y * width + j) * channels + c]!);
  });
  return new Float64Array(toHeight * stride).map((_, at) =>
    filter(height, toHeight, Math.floor(at / stride), (j) => half[j * stride + (at % stride)]!),
  );
}

describe("resize", () => {
  it.each([
    [96, 96, 224, 224, 3],
    [100, 37, 224, 82, 3],
    [150, 150, 64, 64, 3],
    [129, 65, 32, 16, 1],
    [301, 33, 32, 3, 3],
    [40, 1, 16, 1, 1],
    [1, 1, 32, 32, 3],
    [64, 48, 64, 12, 3],
  ] as const)("%i × %i to %i × %i is the antialiased triangle filter", async (w, h, W, H, channels) => {
    const image = noise(w, h, channels);
    const out = await resize(image, W, H);
    expect(out).toMatchObject({ width: W, height: H, channels });
    // Half a level from each of the two roundings.
    expect(largestDifference(out.data, triangle(image, W, H))).toBeLessThanOrEqual(1.0001);
  });

  it("keeps flat images flat, the same size untouched, and a ramp centred in both directions", async () => {
    const flat: PixelImage = { data: new Uint8Array(50 * 30 * 3).fill(201), width: 50, height: 30, channels: 3 };
    for (const kernel of ["linear", "cubic"] as const)
      for (const side of [7, 113]) expect(new Set((await resize(flat, side, side, { kernel })).data)).toEqual(new Set([201]));
    const image = noise(20, 20, 3);
    expect((await resize(image, 20, 20)).data).toEqual(image.data);
    const ramp: PixelImage = { data: Uint8Array.from({ length: 8 }, (_, i) => i * 32), width: 8, height: 1, channels: 1 };
    for (const kernel of ["linear", "cubic"] as const) {
      const up = [...(await resize(ramp, 16, 1, { kernel })).data];
      // sharp's enlargement puts 15 where 8 belongs: half a pixel beside it.
      expect(up.slice(4, 12)).toEqual([56, 72, 88, 104, 120, 136, 152, 168]);
    }
  });

  it("refuses impossible sizes and stops on a signal", async () => {
    await failure(resize(noise(4, 4, 1), 0, 4), "ARGUMENT");
    await failure(resize({ ...noise(4, 4, 1), channels: 3 }, 2, 2), "ARGUMENT");
    await expect(resize(noise(4, 4, 1), 2, 2, { signal: AbortSignal.abort("stop") })).rejects.toBe("stop");
    const controller = new AbortController();
    const large: PixelImage = { data: new Uint8Array(4000 * 4000 * 3), width: 4000, height: 4000, channels: 3 };
    setTimeout(() => controller.abort("late"), 20);
    await expect(resize(large, 224, 224, { signal: controller.signal })).rejects.toBe("late");
  });
});

describe("fitSquare and unfit", () => {
  it.each([
    [584, 438, { left: 0, top: 28, width: 224, height: 168 }],
    [438, 584, { left: 28, top: 0, width: 168, height: 224 }],
    [100, 37, { left: 0, top: 71, width: 224, height: 82 }],
    [512, 512, { left: 0, top: 0, width: 224, height: 224 }],
    [5000, 3, { left: 0, top: 111, width: 224, height: 1 }],
    [1, 1, { left: 0, top: 0, width: 224, height: 224 }],
  ])("%i × %i", async (width, height, placement) => {
    expect(placementIn(224, width, height)).toEqual(placement);
    const image = noise(width, height, 3);
    image.data.forEach((x, i) => {
      image.data[i] = Math.max(1, x);
    });
    const fitted = await fitSquare(image, 224);
    expect(fitted).toMatchObject({
      width: 224,
      height: 224,
      channels: 3,
      placement,
      originalWidth: width,
      originalHeight: height,
    });
    const inner = await resize(image, placement.width, placement.height);
    for (let y = 0; y < 224; y++) {
      for (let x = 0; x < 224; x++) {
        const [u, v] = [x - placement.left, y - placement.top];
        const inside = u >= 0 && v >= 0 && u < placement.width && v < placement.height;
        const want = inside ? inner.data[(v * placement.width + u) * 3 + 1] : 0;
        if (fitted.data[(y * 224 + x) * 3 + 1] !== want) expect.fail(`at ${x}, ${y}`);
      }
    }
  });

  it("goes there and back without moving anything", async () => {
    for (const [w, h] of [
      [300, 180],
      [90, 120],
    ] as const) {
      const image = gradient(w, h);
      const fitted = await fitSquare(image, 224);
      const back = await unfit(fitted, fitted.placement, fitted.originalWidth, fitted.originalHeight);
      expect(back).toMatchObject({ width: w, height: h, channels: 3 });
      expect(largestDifference(back.data, image.data)).toBeLessThanOrEqual(2);
    }
  });

  it("refuses placements outside, and impossible sizes", async () => {
    const square = noise(8, 8, 3);
    await failure(unfit(square, { left: 4, top: 0, width: 5, height: 8 }, 8, 8), "ARGUMENT");
    await failure(unfit(square, { left: -1, top: 0, width: 5, height: 8 }, 8, 8), "ARGUMENT");
    await failure(fitSquare(square, 0), "ARGUMENT");
    await failure(fitSquare(square, 22.5), "ARGUMENT");
  });

  it("loads a file's bytes in one call", async () => {
    const image = gradient(120, 70);
    const bytes = await raw(image).png().toBuffer();
    expect(await loadSquare(bytes, 96, 3)).toEqual(await fitSquare(image, 96));
    expect((await loadSquare(bytes, 96, 1)).data.length).toBe(96 * 96);
    await failure(loadSquare(bytes, 96, 3, { maxPixels: 100 }), "IMAGE");
  });
});

const tiles = path.resolve(import.meta.dirname, "../../../shared/images/other");
describe.skipIf(!existsSync(tiles))("real tiles", () => {
  it.each(existsSync(tiles) ? readdirSync(tiles).filter((name) => name.endsWith(".png")) : [])("%s", async (name) => {
    const image = await decodeImage(path.join(tiles, name), { channels: 3 });
    const fitted = await fitSquare(image, 224);
    const { placement } = fitted;
    const inner = await resize(image, placement.width, placement.height);
    expect(largestDifference(inner.data, triangle(image, placement.width, placement.height))).toBeLessThanOrEqual(1.0001);
  });
});

describe("how an image becomes a square", () => {
  const numbered = (width: number, height: number, channels: 1 | 3): PixelImage => ({
    data: Uint8Array.from({ length: width * height * channels }, (_, at) => Math.floor(at / channels) % 251),
    ...{ width, height, channels },
  });
  const rows = ({ data, width, height, channels }: PixelImage) =>
    Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => data[(y * width + x) * channels]!));

  it("mirror: whole, its edges' pixels twice, above and below or beside", async () => {
    const wide = numbered(6, 2, 3);
    const square = await fitSquare(wide, 6, { fit: "mirror" });
    expect(square).toMatchObject({
      placement: { left: 0, top: 2, width: 6, height: 2 },
      source: { left: 0, top: 0, width: 6, height: 2 },
    });
    const [first, second] = rows(wide);
    expect(rows(square)).toEqual([second, first, first, second, second, first]);
    const tall = numbered(2, 5, 1);
    // One pixel to the left of two, two to the right.
    expect(rows(await fitSquare(tall, 5, { fit: "mirror" }))).toEqual(rows(tall).map(([a, b]) => [a, a, b, b, a]));
  });

  it("mirror: as often as needed, of a line of one pixel too", async () => {
    const line = numbered(1, 32, 3);
    expect(rows(await fitSquare(line, 32, { fit: "mirror" }))).toEqual(rows(line).map(([a]) => Array(32).fill(a)));
    const strip = numbered(32, 4, 1);
    const { data } = await fitSquare(strip, 32, { fit: "mirror" });
    expect(new Set(data)).toEqual(new Set(strip.data));
  });

  it("crop: the square in the middle, and where it was", async () => {
    const wide = numbered(9, 4, 3);
    const square = await fitSquare(wide, 4, { fit: "crop" });
    expect(square).toMatchObject({
      placement: { left: 0, top: 0, width: 4, height: 4 },
      source: { left: 2, top: 0, width: 4, height: 4 },
      originalWidth: 9,
      originalHeight: 4,
    });
    expect(rows(square)).toEqual(rows(wide).map((row) => row.slice(2, 6)));
  });

  it("pad is what stands where nothing is said, and other names are refused", async () => {
    const wide = noise(40, 11, 3);
    expect(await fitSquare(wide, 16)).toEqual(await fitSquare(wide, 16, { fit: "pad" }));
    const refused = await failure(fitSquare(wide, 16, { fit: "fill" as "pad" }), "ARGUMENT");
    expect(refused.message).toMatch(/Unknown fit "fill".*mirror, crop or pad/);
  });

  it.each(["mirror", "crop", "pad"] as const)("a square is the same by %s", async (fit) => {
    const image = noise(37, 37, 3);
    const { data, placement } = await fitSquare(image, 20, { fit });
    expect(data).toEqual((await resize(image, 20, 20)).data);
    expect(placement).toEqual({ left: 0, top: 0, width: 20, height: 20 });
  });
});
