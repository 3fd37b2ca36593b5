import { writeFileSync } from "node:fs";
import path from "node:path";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { countPages, decodeImage } from "../../src/image/decode.js";
import { tiffImages } from "../../src/image/tiff.js";
import { failure, noise, raw, type TiffPage, temporaryFolder, tiffOf } from "./helpers.js";

const folder = temporaryFolder();
const file = (name: string, bytes: Uint8Array): string => {
  const full = path.join(folder, name);
  writeFileSync(full, bytes);
  return full;
};
const flat = (level: number, width = 8, height = width, more: Partial<TiffPage> = {}): TiffPage => ({
  width,
  height,
  data: new Uint8Array(width * height * 3).fill(level),
  ...more,
});
const levelOf = async (bytes: Uint8Array, page?: number) => (await decodeImage(bytes, { channels: 3, page })).data[0];

describe("pages", () => {
  const stack = [flat(10), flat(20, 6, 9), flat(30, 20, 4)];

  it.each([
    ["little-endian", {}],
    ["big-endian", { little: false }],
    ["with offsets of 64 bits", { big: true }],
    ["with offsets of 64 bits, big-endian", { big: true, little: false }],
  ])("of a TIFF are counted and taken by number: %s", async (_, order) => {
    const bytes = tiffOf(stack, order);
    expect(tiffImages(bytes)).toHaveLength(3);
    for (const [index, { width, height }] of stack.entries()) {
      const decoded = await decodeImage(bytes, { channels: 3, page: index + 1 });
      expect(decoded).toMatchObject({ width, height, pages: 3 });
      expect(decoded.data[0]).toBe(10 * (index + 1));
    }
    expect(await levelOf(bytes)).toBe(10);
    expect(await countPages(file("stack.tif", bytes))).toBe(3);
  });

  it("frames of an animation are pages", async () => {
    const frames = Buffer.concat([10, 120, 240].map((level) => Buffer.alloc(4 * 4 * 3, level)));
    const animated = sharp(frames, { raw: { width: 4, height: 12, channels: 3, pageHeight: 4 } });
    for (const bytes of [await animated.clone().gif().toBuffer(), await animated.clone().webp({ lossless: true }).toBuffer()]) {
      expect((await decodeImage(bytes, { channels: 3 })).pages).toBe(3);
      expect(Math.abs((await levelOf(bytes, 3))! - 240)).toBeLessThan(20);
    }
  });

  it("that are smaller versions of the first are none, nor are a slide's label and what only a page refers to", async () => {
    const big = noise(256, 192, 3);
    const pyramid = await raw(big).tiff({ pyramid: true, tile: true, tileWidth: 64, tileHeight: 64 }).toBuffer();
    expect((await sharp(pyramid).metadata()).pages).toBeGreaterThan(1);
    expect((await decodeImage(pyramid, { channels: 3 })).pages).toBe(1);
    // As Aperio writes them: levels and thumbnail undeclared, label and macro reduced.
    const slide = [
      flat(1, 64, 48),
      flat(2, 21, 16),
      flat(3, 16, 12),
      flat(4, 10, 10, { subfile: 1 }),
      flat(5, 20, 9, { subfile: 9 }),
    ];
    expect((await decodeImage(tiffOf(slide), { channels: 3 })).pages).toBe(1);
    const below = flat(7, 8, 8, { below: [flat(8, 4, 4, { subfile: 1 })] });
    expect((await decodeImage(tiffOf([below]), { channels: 3 })).pages).toBe(1);
    // Between two pages, a reduced one each.
    const mixed = tiffOf([flat(10), flat(11, 4, 4, { subfile: 1 }), flat(20), flat(21, 4, 4, { subfile: 1 })]);
    expect((await decodeImage(mixed, { channels: 3 })).pages).toBe(2);
    expect(await levelOf(mixed, 2)).toBe(20);
  });

  it("that are not there are refused, and a file of one page gives that one", async () => {
    const name = file("three.tif", tiffOf(stack));
    const { message } = await failure(decodeImage(name, { channels: 3, page: 4 }), "IMAGE");
    expect(message).toMatch(/three\.tif has 3 pages, and page 4 was asked for\. Use 1 to 3/);
    expect(await levelOf(tiffOf([flat(9)]), 3)).toBe(9);
    for (const page of [0, -1, 1.5, Number.NaN]) await failure(decodeImage(name, { channels: 3, page }), "ARGUMENT");
  });

  it("of a damaged chain are libvips' business: an image or an error, and soon", async () => {
    const bytes = tiffOf(stack);
    for (let at = 4; at < bytes.length; at += 3) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= 0xff;
      const began = performance.now();
      await decodeImage(damaged, { channels: 3 }).catch((error) => expect(error.code).toBe("IMAGE"));
      expect(performance.now() - began).toBeLessThan(2000);
    }
    const circle = Buffer.from(tiffOf([flat(1)]));
    // The last word is where the next one would be: the first again.
    circle.writeUInt32LE(circle.readUInt32LE(4), circle.length - 4);
    await decodeImage(circle, { channels: 3 }).catch((error) => expect(error.code).toBe("IMAGE"));
  });
});

