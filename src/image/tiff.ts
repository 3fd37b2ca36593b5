import { readSync } from "node:fs";

/** What a TIFF says of an image in it, beyond what libvips tells. */
export interface TiffImage {
  readonly width: number;
  readonly height: number;
  /** A smaller version of another image, a mask, or, in a slide, its label. */
  readonly reduced: boolean;
  /** Samples of a pixel behind those of its colours, and what the first of them is declared to be: 0 or nothing is no alpha. */
  readonly extra: number;
  readonly extraKind: number | undefined;
  /** Samples of a pixel, all of them, and bits of the first. */
  readonly samples: number;
  readonly bits: number;
  /** By its number in the standard, or in the list of private ones. */
  readonly compression: number;
  /** As EXIF has it: 1 is upright. */
  readonly orientation: number;
  /** Sides of its tiles; without them it lies in strips. */
  readonly tile: { width: number; height: number } | undefined;
  readonly resolution: Resolution | undefined;
}

/** Pixels a millimetre, and the unit that a file says it in. */
export interface Resolution {
  readonly x: number;
  readonly y: number;
  readonly unit: "inch" | "cm";
}

const TAGS = {
  ...{ subfile: 254, oldSubfile: 255, width: 256, height: 257, bits: 258, compression: 259, photometric: 262 },
  ...{ description: 270, orientation: 274, samples: 277, xResolution: 282, yResolution: 283, unit: 296 },
  ...{ tileWidth: 322, tileHeight: 323, extra: 338 },
} as const;
type Tag = keyof typeof TAGS;
const NAMES = new Map<number, Tag>(Object.entries(TAGS).map(([name, tag]) => [tag, name as Tag]));
const [TEXT, RATIONAL] = [2, 5];
/** Bytes of the types that wanted tags have: BYTE, ASCII, SHORT, LONG, RATIONAL, LONG8. */
const BYTES: Readonly<Record<number, 1 | 2 | 4 | 8>> = { 1: 1, [TEXT]: 1, 3: 2, 4: 4, [RATIONAL]: 8, 16: 8 };
/** Of a description that is read; scanners write a few hundred. */
const MOST_TEXT = 2 ** 16;
/** Samples that colours take, by photometric interpretation; CMYK has four, and grey and palettes one. */
const coloursOf = (photometric: number): number => ([2, 6, 8, 9, 10].includes(photometric) ? 3 : photometric === 5 ? 4 : 1);

/** `length` bytes of a file from `at` on. @throws RangeError where it ends before */
type Bytes = (at: number, length: number) => DataView;

function bytesIn(bytes: Uint8Array): Bytes {
  return (at, length) => {
    if (at + length > bytes.length) throw new RangeError("behind the end");
    return new DataView(bytes.buffer, bytes.byteOffset + at, length);
  };
}

/** Bytes read at a time: a directory and most of what it refers to. */
const PAGE = 2 ** 14;

/** Of an open file, of which no more is read than is asked for. */
function bytesOf(file: number): Bytes {
  let page = new Uint8Array(0);
  let first = 0;
  return (at, length) => {
    if (at < first || at + length > first + page.length) {
      const buffer = new Uint8Array(Math.max(PAGE, length));
      page = buffer.subarray(0, readSync(file, buffer, 0, buffer.length, at));
      first = at;
    }
    return bytesIn(page)(at - first, length);
  };
}

/**
 * The images in a TIFF's chain, in its order, which is that of libvips' pages; sub-images are not in it.
 * @param file its bytes, or the number of an open file.
 * @returns undefined for other files, and where the chain is damaged
 */
export function tiffImages(file: Uint8Array | number): TiffImage[] | undefined {
  try {
    return readChain(typeof file === "number" ? bytesOf(file) : bytesIn(file));
  } catch {
    // It points behind its end; libvips says what is wrong.
    return undefined;
  }
}

