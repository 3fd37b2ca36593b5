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
