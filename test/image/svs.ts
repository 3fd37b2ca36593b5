import { writeFileSync } from "node:fs";
import sharp from "sharp";
import type { PixelImage } from "../../src/image/types.js";

/** A classic TIFF's directory: where it stands, its entries of twelve bytes, and where the place of the next one is written. */
function directory(bytes: Buffer, at: number) {
  const count = bytes.readUInt16LE(at);
  const entries = Array.from({ length: count }, (_, k) => bytes.subarray(at + 2 + 12 * k, at + 14 + 12 * k));
  return { entries, next: at + 2 + 12 * count };
}

const entry = (tag: number, type: number, count: number, value: number): Buffer => {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16LE(tag, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.writeUInt32LE(count, 4);
  bytes.writeUInt32LE(value, 8);
  return bytes;
};

const written = (entries: readonly Buffer[], next: number): Buffer => {
  const sorted = [...entries].sort((a, b) => a.readUInt16LE(0) - b.readUInt16LE(0));
  const bytes = Buffer.alloc(6 + 12 * sorted.length);
  bytes.writeUInt16LE(sorted.length, 0);
  for (const [k, one] of sorted.entries()) one.copy(bytes, 2 + 12 * k);
  bytes.writeUInt32LE(next, bytes.length - 4);
  return bytes;
};

const even = (bytes: Buffer): Buffer => (bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(1)]));

/** Gives the first image of a little-endian TIFF other tags: numbers, which replace those that are there. */
export function withTags(tiff: Buffer, tags: Readonly<Record<number, number>>, description?: string): Buffer {
  const bytes = even(Buffer.from(tiff));
  const { entries, next } = directory(bytes, bytes.readUInt32LE(4));
  const text = even(Buffer.from(`${description ?? ""}\0`, "latin1"));
  const own = [
    ...entries.filter((one) => tags[one.readUInt16LE(0)] === undefined),
    ...Object.entries(tags).map(([tag, value]) => entry(Number(tag), 4, 1, value)),
    ...(description === undefined ? [] : [entry(270, 2, description.length + 1, bytes.length)]),
  ];
  const place = bytes.length + text.length;
  bytes.writeUInt32LE(place, 4);
  return Buffer.concat([bytes, text, written(own, bytes.readUInt32LE(next))]);
}

/** Adds a label at the end of a little-endian TIFF's chain, as scanners do: red, and declared to be reduced. */
function withLabel(tiff: Buffer, width = 40, height = 30): Buffer {
  const bytes = even(Buffer.from(tiff));
  let next = 4;
  while (bytes.readUInt32LE(next) !== 0) next = directory(bytes, bytes.readUInt32LE(next)).next;
  const pixels = Buffer.alloc(width * height * 3);
  for (let at = 0; at < pixels.length; at += 3) pixels[at] = 255;
  const bits = Buffer.from([8, 0, 8, 0, 8, 0]);
  const entries = [
    ...[entry(254, 4, 1, 1), entry(256, 4, 1, width), entry(257, 4, 1, height), entry(258, 3, 3, bytes.length + pixels.length)],
    ...[entry(259, 3, 1, 1), entry(262, 3, 1, 2), entry(273, 4, 1, bytes.length), entry(277, 3, 1, 3)],
    ...[entry(278, 4, 1, height), entry(279, 4, 1, pixels.length)],
  ];
  bytes.writeUInt32LE(bytes.length + pixels.length + bits.length, next);
  return Buffer.concat([bytes, pixels, bits, written(entries, 0)]);
}

/** Pale glass, and below the middle on the left a field of stained tissue. */
export function tissue(width: number, height: number, channels: 1 | 3 = 3): PixelImage {
  const data = new Uint8Array(width * height * channels).fill(244);
  for (let y = height >> 1; y < 0.9 * height; y++)
    for (let x = Math.floor(0.1 * width); x < 0.6 * width; x++)
      for (let c = 0; c < channels; c++)
        data[(y * width + x) * channels + c] = 150 + 50 * Math.sin(x / 9 + c) * Math.cos(y / 7) - 60 * Number(c === 1);
  return { data, width, height, channels };
}

export interface SvsOptions {
  width: number;
  height: number;
  channels?: 1 | 3;
  micrometres?: number;
  compression?: "jpeg" | "deflate";
  /** Side of its tiles. */
  tile?: number;
}

/** A file as Aperio's scanners write them: tiles of JPEG in YCbCr, levels, a description with the size of a pixel, and a label. */
export async function svsOf(options: SvsOptions): Promise<Buffer> {
  const { width, height, channels = 3, micrometres = 0.2525, compression = "jpeg", tile = 256 } = options;
  const { data } = tissue(width, height, channels);
  const tiff = await sharp(data, { raw: { width, height, channels } })
    .toColourspace(channels === 1 ? "b-w" : "srgb")
    .tiff({ compression, quality: 80, tile: true, tileWidth: tile, tileHeight: tile, pyramid: true })
    .toBuffer();
  const size = `${width}x${height} [0,0 ${width}x${height}] (${tile}x${tile}) JPEG/YCC Q=80`;
  const description = `Aperio Image Library v12.0.15 \r\n${size}|AppMag = 40|MPP = ${micrometres}|Left = 25.6`;
  return withLabel(withTags(tiff, {}, description));
}

export async function svsFile(file: string, options: SvsOptions): Promise<string> {
  writeFileSync(file, await svsOf(options));
  return file;
}
