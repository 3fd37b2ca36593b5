import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { deflateSync } from "node:zlib";
import sharp, { type Sharp } from "sharp";
import { afterAll, expect } from "vitest";
import { type ErrorCode, StylizingError } from "../../src/errors.js";
import type { PixelImage } from "../../src/image/types.js";
import { mulberry32 } from "../../src/random.js";

/** A folder of this test file's own, gone when its tests are done. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "stylizing-image-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Seeded noise, the same on every machine. */
export function noise(width: number, height: number, channels: 1 | 3, seed = 1): PixelImage {
  const random = mulberry32(seed);
  const data = Uint8Array.from({ length: width * height * channels }, () => Math.floor(256 * random()));
  return { data, width, height, channels };
}

/** Smooth colours, which lossy formats keep within a few levels. */
export function gradient(width: number, height: number): PixelImage {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      data[i++] = Math.round(60 + (140 * x) / width);
      data[i++] = Math.round(200 - (120 * y) / height);
      data[i++] = Math.round(90 + (60 * (x + y)) / (width + height));
    }
  }
  return { data, width, height, channels: 3 };
}

export const raw = ({ data, width, height, channels }: PixelImage): Sharp => sharp(data, { raw: { width, height, channels } });

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!));
  return most;
}

/** The error a promise ends in, checked to be ours: right code, message with the fix in it. */
export async function failure(work: Promise<unknown>, code: ErrorCode): Promise<StylizingError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(StylizingError);
  const ours = error as StylizingError;
  expect(ours.code).toBe(code);
  expect(ours.fix.length).toBeGreaterThan(10);
  expect(ours.message).toContain(ours.fix);
  return ours;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function chunk(type: string, body: Uint8Array): Buffer {
  const inner = Buffer.concat([Buffer.from(type, "latin1"), body]);
  const crc = ~inner.reduce((c, byte) => crcTable[(c ^ byte) & 255]! ^ (c >>> 8), ~0) >>> 0;
  const out = Buffer.alloc(inner.length + 8);
  out.writeUInt32BE(body.length, 0);
  inner.copy(out, 4);
  out.writeUInt32BE(crc, inner.length + 4);
  return out;
}

/** An all-white 1-bit PNG of any size: a bomb, 20 000 × 20 000 pixels in some 50 kB. */
export function whitePng(width: number, height: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([1, 0, 0, 0, 0], 8);
  const stride = 1 + Math.ceil(width / 8);
  const rows = Buffer.alloc(stride * height, 255);
  for (let y = 0; y < height; y++) rows[y * stride] = 0;
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
}

/** An uncompressed grey TIFF with the tags given in addition; `format` 1 unsigned, 2 signed, 3 floating point. */
export function greyTiff(
  width: number,
  data: Buffer,
  bits: number,
  format = 1,
  extra: [number, number, number, number][] = [],
): Buffer {
  const height = (data.length * 8) / bits / width;
  const count = 10 + extra.length;
  const offset = 10 + count * 12 + 4;
  const tags: [number, number, number, number][] = [
    [256, 3, 1, width],
    [257, 3, 1, height],
    [258, 3, 1, bits],
    [259, 3, 1, 1],
    [262, 3, 1, 1],
    [273, 4, 1, offset],
    [277, 3, 1, 1],
    [278, 3, 1, height],
    [279, 4, 1, data.length],
    [339, 3, 1, format],
    ...extra,
  ];
  const out = Buffer.alloc(offset + data.length);
  out.write("II");
  out.writeUInt16LE(42, 2);
  out.writeUInt32LE(8, 4);
  out.writeUInt16LE(count, 8);
  for (const [i, [tag, type, length, value]] of tags.sort((a, b) => a[0] - b[0]).entries()) {
    const at = 10 + i * 12;
    out.writeUInt16LE(tag, at);
    out.writeUInt16LE(type, at + 2);
    out.writeUInt32LE(length, at + 4);
    if (type === 3) out.writeUInt16LE(value, at + 8);
    else out.writeUInt32LE(value, at + 8);
  }
  data.copy(out, offset);
  return out;
}

/** An image in a TIFF of several. */
export interface TiffPage {
  width: number;
  height: number;
  /** Bits of a sample, 8 by default, and samples of a pixel, 3. */
  bits?: 8 | 16;
  samples?: number;
  data: Uint8Array;
  /** NewSubfileType. */
  subfile?: number;
  /** ExtraSamples, which is left away where it is not given. */
  extra?: number[];
  /** Images that only this one refers to. */
  below?: TiffPage[];
}

/** A TIFF with uncompressed images in a chain; of either byte order, and with offsets of 64 bits. */
export function tiffOf(pages: readonly TiffPage[], { little = true, big = false } = {}): Buffer {
  const word = big ? 8 : 4;
  const number = (value: number, size: number): Buffer => {
    const bytes = Buffer.alloc(size);
    if (size === 8) bytes[little ? "writeBigUInt64LE" : "writeBigUInt64BE"](BigInt(value));
    else bytes[little ? "writeUIntLE" : "writeUIntBE"](value, 0, size);
    return bytes;
  };
  const parts: Buffer[] = [];
  let size = big ? 16 : 8;
  const add = (bytes: Uint8Array): number => {
    const at = size;
    const padded = Buffer.alloc(bytes.length + (bytes.length % 2));
    padded.set(bytes);
    parts.push(padded);
    size += padded.length;
    return at;
  };
  const directory = (page: TiffPage, next: number): number => {
    const { width, height, bits = 8, samples = 3, data, subfile = 0, extra, below = [] } = page;
    const others = below.map((one) => directory(one, 0));
    const at = add(data);
    const tags: [tag: number, bytes: 2 | 4, values: number[]][] = [
      [254, 4, [subfile]],
      [256, 4, [width]],
      [257, 4, [height]],
      [258, 2, Array<number>(samples).fill(bits)],
      [259, 2, [1]],
      [262, 2, [samples < 3 ? 1 : 2]],
      [273, 4, [at]],
      [277, 2, [samples]],
      [278, 4, [height]],
      [279, 4, [data.length]],
      ...(others.length > 0 ? ([[330, 4, others]] as [number, 4, number[]][]) : []),
      ...(extra ? ([[338, 2, extra]] as [number, 2, number[]][]) : []),
    ];
    const entries = tags.map(([tag, bytes, values]) => {
      const all = Buffer.concat(values.map((value) => number(value, bytes)));
      const inline = Buffer.alloc(word);
      if (all.length <= word) inline.set(all);
      else inline.set(number(add(all), word));
      return Buffer.concat([number(tag, 2), number(bytes === 2 ? 3 : 4, 2), number(values.length, word), inline]);
    });
    return add(Buffer.concat([number(entries.length, big ? 8 : 2), ...entries, number(next, word)]));
  };
  let next = 0;
  for (const page of [...pages].reverse()) next = directory(page, next);
  const head = [Buffer.from(little ? "II" : "MM"), number(big ? 43 : 42, 2), ...(big ? [number(8, 2), number(0, 2)] : [])];
  return Buffer.concat([...head, number(next, word), ...parts]);
}
