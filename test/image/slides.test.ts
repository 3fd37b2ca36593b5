import { closeSync, existsSync, openSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import sharp from "sharp";
import { describe, expect, it, vi } from "vitest";
import { removeStale } from "../../src/image/atomic-write.js";
import { decodeImage } from "../../src/image/decode.js";
import { type ResizeKernel, resize, resizeRows } from "../../src/image/resize.js";
import { Slide } from "../../src/image/slide.js";
import { checkRoom, type SlideFormat, SlideWriter } from "../../src/image/slide-writer.js";
import { tiffImages } from "../../src/image/tiff.js";
import type { PixelImage, RowSource } from "../../src/image/types.js";
import { failure, noise, raw, temporaryFolder } from "./helpers.js";
import { svsFile, svsOf, tissue, withTags } from "./svs.js";

const folder = temporaryFolder();
let files = 0;
const fresh = (name: string): string => path.join(folder, `${++files}-${name}`);
const saved = (name: string, bytes: Uint8Array): string => {
  const file = fresh(name);
  writeFileSync(file, bytes);
  return file;
};

/** All rows of an image, in steps of so many. */
async function rowsOf(source: RowSource, steps: readonly number[] = [source.height]): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (let top = 0, k = 0; top < source.height; k++) {
    const count = Math.min(steps[k % steps.length]!, source.height - top);
    parts.push((await source.rows(top, count)).slice());
    top += count;
  }
  return Buffer.concat(parts);
}

const inMemory = ({ data, width, height, channels }: PixelImage): RowSource => ({
  ...{ width, height },
  rows: (top, count) => data.slice(top * width * channels, (top + count) * width * channels),
});

const bytesOf = (data: Uint8Array): Buffer => Buffer.from(data.buffer, data.byteOffset, data.byteLength);