describe("what is no transparency", () => {
  const colours = [200, 100, 50];
  const of = (samples: number, bits: 8 | 16, extra?: number[]) => {
    const values = [...colours.slice(0, samples < 3 ? 1 : 3), 0].map((value) => (bits === 16 ? value * 257 : value));
    const data =
      bits === 16 ? new Uint8Array(Uint16Array.from([...values, ...values]).buffer) : Uint8Array.from([...values, ...values]);
    return tiffOf([{ width: 2, height: 1, samples, bits, data, ...(extra ? { extra } : {}) }]);
  };
  const decoded = async (bytes: Uint8Array) => [...(await decodeImage(bytes, { channels: 3 })).data];

  it.each([8, 16] as const)("a fourth sample of %i bits counts as alpha only where the file says so", async (bits) => {
    for (const extra of [undefined, [0]]) {
      expect(await decoded(of(4, bits, extra))).toEqual([...colours, ...colours]);
      expect(await decoded(of(2, bits, extra))).toEqual(Array(6).fill(200));
      expect([...(await decodeImage(of(2, bits, extra), { channels: 1 })).data]).toEqual([200, 200]);
    }
    for (const extra of [[1], [2]]) expect(await decoded(of(4, bits, extra))).toEqual(Array(6).fill(255));
    expect(await decoded(of(2, bits, [2]))).toEqual(Array(6).fill(255));
  });
});

describe("white", () => {
  const levels = [0, 1000, 2048, 4095];
  const png = (values: readonly number[]) =>
    sharp(Uint16Array.from(values), { raw: { width: values.length, height: 1, channels: 1 } })
      .toColourspace("grey16")
      .png()
      .toBuffer();
  const decoded = async (values: readonly number[], white?: number | "auto") => {
    const image = await decodeImage(await png(values), { channels: 1, white });
    return { largest: image.largest, data: [...image.data] };
  };

  it("is the value that is given, and what is brighter is white too", async () => {
    const expected = levels.map((value) => Math.round((255 * value) / 4095));
    expect(await decoded(levels, 4095)).toEqual({ largest: 4095, data: expected });
    expect((await decoded([0, 5000], 4095)).data).toEqual([0, 255]);
    expect((await decoded(levels)).data).toEqual(levels.map((value) => Math.round(value / 257)));
  });

  it("is told by the largest value where it is auto", async () => {
    expect((await decoded(levels, "auto")).data).toEqual((await decoded(levels, 4095)).data);
    expect((await decoded([0, 512, 1000], "auto")).data).toEqual([0, 128, 249]);
    expect((await decoded([0, 1024], "auto")).data).toEqual([0, 128]);
    expect((await decoded([0, 3], "auto")).data).toEqual([0, 3]);
    expect((await decoded([0, 65535], "auto")).data).toEqual([0, 255]);
    expect((await decoded([0, 0], "auto")).data).toEqual([0, 0]);
  });

  it("does not matter to 8 bits, and impossible ones are refused", async () => {
    const bytes = await raw(noise(5, 5, 3))
      .png()
      .toBuffer();
    const plain = await decodeImage(bytes, { channels: 3 });
    expect(plain.largest).toBeUndefined();
    for (const white of [4095, "auto"] as const)
      expect((await decodeImage(bytes, { channels: 3, white })).data).toEqual(plain.data);
    for (const white of [0, 65536, 1.5, "bright" as never]) await failure(decodeImage(bytes, { channels: 3, white }), "ARGUMENT");
  });
});
