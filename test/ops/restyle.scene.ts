import type { PixelImage } from "../../src/image/types.js";
import { type Batch, type Item, layOut } from "../../src/restyle/batch.js";
import { memo, type OpCase, randomOf } from "../support/op.js";
import { PUBLISHED_IMAGE } from "./published.js";
import type { Vector } from "./restyle.oracle.js";

/** Images of a case of restyling. */
export interface ImagesCase extends OpCase {
  sizes: readonly (readonly [width: number, height: number])[];
  channels?: 1 | 3;
  /** What the images show: tissue of two stains with glass beside it, or one colour alone. */
  shows?: "tissue" | "flat";
  /** Half the band of Fourier sums. */
  band?: number;
}

/** The images of a case, drawn when they are looked at, and how they lie. */
export interface Scene {
  images: () => readonly PixelImage[];
  batch: Batch;
  content: () => Uint32Array;
}

/** Lays out a case's images. */
export function sceneOf(one: ImagesCase, jobs: (index: number) => Partial<Item> = () => ({})): Scene {
  const { channels = 3, sizes, band } = one;
  const items = sizes.map(([width, height], index) => ({
    content: { data: new Uint8Array(width * height * channels), width, height, channels },
    ...{ asked: { rows: [], given: [false, false] as const }, strength: 1, style: undefined, band },
    ...jobs(index),
  }));
  const images = () => imagesOf(one);
  const content = memo(() => {
    const drawn = items.map((item, index) => ({ ...item, content: images()[index]! }));
    return new Uint32Array(layOut(drawn, [], 0).content.buffer);
  });
  return { images, batch: layOut(items, [], 0), content };
}

const imagesMade = new Map<string, () => PixelImage[]>();

function imagesOf(one: ImagesCase): PixelImage[] {
  const key = `${one.name} ${JSON.stringify(one.sizes)} ${one.channels} ${one.shows}`;
  const make =
    imagesMade.get(key) ??
    memo(() => {
      const { channels = 3, shows = "tissue" } = one;
      const random = randomOf(one);
      return one.sizes.map(([width, height]) => {
        const data = new Uint8Array(width * height * channels);
        for (let pixel = 0; pixel < width * height; pixel++) {
          const glass = pixel % width > 0.7 * width;
          const [h, e] = [random.uniform(0, 1.6), random.uniform(0, 1)];
          for (let c = 0; c < channels; c++) {
            const density = [0.65, 0.7, 0.29][c]! * h + [0.07, 0.99, 0.11][c]! * e;
            const level = glass ? 240 + random.integer(5) : 240 * Math.exp(-density);
            data[pixel * channels + c] = shows === "flat" ? [190, 40, 140][c]! : Math.round(level);
          }
        }
        return { data, width, height, channels };
      });
    });
  imagesMade.set(key, make);
  return make();
}

/** The levels of a pixel; grey is three equal ones. */
export const levelsOf = ({ data, channels }: PixelImage, pixel: number): Vector =>
  [0, 1, 2].map((c) => data[pixel * channels + (channels === 1 ? 0 : c)]!);

export const allLevels = (image: PixelImage): Vector[] =>
  Array.from({ length: image.width * image.height }, (_, pixel) => levelsOf(image, pixel));

/** Bytes of results as kernels write them, four pixels at a time; `colour` gives three values in [0, 1] of a pixel. */
export function resultBytes({ images: all, batch }: Scene, colour: (image: number, pixel: number) => Vector): Uint8Array {
  const bytes = new Uint8Array(4 * batch.resultWords);
  for (const [index, { width, height, channels }] of all().entries()) {
    const stride = 4 * channels * Math.ceil(width / 4);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const value = colour(index, y * width + x);
        for (let c = 0; c < channels; c++)
          bytes[4 * batch.pieces[index]!.resultWord + y * stride + x * channels + c] = Math.floor(
            255 * Math.min(1, Math.max(0, value[c]!)) + 0.5,
          );
      }
  }
  return bytes;
}

/** Sizes of images for tests and, four at a time, for benches. */
export const SIZES = {
  one: [[1, 1]],
  odd: [
    [7, 5],
    [61, 37],
    [1, 90],
    [130, 3],
  ],
} as const;

export const benchSizes = (batch: number): [number, number][] =>
  Array.from({ length: Math.min(batch, 4) }, () => [PUBLISHED_IMAGE.imageSize, PUBLISHED_IMAGE.imageSize]);

/** Whole numbers of a region that was read as bytes. */
export const wordAt = (bytes: ArrayLike<number>, at: number): number =>
  (bytes[4 * at]! | (bytes[4 * at + 1]! << 8) | (bytes[4 * at + 2]! << 16) | (bytes[4 * at + 3]! << 24)) >>> 0;