function readChain(bytes: Bytes): TiffImage[] | undefined {
  const mark = String.fromCharCode(bytes(0, 2).getUint8(0), bytes(0, 2).getUint8(1));
  if (mark !== "II" && mark !== "MM") return undefined;
  const little = mark === "II";
  const read = (at: number, size: 1 | 2 | 4 | 8): number => {
    const view = bytes(at, size);
    if (size === 8) return Number(view.getBigUint64(0, little));
    return size === 4 ? view.getUint32(0, little) : size === 2 ? view.getUint16(0, little) : view.getUint8(0);
  };
  const version = read(2, 2);
  if (version !== 42 && version !== 43) return undefined;
  const big = version === 43;
  /** Of a BigTIFF offsets and counts are twice as wide. */
  const word = big ? 8 : 4;
  const entry = 4 + 2 * word;
  /** What a scanner says of an image is worth nothing where it cannot be read, and no reason to give up the image. */
  const ifThere = <T>(value: () => T): T | undefined => {
    try {
      return value();
    } catch {
      return undefined;
    }
  };
  /** The first value of each tag that is wanted, and the description. */
  const readTags = (first: number, count: number) => {
    const found: Partial<Record<Tag, number>> = {};
    let text: string | undefined;
    for (let at = first; at < first + count * entry; at += entry) {
      const type = read(at + 2, 2);
      const [name, size] = [NAMES.get(read(at, 2)), BYTES[type]];
      if (name === undefined || size === undefined) continue;
      const [values, value] = [read(at + 4, word), at + 4 + word];
      const place = values * size > word ? read(value, word) : value;
      if (type === TEXT) {
        if (name === "description") text = ifThere(() => latin(bytes(place, Math.min(values, MOST_TEXT))));
      } else if (type === RATIONAL) {
        if (name === "xResolution" || name === "yResolution")
          found[name] = ifThere(() => read(place, 4) / read(place + 4, 4)) ?? 0;
      } else found[name] = read(place, size);
    }
    return { found, text };
  };
  const images: TiffImage[] = [];
  const seen = new Set<number>();
  for (let at = read(word, word); at !== 0; ) {
    // A circle.
    if (seen.has(at)) return undefined;
    seen.add(at);
    const count = read(at, big ? 8 : 2);
    const first = at + (big ? 8 : 2);
    const { found, text } = readTags(first, count);
    const { subfile = 0, oldSubfile, width = 0, height = 0, photometric = 1, samples = 1, extra } = found;
    const { bits = 1, compression = 1, orientation = 1, tileWidth = 0, tileHeight = 0 } = found;
    images.push({
      ...{ width, height, samples, bits, compression, orientation },
      // Bit 0: reduced; bit 2: a mask. The tag before it had 2 for reduced.
      reduced: (subfile & 0b101) !== 0 || oldSubfile === 2,
      extra: Math.max(0, samples - coloursOf(photometric)),
      extraKind: extra,
      tile: tileWidth > 0 && tileHeight > 0 ? { width: tileWidth, height: tileHeight } : undefined,
      resolution: resolutionOf(found, text),
    });
    at = read(first + count * entry, word);
  }
  return images.length > 0 ? images : undefined;
}

const latin = ({ buffer, byteOffset, byteLength }: DataView): string =>
  Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength).toString("latin1");

/** Pixels a millimetre that a resolution can have: from one in a metre to a thousand in a micrometre. */
const isPossible = (density: number): boolean => density >= 1e-3 && density <= 1e6;

/** What a scanner's description says, which Aperio's tags do not; else what the tags say in a unit. */
function resolutionOf({ xResolution = 0, yResolution = xResolution, unit = 2 }: Partial<Record<Tag, number>>, text?: string) {
  const [, micrometres] = /^Aperio.*\|\s*MPP\s*=\s*([\d.]+)/is.exec(text ?? "") ?? [];
  const density = 1000 / Number(micrometres);
  if (isPossible(density)) return { x: density, y: density, unit: "cm" } as const;
  const millimetres = unit === 2 ? 25.4 : unit === 3 ? 10 : 0;
  const [x, y] = [xResolution / millimetres, yResolution / millimetres];
  return isPossible(x) && isPossible(y) ? ({ x, y, unit: unit === 2 ? "inch" : "cm" } as const) : undefined;
}

/**
 * Which images of a chain are pages: neither declared to be reduced, nor the first one in the same shape and smaller, as the levels
 * and the thumbnail of a slide are where nothing is declared. The first is always one.
 */
export function pagesAmong(images: readonly TiffImage[]): number[] {
  const [first] = images;
  return [...images.keys()].filter((index) => {
    const { width, height, reduced } = images[index]!;
    const [across, down] = [first!.width / width, first!.height / height];
    const level = across >= 1.5 && Math.abs(across / down - 1) < 0.02;
    return index === 0 || !(reduced || level);
  });
}
