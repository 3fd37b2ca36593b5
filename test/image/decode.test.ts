import { writeFileSync } from "node:fs";
import path from "node:path";
import sharp, { type Sharp } from "sharp";
import { describe, expect, it } from "vitest";
import { decodeImage } from "../../src/image/decode.js";
import { failure, gradient, greyTiff, largestDifference, noise, raw, temporaryFolder, whitePng } from "./helpers.js";

const folder = temporaryFolder();
const file = (name: string, bytes: Uint8Array | string): string => {
  const full = path.join(folder, name);
  writeFileSync(full, bytes);
  return full;
};
const original = gradient(60, 40);
const levels = [0, 1, 128, 255, 256, 385, 386, 32767, 32768, 65278, 65407, 65535];
const expected = levels.map((x) => Math.round(x / 257));

describe("formats", () => {
  it.each([
    ["png", 0, (s: Sharp) => s.png()],
    ["png", 0, (s: Sharp) => s.png({ progressive: true })],
    ["webp", 0, (s: Sharp) => s.webp({ lossless: true })],
    ["tiff", 0, (s: Sharp) => s.tiff({ compression: "lzw" })],
    ["tiff", 0, (s: Sharp) => s.tiff({ compression: "none", tile: true })],
    ["jpeg", 4, (s: Sharp) => s.jpeg({ quality: 100, chromaSubsampling: "4:4:4" })],
    ["jpeg", 6, (s: Sharp) => s.jpeg({ quality: 95, progressive: true })],
    ["gif", 40, (s: Sharp) => s.gif()],
    ["heif", 8, (s: Sharp) => s.avif({ quality: 95 })],
  ] as const)("%s within %i levels", async (format, bound, encode) => {
    const decoded = await decodeImage(file(`any.${format}`, await encode(raw(original)).toBuffer()), { channels: 3 });
    expect(decoded).toMatchObject({ width: 60, height: 40, channels: 3, format, pages: 1 });
    expect(decoded.data).toBeInstanceOf(Uint8Array);
    expect(largestDifference(decoded.data, original.data)).toBeLessThanOrEqual(bound);
  });

  it("gives the same from bytes, and sees a file that was overwritten", async () => {
    const bytes = await raw(original).png().toBuffer();
    const name = file("again.png", bytes);
    const [a, b] = [await decodeImage(name, { channels: 3 }), await decodeImage(bytes, { channels: 3 })];
    expect(a.data).toEqual(b.data);
    const other = noise(60, 40, 3);
    file("again.png", await raw(other).png().toBuffer());
    expect(largestDifference((await decodeImage(name, { channels: 3 })).data, other.data)).toBe(0);
  });

  it("reads a palette, one bit and ImageJ's private TIFF tags", async () => {
    const flat = await sharp({ create: { width: 8, height: 8, channels: 3, background: "#c06040" } })
      .png({ palette: true })
      .toBuffer();
    expect([...(await decodeImage(flat, { channels: 3 })).data.subarray(0, 3)]).toEqual([0xc0, 0x60, 0x40]);
    expect(new Set((await decodeImage(whitePng(9, 5), { channels: 3 })).data)).toEqual(new Set([255]));
    const imagej = greyTiff(2, Buffer.from([1, 20, 30, 255]), 8, 1, [
      [50838, 4, 1, 12],
      [50839, 4, 1, 7],
    ]);
    expect([...(await decodeImage(imagej, { channels: 1 })).data]).toEqual([1, 20, 30, 255]);
  });

  it("takes the first page of several", async () => {
    const pages = Buffer.concat([Buffer.alloc(4 * 4 * 3, 250), Buffer.alloc(4 * 4 * 3, 10)]);
    const gif = await sharp(pages, { raw: { width: 4, height: 8, channels: 3, pageHeight: 4 } })
      .gif()
      .toBuffer();
    const decoded = await decodeImage(gif, { channels: 3 });
    expect(decoded).toMatchObject({ width: 4, height: 4, pages: 2 });
    expect(decoded.data[0]).toBeGreaterThan(240);
  });
});

