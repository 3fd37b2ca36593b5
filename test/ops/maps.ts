import type { Profile } from "../../src/gpu/profile.js";
import { type View, view } from "../../src/gpu/view.js";
import { type MapsShape, mapsElements, paddedChannels } from "../../src/ops/features.js";
import { kept, packed, roundedSlack } from "../support/elements.js";
import { behind, type Contents, flat, inWords, type OpCase, type Output, type Result, sentinels } from "../support/op.js";
import type { Random } from "../support/random.js";
import { perBatch } from "./published.js";

/** What the ops of feature maps share. Oracles have maps as [images, side, side, channels], without border and padding. */

export interface MapsCase extends OpCase, MapsShape {
  /** Images in front of those used, in every operand. */
  front?: number;
}

/** Sides and channels as VGG-19 and its corners have them; `front` puts NaN before what an op may use. */
export const mapsCases: readonly MapsCase[] = [
  { name: "one number", images: 1, side: 1, channels: 1 },
  { name: "five images of one pixel", images: 5, side: 1, channels: 512 },
  { name: "windows of one image", images: 2, side: 2, channels: 3, front: 1 },
  { name: "an odd side and one channel", images: 5, side: 3, channels: 1, front: 2 },
  { name: "five channels", images: 2, side: 7, channels: 5, front: 1 },
  { name: "a strip and a part of one", images: 2, side: 10, channels: 70, front: 3 },
  { name: "more pixels than lanes", images: 1, side: 21, channels: 16 },
  { name: "sixty-four channels", images: 1, side: 32, channels: 64, front: 1 },
  { name: "a published image's side", images: 1, side: 224, channels: 4 },
];

/** Levels of VGG-19 over published images. */
export const levelCases: readonly MapsCase[] = perBatch(({ bench, title, batch }) =>
  batch > 8
    ? []
    : [64, 128, 256, 512, 512, 512].map((channels, level) => ({
        name: `${title}: level ${level + 1}`,
        bench,
        images: batch,
        side: 224 >> level,
        channels,
      })),
);

/** Channels of an image: bytes have statistics of at most four of them. */
export const planesCases: readonly MapsCase[] = mapsCases.filter(({ channels }) => channels <= 5);

/** Published images as planes. */
export const imageCases: readonly MapsCase[] = perBatch(({ bench, title, batch }) => [
  { name: `${title}: images`, bench, images: batch, side: 224, channels: 3 },
]);

export const countOf = ({ images, side, channels }: MapsShape): number => images * channels * side ** 2;

/** Elements of maps in front of those used. */
export const frontOf = ({ front = 0 }: MapsCase, shape: MapsShape): number => front * mapsElements({ ...shape, images: 1 });

export const pooled = <S extends MapsShape>(shape: S): S => ({ ...shape, side: Math.floor(shape.side / 2) });

export const shapeOf = ({ images, side, channels }: MapsShape): string => `${images} × ${side} × ${side} × ${channels}`;

type Numbers = ArrayLike<number>;

/** Maps [images, side, side, channels] with border and padding. */
export function bordered({ images, side, channels }: MapsShape, values: Numbers, border: number): Float32Array {
  const width = side + 2;
  const stride = paddedChannels(channels);
  const output = new Float32Array(images * width * width * stride).fill(border);
  for (let row = 0; row < images * side; row++) {
    const [image, y] = [Math.floor(row / side), row % side];
    for (let x = 0; x < side; x++) {
      const to = ((image * width + y + 1) * width + x + 1) * stride;
      const from = (row * side + x) * channels;
      for (let c = 0; c < stride; c++) output[to + c] = c < channels ? values[from + c]! : 0;
    }
  }
  return output;
}

/** An op's bordered maps behind those of `front` images; the border is NaN, which no op here may use. */
export function mapsInput(contents: Contents, profile: Profile, shape: MapsShape, values: () => Numbers, front = 0): View {
  const first = front * mapsElements({ ...shape, images: 1 });
  const buffer = contents.add(() => packed(profile, behind(first, bordered(shape, values(), Number.NaN))));
  return mapsView(buffer, shape, first);
}

const mapsView = (buffer: GPUBuffer, shape: MapsShape, first: number): View =>
  view(buffer, "elem", shape.images * (shape.side + 2) ** 2, paddedChannels(shape.channels), { first });

