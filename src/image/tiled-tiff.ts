import type { Resolution } from "./tiff.js";

/** An image of a tiled BigTIFF: all of a slide, or a level of it. */
export interface TiledImage {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  readonly compression: "jpeg" | "deflate";
  readonly resolution: Resolution | undefined;
  /** Side of its tiles, which are full: at the right and at the bottom they reach beyond it. */
  readonly tile: number;
  /** Where each tile begins in the file, and its bytes, row after row. */
  readonly places: readonly number[];
  readonly sizes: readonly number[];
}

const [SHORT, LONG, RATIONAL, LONG8] = [3, 4, 5, 16];
const BYTES: Readonly<Record<number, number>> = { [SHORT]: 2, [LONG]: 4, [RATIONAL]: 8, [LONG8]: 8 };

/** What a file begins with, once it is known where its first directory is. */
export function tiffHead(directory = 0): Buffer {
  const head = Buffer.alloc(16);
  head.write("II", "latin1");
  head.writeUInt16LE(43, 2);
  head.writeUInt16LE(8, 4);
  head.writeBigUInt64LE(BigInt(directory), 8);
  return head;
}

/** A positive number as a fraction of halves of 32 bits, as exact as they are. */
function fraction(value: number): [number, number] {
  const most = 2 ** 32 - 1;
  const below = Math.max(1, Math.floor(Math.min(most, most / value)));
  return [Math.min(most, Math.round(value * below)), below];
}

/** A directory's tags and their values, in order. Of a fraction the values are its halves. */
function tagsOf(image: TiledImage, isLevel: boolean): [tag: number, type: number, values: readonly number[]][] {
  const { width, height, channels, compression, resolution, tile, places, sizes } = image;
  const jpeg = compression === "jpeg";
  const [grey, rgb, ycc] = [1, 2, 6];
  const perUnit = resolution?.unit === "inch" ? 25.4 : 10;
  return [
    [254, LONG, [Number(isLevel)]],
    [256, LONG, [width]],
    [257, LONG, [height]],
    [258, SHORT, Array<number>(channels).fill(8)],
    [259, SHORT, [jpeg ? 7 : 8]],
    [262, SHORT, [channels === 1 ? grey : jpeg ? ycc : rgb]],
    [277, SHORT, [channels]],
    ...(resolution
      ? ([
          [282, RATIONAL, fraction(resolution.x * perUnit)],
          [283, RATIONAL, fraction(resolution.y * perUnit)],
          [296, SHORT, [resolution.unit === "inch" ? 2 : 3]],
        ] as [number, number, number[]][])
      : []),
    // Differences to the pixel on the left.
    ...(jpeg ? [] : ([[317, SHORT, [2]]] as [number, number, number[]][])),
    [322, LONG, [tile]],
    [323, LONG, [tile]],
    [324, LONG8, places],
    [325, LONG8, sizes],
    // Colours have their full resolution.
    ...(jpeg && channels === 3 ? ([[530, SHORT, [1, 1]]] as [number, number, number[]][]) : []),
  ];
}

/** The directories of a slide and its levels, to be written at `start`, where the first one stands. */
export function tiffDirectories(images: readonly TiledImage[], start: number): Buffer {
  const parts: Buffer[] = [];
  let at = start;
  for (const [number, image] of images.entries()) {
    const part = directory(tagsOf(image, number > 0), at, number + 1 < images.length);
    parts.push(part);
    at += part.length;
  }
  return Buffer.concat(parts);
}

function directory(tags: ReturnType<typeof tagsOf>, start: number, hasNext: boolean): Buffer {
  const isPair = (type: number) => type === RATIONAL;
  const bytesOf = ([, type, values]: (typeof tags)[number]) => BYTES[type]! * (isPair(type) ? 1 : values.length);
  const head = 8 + 20 * tags.length + 8;
  const beyond = tags.map((tag) => (bytesOf(tag) > 8 ? 8 * Math.ceil(bytesOf(tag) / 8) : 0));
  const length = head + beyond.reduce((sum, bytes) => sum + bytes, 0);
  const bytes = Buffer.alloc(length);
  bytes.writeBigUInt64LE(BigInt(tags.length), 0);
  let free = head;
  for (const [index, [tag, type, values]] of tags.entries()) {
    const at = 8 + 20 * index;
    bytes.writeUInt16LE(tag, at);
    bytes.writeUInt16LE(type, at + 2);
    bytes.writeBigUInt64LE(BigInt(isPair(type) ? 1 : values.length), at + 4);
    let place = at + 12;
    if (beyond[index]! > 0) {
      bytes.writeBigUInt64LE(BigInt(start + free), place);
      place = free;
      free += beyond[index]!;
    }
    for (const value of values) {
      if (type === SHORT) place = bytes.writeUInt16LE(value, place);
      else if (type === LONG8) place = bytes.writeBigUInt64LE(BigInt(value), place);
      else place = bytes.writeUInt32LE(value, place);
    }
  }
  bytes.writeBigUInt64LE(hasNext ? BigInt(start + length) : 0n, head - 8);
  return bytes;
}