describe("values", () => {
  it.each(["rgb16", "grey16"] as const)("16 bits become round(x / 257): %s", async (space) => {
    const channels = space === "rgb16" ? 3 : 1;
    const wide = Uint16Array.from(levels.flatMap((x) => Array<number>(channels).fill(x)));
    const png = await sharp(wide, { raw: { width: levels.length, height: 1, channels } })
      .toColourspace(space)
      .png()
      .toBuffer();
    const rgb = await decodeImage(png, { channels: 3 });
    expect([...rgb.data]).toEqual(expected.flatMap((x) => [x, x, x]));
    expect([...(await decodeImage(png, { channels: 1 })).data]).toEqual(expected);
    const tiff = greyTiff(levels.length, Buffer.from(Uint16Array.from(levels).buffer), 16);
    expect([...(await decodeImage(tiff, { channels: 1 })).data]).toEqual(expected);
  });

  it("grey becomes RGB, and RGB grey by ITU-R 601", async () => {
    const grey = noise(16, 16, 1);
    const png = await raw(grey).toColourspace("b-w").png().toBuffer();
    expect([...(await decodeImage(png, { channels: 3 })).data]).toEqual([...grey.data].flatMap((x) => [x, x, x]));
    expect([...(await decodeImage(png, { channels: 1 })).data]).toEqual([...grey.data]);
    const colours = await sharp(Buffer.from([255, 0, 0, 0, 255, 0, 0, 0, 255]), { raw: { width: 3, height: 1, channels: 3 } })
      .png()
      .toBuffer();
    expect([...(await decodeImage(colours, { channels: 1 })).data]).toEqual([76, 150, 29]);
  });

  it("lays transparency over white", async () => {
    const rgba = Buffer.from([255, 0, 0, 255, 255, 0, 0, 128, 9, 9, 9, 0, 0, 0, 0, 51]);
    const png = await sharp(rgba, { raw: { width: 4, height: 1, channels: 4 } })
      .png()
      .toBuffer();
    expect([...(await decodeImage(png, { channels: 3 })).data]).toEqual([255, 0, 0, 255, 127, 127, 255, 255, 255, 204, 204, 204]);
    const wide = Uint16Array.from([65535, 0, 0, 65535, 0, 0, 0, 0, 0, 0, 0, 32768]);
    const png16 = await sharp(wide, { raw: { width: 3, height: 1, channels: 4 } })
      .toColourspace("rgb16")
      .png()
      .toBuffer();
    expect([...(await decodeImage(png16, { channels: 3 })).data]).toEqual([255, 0, 0, 255, 255, 255, 127, 127, 127]);
    const greyAlpha = await sharp(Buffer.from([0, 255, 0, 0]), { raw: { width: 2, height: 1, channels: 2 } })
      .toColourspace("b-w")
      .png()
      .toBuffer();
    expect([...(await decodeImage(greyAlpha, { channels: 1 })).data]).toEqual([0, 255]);
  });

  // Corners of the stored image: a b / c d. Orientation 6 is shown turned clockwise, 8 counter-clockwise.
  it.each([
    [6, [3, 1, 4, 2]],
    [8, [2, 4, 1, 3]],
    [3, [4, 3, 2, 1]],
  ])("applies EXIF orientation %i", async (orientation, corners) => {
    const data = new Uint8Array(16 * 8).map((_, i) => ((i % 16 < 8 ? 1 : 2) + (i < 64 ? 0 : 2)) * 50);
    const png = await raw({ data, width: 16, height: 8, channels: 1 }).withMetadata({ orientation }).png().toBuffer();
    const { width, height, data: out } = await decodeImage(png, { channels: 1 });
    expect([width, height]).toEqual(orientation === 3 ? [16, 8] : [8, 16]);
    const at = (x: number, y: number): number => out[y * width + x]! / 50;
    expect([at(0, 0), at(width - 1, 0), at(0, height - 1), at(width - 1, height - 1)]).toEqual(corners);
  });

  it("converts ICC profiles and CMYK to sRGB", async () => {
    const p3 = await raw(original).withIccProfile("p3").png().toBuffer();
    expect(largestDifference((await decodeImage(p3, { channels: 3 })).data, original.data)).toBeLessThanOrEqual(1);
    const p3wide = await raw(original).toColourspace("rgb16").withIccProfile("p3").png().toBuffer();
    expect((await sharp(p3wide).metadata()).depth).toBe("ushort");
    expect(largestDifference((await decodeImage(p3wide, { channels: 3 })).data, original.data)).toBeLessThanOrEqual(2);
    const cmyk = await raw(original).toColourspace("cmyk").jpeg({ quality: 100, chromaSubsampling: "4:4:4" }).toBuffer();
    expect((await sharp(cmyk).metadata()).space).toBe("cmyk");
    // The way through CMYK clips colours; inverted inks, the usual mistake, would be off by a hundred and more.
    const { data } = await decodeImage(cmyk, { channels: 3 });
    expect(data.reduce((sum, x, i) => sum + Math.abs(x - original.data[i]!), 0) / data.length).toBeLessThan(12);
  });
});