describe("a slide", () => {
  it("is read by rows as it is read whole: its levels and its label are no pages", async () => {
    const file = await svsFile(fresh("a.svs"), { width: 801, height: 623 });
    expect(await sharp(file).metadata()).toMatchObject({ pages: 4, width: 801 });
    const slide = (await Slide.find(file))!;
    expect(slide.pages).toBe(1);
    expect(slide.page()).toMatchObject({ width: 801, height: 623, compression: 7, tile: { width: 256, height: 256 } });
    for (const channels of [1, 3] as const) {
      const whole = await decodeImage(file, { channels });
      for (const steps of [[623], [1, 100, 300], [64]]) {
        const rows = await rowsOf(await slide.read({ channels }), steps);
        expect(bytesOf(whole.data).equals(rows)).toBe(true);
      }
    }
    // A part that begins in the middle, and one that reaches back a little.
    const source = await slide.read({ channels: 3 });
    const { data } = await decodeImage(file, { channels: 3 });
    for (const [top, count] of [
      [500, 20],
      [516, 40],
      [554, 69],
    ] as const)
      expect(bytesOf(data.subarray(top * 801 * 3, (top + count) * 801 * 3)).equals(await source.rows(top, count))).toBe(true);
  });

  it.each([
    ["grey", 1, "jpeg", 64],
    ["without loss", 3, "deflate", 128],
  ] as const)("may be %s", async (_, channels, compression, tile) => {
    const file = await svsFile(fresh("b.svs"), { width: 300, height: 211, channels, compression, tile });
    const rows = await rowsOf(await (await Slide.find(file))!.read({ channels }), [50]);
    expect(bytesOf((await decodeImage(file, { channels })).data).equals(rows)).toBe(true);
  });

  it("of 16 bits is read as other images are, but for a white that all of it decides", async () => {
    const { data } = noise(300, 200, 3);
    const wide = Uint16Array.from(data, (level) => level * 16);
    const tiff = await sharp(wide, { raw: { width: 300, height: 200, channels: 3 } })
      .toColourspace("rgb16")
      .tiff({ compression: "deflate", tile: true, tileWidth: 64, tileHeight: 64 })
      .toBuffer();
    const file = saved("c.svs", tiff);
    const slide = (await Slide.find(file))!;
    for (const white of [undefined, 4095]) {
      const rows = await rowsOf(await slide.read({ channels: 3, white }), [77]);
      expect(bytesOf((await decodeImage(file, { channels: 3, white })).data).equals(rows)).toBe(true);
    }
    expect((await failure(slide.read({ channels: 3, white: "auto" }), "IMAGE")).fix).toContain("--white");
  });

  it("is what is called .svs, and a TIFF that is too large to be held", async () => {
    const small = await svsOf({ width: 300, height: 200 });
    expect(await Slide.find(saved("d.tif", small))).toBeUndefined();
    expect(
      await Slide.find(
        saved(
          "d.png",
          await raw(noise(9, 9, 3))
            .png()
            .toBuffer(),
        ),
      ),
    ).toBeUndefined();
    expect(await Slide.find(path.join(folder, "missing.svs"))).toBeUndefined();
    expect(await Slide.find(saved("d.tif", withTags(small, { 256: 9000, 257: 9000 })))).toBeDefined();
  });

  it("that cannot be read by regions is refused with what to do", async () => {
    const small = await svsOf({ width: 300, height: 200 });
    const strips = await raw(noise(300, 200, 3))
      .tiff({ compression: "lzw" })
      .toBuffer();
    const refused = async (bytes: Uint8Array, page?: number) => {
      const work = async () => (await Slide.find(saved("e.svs", bytes)))!.page(page);
      return (await failure(work(), "IMAGE")).message;
    };
    expect(await refused(withTags(small, { 259: 33003 }))).toMatch(/JPEG 2000 \(33003\).*Convert it.*vips/);
    expect(await refused(withTags(small, { 259: 33005 }))).toMatch(/JPEG 2000 \(33005\)/);
    expect(await refused(strips)).toMatch(/in strips.*vips tiffsave/);
    expect(await refused(withTags(small, { 274: 6 }))).toMatch(/turned/);
    expect(await refused(Buffer.from("no TIFF at all"))).toMatch(/no TIFF/);
    expect(await refused(small.subarray(0, 60))).toMatch(/no TIFF.*damaged/);
    // Its tiles are cut off: said where they are read.
    const damaged = (await Slide.find(saved("f.svs", withTags(small, { 324: 9e8 }))))!;
    await failure(
      damaged.read({ channels: 3 }).then((source) => rowsOf(source)),
      "IMAGE",
    );
  });

  it("says its resolution: in tags of either unit, or where Aperio writes it", async () => {
    const written = async (resolution: object) => {
      const tiff = raw(noise(64, 64, 3)).tiff({ tile: true, tileWidth: 32, tileHeight: 32, ...resolution });
      return tiffImages(await tiff.toBuffer())![0]!.resolution;
    };
    const near = (value: number) => expect.closeTo(value, 3);
    expect(await written({ xres: 4000, yres: 3960.396, resolutionUnit: "cm" })).toEqual({
      x: 4000,
      y: near(3960.396),
      unit: "cm",
    });
    expect(await written({ xres: 2000, yres: 2000, resolutionUnit: "inch" })).toEqual({
      x: near(2000),
      y: near(2000),
      unit: "inch",
    });
    const file = await svsFile(fresh("g.svs"), { width: 100, height: 100, micrometres: 0.2525 });
    const handle = openSync(file, "r");
    expect(tiffImages(handle)![0]!.resolution!.x).toBeCloseTo(1000 / 0.2525, 6);
    closeSync(handle);
    expect(tiffImages(withTags(await svsOf({ width: 64, height: 64 }), { 296: 1, 270: 0 }))![0]!.resolution).toBeUndefined();
  });
});

describe("scaling by rows", () => {
  const side = fc.integer({ min: 1, max: 90 });
  it("gives every bit that scaling at once gives", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(side, fc.integer({ min: 1, max: 300 }), side, side),
        fc.constantFrom<ResizeKernel>("linear", "cubic"),
        fc.constantFrom(1, 3) as fc.Arbitrary<1 | 3>,
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 3 }),
        async ([width, height, toWidth, toHeight], kernel, channels, steps) => {
          const image = noise(width, height, channels, width + height);
          const whole = await resize(image, toWidth, toHeight, { kernel });
          const rows = await rowsOf(resizeRows(inMemory(image), channels, toWidth, toHeight, { kernel }), steps);
          return bytesOf(whole.data).equals(rows);
        },
      ),
      { numRuns: 120, seed: 5 },
    );
  });

  it("reads every row once, from top to bottom, and few at a time", async () => {
    const image = noise(20, 3001, 3);
    const asked: [number, number][] = [];
    const rows = (top: number, count: number) => {
      asked.push([top, count]);
      return inMemory(image).rows(top, count);
    };
    await rowsOf(resizeRows({ width: 20, height: 3001, rows }, 3, 7, 250), [3]);
    let next = 0;
    for (const [top, count] of asked) {
      expect([top, count <= 64]).toEqual([next, true]);
      next += count;
    }
    expect(next).toBe(3001);
  });
});

