/** What a TIFF says of an image in it, beyond what libvips tells. */
export interface TiffImage {
  readonly width: number;
  readonly height: number;
  /** A smaller version of another image, a mask, or, in a slide, its label. */
  readonly reduced: boolean;
  /** Samples of a pixel behind those of its colours, and what the first of them is declared to be: 0 or nothing is no alpha. */
  readonly extra: number;
  readonly extraKind: number | undefined;
}

const TAGS = { subfile: 254, oldSubfile: 255, width: 256, height: 257, photometric: 262, samples: 277, extra: 338 } as const;
type Tag = keyof typeof TAGS;
const NAMES = new Map<number, Tag>(Object.entries(TAGS).map(([name, tag]) => [tag, name as Tag]));
/** Bytes of the types that whole numbers have: BYTE, SHORT, LONG, LONG8. */
const BYTES: Readonly<Record<number, 1 | 2 | 4 | 8>> = { 1: 1, 3: 2, 4: 4, 16: 8 };
/** Samples that colours take, by photometric interpretation; CMYK has four, and grey and palettes one. */
const coloursOf = (photometric: number): number => ([2, 6, 8, 9, 10].includes(photometric) ? 3 : photometric === 5 ? 4 : 1);

/**
 * The images in a TIFF's chain, in its order, which is that of libvips' pages; sub-images are not in it.
 * @returns undefined for other files, and where the chain is damaged
 */
export function tiffImages(bytes: Uint8Array): TiffImage[] | undefined {
  const mark = bytes.length < 8 ? "" : String.fromCharCode(bytes[0]!, bytes[1]!);
  if (mark !== "II" && mark !== "MM") return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = mark === "II";
  const version = view.getUint16(2, little);
  if (version !== 42 && version !== 43) return undefined;
  const big = version === 43;
  const read = (at: number, size: 1 | 2 | 4 | 8): number => {
    if (size === 8) return Number(view.getBigUint64(at, little));
    return size === 4 ? view.getUint32(at, little) : size === 2 ? view.getUint16(at, little) : view.getUint8(at);
  };
  /** Of a BigTIFF offsets and counts are twice as wide. */
  const word = big ? 8 : 4;
  const entry = 4 + 2 * word;
  /** The first value of each tag that is wanted. */
  const readTags = (first: number, count: number): Partial<Record<Tag, number>> => {
    const found: Partial<Record<Tag, number>> = {};
    for (let at = first; at < first + count * entry; at += entry) {
      const [name, size] = [NAMES.get(read(at, 2)), BYTES[read(at + 2, 2)]];
      if (name === undefined || size === undefined) continue;
      const value = at + 4 + word;
      found[name] = read(read(at + 4, word) * size > word ? read(value, word) : value, size);
    }
    return found;
  };
  try {
    const images: TiffImage[] = [];
    const seen = new Set<number>();
    for (let at = read(word, word); at !== 0; ) {
      // A circle.
      if (seen.has(at)) return undefined;
      seen.add(at);
      const count = read(at, big ? 8 : 2);
      const first = at + (big ? 8 : 2);
      const { subfile = 0, oldSubfile, width = 0, height = 0, photometric = 1, samples = 1, extra } = readTags(first, count);
      images.push({
        width,
        height,
        // Bit 0: reduced; bit 2: a mask. The tag before it had 2 for reduced.
        reduced: (subfile & 0b101) !== 0 || oldSubfile === 2,
        extra: Math.max(0, samples - coloursOf(photometric)),
        extraKind: extra,
      });
      at = read(first + count * entry, word);
    }
    return images.length > 0 ? images : undefined;
  } catch {
    // It points behind its end; libvips says what is wrong.
    return undefined;
  }
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