describe("what is refused, by name and with a cure", () => {
  it("missing, a folder, a device, empty, text", async () => {
    expect((await failure(decodeImage(path.join(folder, "none.png"), { channels: 3 }), "IMAGE")).message).toContain(
      "none.png does not exist",
    );
    expect((await failure(decodeImage(path.join(file("plain", "x"), "below.png"), { channels: 3 }), "IMAGE")).message).toContain(
      "does not exist",
    );
    expect((await failure(decodeImage(folder, { channels: 3 }), "IMAGE")).message).toContain("is a folder");
    expect((await failure(decodeImage(file("empty.png", ""), { channels: 3 }), "IMAGE")).message).toMatch(/empty\.png is empty/);
    expect((await failure(decodeImage(new Uint8Array(), { channels: 3 }), "IMAGE")).message).toMatch(/the image is empty/);
    const text = file("text.png", "These are words, not pixels.\n".repeat(20));
    expect((await failure(decodeImage(text, { channels: 3 }), "IMAGE")).message).toMatch(/text\.png is not an image/);
    await failure(decodeImage(7 as unknown as string, { channels: 3 }), "ARGUMENT");
    await failure(decodeImage(text, { channels: 3, maxPixels: Number.NaN }), "ARGUMENT");
  });

  it.skipIf(process.platform === "win32")("a device", async () => {
    expect((await failure(decodeImage("/dev/zero", { channels: 3 }), "IMAGE")).message).toContain("device");
  });

  it.each([
    "data:image/png;base64,iVBORw0KGgo=",
    "http://example.org/a.png",
    "https://example.org/a.png",
    "file:///tmp/a.png",
    "s3://bucket/a.png",
  ])("a URL: %s", async (url) => {
    expect((await failure(decodeImage(url, { channels: 3 }), "IMAGE")).message).toContain("is a URL");
  });

  it.each([
    ["png", (s: Sharp) => s.png()],
    ["jpeg", (s: Sharp) => s.jpeg()],
    ["progressive jpeg", (s: Sharp) => s.jpeg({ progressive: true })],
    ["webp", (s: Sharp) => s.webp()],
    ["tiff", (s: Sharp) => s.tiff({ compression: "lzw" })],
    ["gif", (s: Sharp) => s.gif()],
  ] as const)("a %s cut short, anywhere", async (name, encode) => {
    const bytes = await encode(raw(noise(200, 200, 3))).toBuffer();
    for (const part of [0.02, 0.5, 0.99]) {
      const cut = file(`cut.${name}`, bytes.subarray(0, Math.floor(bytes.length * part)));
      expect((await failure(decodeImage(cut, { channels: 3 }), "IMAGE")).message).toContain(`cut.${name}`);
    }
  });

  it("a damaged PNG", async () => {
    const bytes = await raw(noise(100, 100, 3))
      .png()
      .toBuffer();
    bytes.fill(0x5a, bytes.length >> 1, (bytes.length >> 1) + 40);
    expect((await failure(decodeImage(bytes, { channels: 3, name: "tile 7" }), "IMAGE")).message).toContain(
      "tile 7 could not be decoded",
    );
  });

  it("pixels without a defined white", async () => {
    const float = greyTiff(2, Buffer.from(Float32Array.from([0, 0.5, 1, 0.25]).buffer), 32, 3);
    expect((await failure(decodeImage(float, { channels: 1 }), "IMAGE")).message).toContain("float");
    await failure(decodeImage(greyTiff(2, Buffer.from(Int16Array.from([-5, 5, 9, 9]).buffer), 16, 2), { channels: 1 }), "IMAGE");
  });

  it("a bomb, quickly and without unpacking it", async () => {
    const bomb = whitePng(20_000, 20_000);
    expect(bomb.length).toBeLessThan(200_000);
    const before = process.memoryUsage().rss;
    const started = performance.now();
    const { message } = await failure(decodeImage(file("bomb.png", bomb), { channels: 3 }), "IMAGE");
    expect(message).toMatch(/bomb\.png is 20000 × 20000 = 400 megapixels; the limit is 64\./);
    expect(performance.now() - started).toBeLessThan(1000);
    expect(process.memoryUsage().rss - before).toBeLessThan(32e6);
    expect((await failure(decodeImage(whitePng(10_000, 10_000), { channels: 3 }), "IMAGE")).message).toContain("100 megapixels");
  });

  it("a limit of one's own, exact to the pixel", async () => {
    const png = await raw(original).png().toBuffer();
    expect((await decodeImage(png, { channels: 3, maxPixels: 2400 })).width).toBe(60);
    await failure(decodeImage(png, { channels: 3, maxPixels: 2399 }), "IMAGE");
    expect(
      (await failure(decodeImage(file("slide.tif", Buffer.alloc(18e6)), { channels: 3, maxPixels: 1000 }), "IMAGE")).message,
    ).toContain("18 MB");
  });

  it("an aborted call, with the signal's reason", async () => {
    const reason = new Error("enough");
    await expect(
      decodeImage(await raw(original).png().toBuffer(), { channels: 3, signal: AbortSignal.abort(reason) }),
    ).rejects.toBe(reason);
    const controller = new AbortController();
    const running = decodeImage(file("slow.png", await raw(original).png().toBuffer()), {
      channels: 3,
      signal: controller.signal,
    });
    controller.abort(reason);
    await expect(running).rejects.toBe(reason);
  });
});