/** At half its size, odd rows and columns left out. */
function halved({ data, width, height, channels }: PixelImage): PixelImage {
  const [w, h] = [Math.max(1, width >> 1), Math.max(1, height >> 1)];
  const at = (x: number, y: number, c: number) =>
    data[(Math.min(y, height - 1) * width + Math.min(x, width - 1)) * channels + c]!;
  const means = Uint8Array.from({ length: w * h * channels }, (_, k) => {
    const [x, y, c] = [2 * (Math.floor(k / channels) % w), 2 * Math.floor(k / channels / w), k % channels];
    return (at(x, y, c) + at(x + 1, y, c) + at(x, y + 1, c) + at(x + 1, y + 1, c) + 2) >> 2;
  });
  return { data: means, width: w, height: h, channels };
}

const partials = () => readdirSync(folder).filter((name) => name.endsWith(".partial"));

describe("a written slide", () => {
  async function write(image: PixelImage, format: Partial<SlideFormat>, signal?: AbortSignal): Promise<string> {
    const file = fresh("out.tif");
    const { data, width, height, channels } = image;
    await using writer = await SlideWriter.create(file, { width, height, channels, compression: "jpeg", ...format });
    for (let top = 0; top < height; top += 100)
      await writer.write(data.subarray(top * width * channels, (top + 100) * width * channels));
    await writer.finish(signal);
    return file;
  }
  const resolution = { x: 1000 / 0.2525, y: 1000 / 0.2525, unit: "cm" } as const;

  it.each<[string, 1 | 3, "jpeg" | "deflate", number]>([
    ["JPEG", 3, "jpeg", 7],
    ["deflate", 3, "deflate", 8],
    ["grey JPEG", 1, "jpeg", 7],
    ["grey deflate", 1, "deflate", 8],
  ])("has tiles, levels and its resolution: %s", async (_, channels, compression, code) => {
    const image = tissue(801, 623, channels);
    const file = await write(image, { compression, resolution });
    const images = tiffImages(readFileSync(file))!;
    expect(images.map(({ width, height }) => [width, height])).toEqual([
      [801, 623],
      [400, 311],
      [200, 155],
    ]);
    for (const one of images)
      expect(one).toMatchObject({ compression: code, samples: channels, tile: { width: 256, height: 256 } });
    expect(images[0]!.resolution!.x / resolution.x).toBeCloseTo(1, 6);
    expect(images[0]!.resolution).toMatchObject({ unit: "cm" });
    const { data } = await decodeImage(file, { channels });
    if (compression === "deflate") expect(bytesOf(data).equals(bytesOf(image.data))).toBe(true);
    else expect(data.reduce((sum, level, at) => sum + Math.abs(level - image.data[at]!), 0) / data.length).toBeLessThan(1);
    expect(partials()).toEqual([]);
  });

  it("says its resolution in the unit of its source, and none where none is known", async () => {
    const said = async (format: Partial<SlideFormat>) =>
      tiffImages(readFileSync(await write(tissue(64, 64), format)))![0]!.resolution;
    const inch = await said({ resolution: { ...resolution, unit: "inch" } });
    expect(inch!.x / resolution.x).toBeCloseTo(1, 6);
    expect(inch!.unit).toBe("inch");
    expect(await said({})).toBeUndefined();
  });

  it.each<[number, number, 1 | 3]>([
    [1, 1, 3],
    [1, 1, 1],
    [257, 511, 3],
    [257, 511, 1],
    [1000, 3, 3],
    [1, 1030, 1],
    [256, 256, 3],
  ])("is exact without loss, whatever its sides: %i × %i, %i", async (width, height, channels) => {
    const image = noise(width, height, channels);
    const file = await write(image, { compression: "deflate" });
    const images = tiffImages(readFileSync(file))!;
    for (const [k, level] of images.entries()) {
      const size = [width, height].map((side) => Math.max(1, side >> k)) as [number, number];
      expect([level.width, level.height]).toEqual(size);
      const { data, info } = await sharp(file, { page: k, failOn: "warning" })
        .toColourspace(channels === 1 ? "b-w" : "srgb")
        .raw()
        .toBuffer({ resolveWithObject: true });
      expect([info.width, info.height, info.channels]).toEqual([...size, channels]);
      if (k === 0) expect(data.equals(bytesOf(image.data))).toBe(true);
    }
    const last = images.at(-1)!;
    expect(Math.max(last.width, last.height)).toBeLessThanOrEqual(256);
  });

  it.each<[number, number, 1 | 3]>([
    [600, 310, 3],
    [1031, 546, 1],
    [1, 1100, 3],
    [1030, 1, 3],
    // Its levels end at other rows of tiles than it does, and in the middle of strips.
    [515, 1047, 3],
  ])("has levels that are means of four pixels: %i × %i, %i", async (width, height, channels) => {
    const image = noise(width, height, channels);
    const file = await write(image, { compression: "deflate" });
    let above: PixelImage = image;
    for (let page = 1; above.width > 256 || above.height > 256; page++) {
      above = halved(above);
      const data = await sharp(file, { page })
        .toColourspace(channels === 1 ? "b-w" : "srgb")
        .raw()
        .toBuffer();
      expect(data.equals(bytesOf(above.data)), `level ${page}`).toBe(true);
    }
  });

  it("may be wider than a JPEG", async () => {
    const image = tissue(66_000, 9);
    const file = await write(image, {});
    expect(await sharp(file, { limitInputPixels: false }).metadata()).toMatchObject({ width: 66_000, height: 9 });
    const named = `${file}.svs`;
    renameSync(file, named);
    const slide = await Slide.find(named);
    const rows = await rowsOf(await slide!.read({ channels: 3 }), [7]);
    expect(rows.reduce((sum, level, k) => sum + Math.abs(level - image.data[k]!), 0) / rows.length).toBeLessThan(1);
  });

  it("is there whole or not at all", async () => {
    const reason = new Error("enough");
    await expect(write(tissue(300, 200), {}, AbortSignal.abort(reason))).rejects.toBe(reason);
    await expect(write({ ...tissue(300, 300), height: 400 }, {})).rejects.toThrow("rows are missing");
    expect(readdirSync(folder).filter((name) => name.startsWith(`${files}-`))).toEqual([]);
    expect(partials()).toEqual([]);
  });

  it.each([
    [
      "cannot be written",
      "write",
      () => Promise.reject(Object.assign(new Error("full"), { code: "ENOSPC" })),
      "the disk is full",
    ],
    ["is cut short", "readv", () => Promise.resolve({ bytesRead: 5 }), "only 5 bytes were read"],
  ])("is not there where its scratch file %s", async (_, name, act, problem) => {
    const image = tissue(300, 300);
    const file = fresh("out.tif");
    await using writer = await SlideWriter.create(file, { ...image, compression: "jpeg" });
    const handle = await open(import.meta.filename);
    const call = vi.spyOn(Object.getPrototypeOf(handle), name).mockImplementation(act);
    try {
      await writer.write(image.data);
      const { message } = await failure(writer.finish(), "OUTPUT");
      expect(message).toContain(problem);
      expect(message).toContain(file);
      expect(call).toHaveBeenCalledTimes(1);
    } finally {
      call.mockRestore();
      await handle.close();
    }
    await writer[Symbol.asyncDispose]();
    expect([partials(), existsSync(file)]).toEqual([[], false]);
  });

  it.skipIf(process.platform === "win32")("has a scratch file whose name is gone while it is written", async () => {
    await using writer = await SlideWriter.create(fresh("out.tif"), {
      width: 300,
      height: 300,
      channels: 3,
      compression: "jpeg",
    });
    await writer.write(new Uint8Array(300 * 100 * 3));
    expect(partials().length).toBe(1);
  });

  it("is not begun where the disk is too small for it", async () => {
    const huge = { width: 2e6, height: 2e6, channels: 3, compression: "jpeg" } as const;
    const { message, fix } = await failure(checkRoom(tmpdir(), huge), "OUTPUT");
    expect(message).toMatch(/takes up to 6000 GB as jpeg, and \d+(\.\d)? GB are free in/);
    expect(fix).toContain("--out");
    await failure(SlideWriter.create(fresh("huge.tif"), huge), "OUTPUT");
    expect(partials()).toEqual([]);
  });
});

it("what a killed process left behind goes, and nothing else", async () => {
  const dead = 2 ** 22 + 1;
  const names = [
    `.a.tif.${dead}.0123456789ab.partial`,
    // Of another machine, where that process may be running.
    `.a.tif.${dead}.00000000.0123456789ab.partial`,
    `.a.tif.${process.pid}.0123456789ab.partial`,
    `.a.tif.${dead}.partial`,
    "a.partial",
  ];
  for (const name of names) writeFileSync(path.join(folder, name), "");
  await removeStale(folder);
  expect(names.filter((name) => readdirSync(folder).includes(name))).toEqual(names.slice(1));
  await removeStale(path.join(folder, "missing"));
});
