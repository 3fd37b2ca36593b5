/** An image that is written as an uncompressed BigTIFF: its bytes are {@link tiffHead}, all rows from the top, {@link tiffTail}. */
export interface StripImage {
  width: number;
  height: number;
  channels: 1 | 3;
}

const HEAD = 16;
/** Rows of a strip. Strips and not tiles: rows are written in their order, and read again in their order. */
const STRIP = 16;
const [SHORT, LONG8] = [3, 16];

const strideOf = ({ width, channels }: StripImage): number => width * channels;
const pixelsOf = (image: StripImage): number => strideOf(image) * image.height;
/** Where the directory stands: at the next word of eight bytes. */
const directoryOf = (image: StripImage): number => HEAD + 8 * Math.ceil(pixelsOf(image) / 8);

/** What stands before the pixels. */
export function tiffHead(image: StripImage): Uint8Array {
  const head = Buffer.alloc(HEAD);
  head.write("II", "latin1");
  head.writeUInt16LE(43, 2);
  head.writeUInt16LE(8, 4);
  head.writeBigUInt64LE(BigInt(directoryOf(image)), 8);
  return head;
}

/** What stands behind them: the directory, and where the strips are. */
export function tiffTail(image: StripImage): Uint8Array {
  const { width, height, channels } = image;
  const stride = strideOf(image);
  const strips = Array.from({ length: Math.ceil(height / STRIP) }, (_, index) => index * STRIP);
  const places = strips.map((top) => HEAD + top * stride);
  const sizes = strips.map((top) => Math.min(STRIP, height - top) * stride);
  const [grey, rgb] = [1, 2];
  const tags: [tag: number, type: number, values: number[]][] = [
    [256, LONG8, [width]],
    [257, LONG8, [height]],
    [258, SHORT, Array(channels).fill(8)],
    [259, SHORT, [1]],
    [262, SHORT, [channels === 1 ? grey : rgb]],
    [273, LONG8, places],
    [277, SHORT, [channels]],
    [278, LONG8, [STRIP]],
    [279, LONG8, sizes],
  ];
  const padding = directoryOf(image) - HEAD - pixelsOf(image);
  const entries = padding + 8;
  const arrays = entries + 20 * tags.length + 8;
  const tail = Buffer.alloc(arrays + 8 * (places.length + sizes.length));
  tail.writeBigUInt64LE(BigInt(tags.length), padding);
  let free = arrays;
  for (const [index, [tag, type, values]] of tags.entries()) {
    const at = entries + 20 * index;
    tail.writeUInt16LE(tag, at);
    tail.writeUInt16LE(type, at + 2);
    tail.writeBigUInt64LE(BigInt(values.length), at + 4);
    const own = values.length * (type === SHORT ? 2 : 8) <= 8;
    const start = own ? at + 12 : free;
    if (!own) {
      tail.writeBigUInt64LE(BigInt(HEAD + pixelsOf(image) + free), at + 12);
      free += 8 * values.length;
    }
    for (const [k, value] of values.entries()) {
      if (type === SHORT) tail.writeUInt16LE(value, start + 2 * k);
      else tail.writeBigUInt64LE(BigInt(value), start + 8 * k);
    }
  }
  return tail;
}