/** What an op leaves of a border; a test's own number, so that writing zeros there shows as well. */
const BORDER = 77;

/** Bordered maps that an op writes behind those of `front` images, and what is to come out: their border has to stay; `old` is what stood inside. */
export function mapsOutput(
  contents: Contents,
  profile: Profile,
  one: MapsCase,
  shape: MapsShape,
  expected: (at: number) => number,
  old: () => Numbers = () => new Float32Array(countOf(shape)).fill(Number.NaN),
): { view: View; output: Output; result: Result } {
  const { images, side, channels } = shape;
  const width = side + 2;
  const stride = paddedChannels(channels);
  const count = mapsElements(shape);
  const first = frontOf(one, shape);
  const region = inWords(profile, flat(count, first));
  const buffer = contents.add(() => {
    const before = sentinels(region);
    const words = packed(profile, bordered(shape, old(), BORDER));
    before.set(new Uint32Array(words.buffer), region.offset);
    return before;
  });
  return {
    view: mapsView(buffer, shape, first),
    output: { buffer, kind: "elem", region },
    result: {
      size: images * width * width * stride,
      expected: (at) => {
        const [c, x, y] = [at % stride, Math.floor(at / stride) % width, Math.floor(at / stride / width) % width];
        if (x === 0 || y === 0 || x > side || y > side) return BORDER;
        const image = Math.floor(at / stride / width / width);
        return c < channels ? expected(((image * side + y - 1) * side + x - 1) * channels + c) : 0;
      },
      tolerance: roundedSlack(profile),
    },
  };
}

/** Feature maps as a ReLU leaves them: many zeros; `levels` rounds them, so that windows have several maxima. */
export function features(profile: Profile, random: Random, shape: MapsShape, levels = 0): Float32Array {
  const values = random.normals(countOf(shape), 1, 0.3);
  for (let at = 0; at < values.length; at++)
    values[at] = Math.max(0, levels ? Math.round(values[at]! * levels) / levels : values[at]!);
  return kept(profile, values);
}

/** Of planes [images, C, S, S], the index of a number of maps [images, S, S, C]. */
export function inPlanes({ side, channels }: Omit<MapsShape, "images">, at: number): number {
  const [c, pixel] = [at % channels, Math.floor(at / channels)];
  const plane = side * side;
  return (Math.floor(pixel / plane) * channels + c) * plane + (pixel % plane);
}

/** The four pixels of a window, in the order of rows. */
const WINDOW = [
  [0, 0],
  [0, 1],
  [1, 0],
  [1, 1],
] as const;

/** torch.max_pool2d(x, 2): the index of the first maximum that the pooled maps' number `at` is. */
export function firstMaximum(shape: MapsShape, f: Numbers, at: number): number {
  const { side, channels } = shape;
  const small = Math.floor(side / 2);
  const [c, x, y] = [at % channels, Math.floor(at / channels) % small, Math.floor(at / channels / small) % small];
  const image = Math.floor(at / channels / small / small);
  let best = -1;
  for (const [i, j] of WINDOW) {
    const from = ((image * side + 2 * y + i) * side + 2 * x + j) * channels + c;
    if (best < 0 || f[from]! > f[best]!) best = from;
  }
  return best;
}

/** The clamp of a variance. */
export const EPSILON = 1e-5;

/** Numbers of one channel of one image. */
export function channelOf({ side, channels }: Omit<MapsShape, "images">, maps: Numbers, image: number, c: number): Float64Array {
  const first = image * side * side * channels + c;
  return Float64Array.from({ length: side * side }, (_, pixel) => maps[first + pixel * channels]!);
}

export function momentsOf(values: Float64Array): { mean: number; variance: number; deviation: number } {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  return { mean, variance, deviation: Math.sqrt(Math.max(variance, EPSILON)) };
}

/** [images, 2, channels]: means, then deviations. */
export function statisticsOf(shape: MapsShape, maps: Numbers): Float64Array {
  const { images, channels } = shape;
  const output = new Float64Array(images * 2 * channels);
  for (let b = 0; b < images; b++) {
    for (let c = 0; c < channels; c++) {
      const { mean, deviation } = momentsOf(channelOf(shape, maps, b, c));
      output[2 * b * channels + c] = mean;
      output[(2 * b + 1) * channels + c] = deviation;
    }
  }
  return output;
}

/** Width of a side of the grid at which small cases spread over both. */
export const NARROW = 61;
