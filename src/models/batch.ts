import { StylizingError } from "../errors.js";
import { checkFloats, checkImage, checkPlanes, describeLength, describeValue, isSamples, type Samples } from "../image/checks.js";
import { luma } from "../image/luma.js";
import { MomentAccumulator } from "../image/moments.js";
import { type Fit, type FittedImage, fitSquare } from "../image/preprocess.js";
import type { LoadedImage } from "../image/tasks.js";
import { type PixelImage, wholeOf } from "../image/types.js";
import { asFloats, type Pixels } from "../net/pixels.js";
import { checkGpuImages, type GpuImages } from "./gpu-images.js";
import type { BaseConfig } from "./kind.js";

/** An image as sharp's raw output gives it: [height, width, channels]. Bytes are 0–255, floats 0–1, both sRGB. */
export interface Image {
  data: Samples;
  width: number;
  height: number;
  channels: number;
}

/** Images of one size in one array: [batch, height, width, channels]. */
export interface ImageTensor {
  data: Samples;
  shape: readonly [batch: number, height: number, width: number, channels: number];
}

export type { GpuImages };

export type Images = Image | readonly Image[] | ImageTensor | GpuImages;

/** Images as the engine takes them, and in what guise they came. */
export interface Batch {
  count: number;
  format: "bytes" | "floats";
  guise: "one" | "list" | "tensor" | "gpu";
  /** Images [from, from + count) of the batch. */
  pixels(from: number, count: number): Pixels;
  /** Each at its own size, where that was asked for. */
  originals?: readonly Original[];
}

/** An image at its own size and the model's channels, and where it lies in the model's square. */
export interface Original extends Pick<FittedImage, "placement" | "source"> {
  image: PixelImage;
}

/** How images become the model's squares. */
export interface FitOptions {
  /** By default padded with black, as published. */
  fit?: Fit | undefined;
  /** Whether to keep images at their own size too; 8-bit ones only. */
  originals?: boolean | undefined;
}

function refuse(problem: string, fix: string): never {
  throw new StylizingError("ARGUMENT", problem, fix);
}

const isGpu = (images: Images): images is GpuImages => "buffer" in images && "format" in images;
const isTensor = (images: Images): images is ImageTensor => "shape" in images && "data" in images;

/** `channels` of each pixel as the model's 1 or 3: grey is repeated, colour is weighed (ITU-R 601), alpha lies over white. */
function convertChannels(image: Image, wanted: number, what: string): Image {
  const { data, width, height, channels } = image;
  if (channels === wanted) return image;
  if (![1, 2, 3, 4].includes(channels) || ![1, 3].includes(wanted)) {
    refuse(`${what} has ${channels} channels, and this model takes ${wanted}.`, "Convert it first.");
  }
  const white = data instanceof Float32Array ? 1 : 255;
  const out = data instanceof Float32Array ? new Float32Array(width * height * wanted) : new Uint8Array(width * height * wanted);
  const round = data instanceof Float32Array ? (value: number) => value : Math.round;
  const colours = channels >= 3 ? 3 : 1;
  for (let pixel = 0; pixel < width * height; pixel++) {
    const at = pixel * channels;
    const alpha = channels === colours ? 1 : data[at + colours]! / white;
    const over = (index: number) => data[at + index]! * alpha + white * (1 - alpha);
    const [r, g, b] = colours === 3 ? [over(0), over(1), over(2)] : [over(0), over(0), over(0)];
    if (wanted === 1) out[pixel] = round(luma(r!, g!, b!));
    else for (const [c, value] of [r, g, b].entries()) out[pixel * 3 + c] = round(value!);
  }
  return { data: out, width, height, channels: wanted };
}

/** @throws StylizingError `ARGUMENT` with the number of what is no image; holes in a list are none either */
function checkList(list: readonly Image[], nameOf: (index: number) => string): void {
  for (let index = 0; index < list.length; index++) checkImage(list[index], nameOf(index));
}

/** An image at the model's channels, fitted to the model's square. */
async function fitted(image: Image, size: number, what: string, fit: Fit | undefined): Promise<FittedImage> {
  const { data, width, height } = image;
  if (data instanceof Float32Array) {
    refuse(
      `${what} is ${width} × ${height} in floats, and this model takes ${size} × ${size}.`,
      "Resize it first, or give 8-bit pixels, which are resized here.",
    );
  }
  return fitSquare(pixelsOf(image), size, { fit });
}

const pixelsOf = ({ data, width, height, channels }: Image): PixelImage => ({
  data: view(data),
  ...{ width, height, channels: channels as 1 | 3 },
});

/** An image of bytes that has the model's size, by itself. */
function originalOf(image: Image, what: string): Original {
  if (image.data instanceof Float32Array)
    refuse(`${what} is in floats.`, "Give 8-bit pixels: results at an image's own size, and guided detail, are made of them.");
  const whole = wholeOf(image);
  return { image: pixelsOf(image), placement: whole, source: whole };
}

/** @throws StylizingError `ARGUMENT` */
function checkTensor(tensor: ImageTensor, what: string): void {
  const { data, shape } = tensor;
  const fix = "Give { data, shape: [batch, height, width, channels] }, data a Uint8Array or Float32Array of that size.";
  const axes = Array.isArray(shape) && shape.length === 4 && shape.every((side) => Number.isSafeInteger(side) && side >= 0);
  if (!axes) refuse(`The shape of ${what} is ${Array.isArray(shape) ? `[${shape.join(", ")}]` : describeValue(shape)}.`, fix);
  if (!isSamples(data)) refuse(`${what} has data of type ${describeValue(data)}.`, fix);
  if (data.length !== shape.reduce((product, side) => product * side, 1))
    refuse(`${what} says [${shape.join(", ")}] and has ${describeLength(data)}.`, fix);
  const each = shape[1] * shape[2] * shape[3];
  if (data instanceof Float32Array) checkFloats(data, (at) => `${what} ${Math.floor(at / each)}`);
}

const view = (data: Samples): Uint8Array =>
  data instanceof Uint8ClampedArray ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : (data as Uint8Array);

/**
 * Brings 8-bit images to the model's size and channels and leaves each where it lies, for work that is done before its
 * caller can change them.
 * @throws as `toBatch` does.
 */
export async function toList(
  images: readonly (Image | LoadedImage)[],
  config: BaseConfig,
  what: string,
  { fit, originals: wanted = false }: FitOptions = {},
): Promise<Batch> {
  const nameOf = (index: number) => `${what} ${index}`;
  checkList(images, nameOf);
  const { image_size: size, in_channels } = config;
  const squares: Uint8Array[] = [];
  const originals: Original[] = [];
  for (const [index, image] of images.entries()) {
    const converted = convertChannels(image, in_channels, nameOf(index));
    const fits = converted.width === size && converted.height === size;
    const square = fits ? undefined : await fitted(converted, size, nameOf(index), fit);
    squares.push(square?.data ?? view(converted.data));
    if (!wanted) continue;
    if ("original" in image && image.original) originals.push({ ...image, image: image.original });
    else if (square) originals.push({ ...square, image: pixelsOf(converted) });
    else originals.push(originalOf(converted, nameOf(index)));
  }
  return {
    count: squares.length,
    format: "bytes",
    guise: "list",
    pixels: (from, n) => (n === 1 ? squares[from]! : squares.slice(from, from + n)),
    ...(wanted ? { originals } : {}),
  };
}

/**
 * Brings images to the model's size and channels, and into one array. Everything is looked at, and copied, before this returns
 * its promise: what was given may be changed then. A GPU buffer is left where it is.
 * @throws StylizingError `ARGUMENT`, naming what it was (`content`, `style`) and the number of the image.
 */
export async function toBatch(
  images: Images,
  config: BaseConfig,
  what: string,
  { fit, originals: wanted = false }: FitOptions = {},
): Promise<Batch> {
  if (typeof images !== "object" || images === null)
    refuse(`${what} is ${describeValue(images)}.`, "Give an image, an array of them, a tensor or a GPU buffer.");
  const { image_size: size, in_channels } = config;
  const each = size ** 2 * in_channels;
  if (isGpu(images)) {
    if (wanted)
      refuse(
        `${what} is a GPU buffer, whose images have the model's size.`,
        "Give them in host memory, or take the model's size and detail.",
      );
    const { buffer, shape, offset = 0, format } = images;
    const bytes = checkGpuImages(images, config, what);
    return { count: shape[0], format, guise: "gpu", pixels: (from) => ({ buffer, offset: offset + from * bytes }) };
  }

  const guise = isTensor(images) ? "tensor" : Array.isArray(images) ? "list" : "one";
  const nameOf = (index: number) => (guise === "one" ? what : `${what} ${index}`);
  let list: readonly Image[];
  if (isTensor(images)) {
    checkTensor(images, what);
    list = imagesOf(images);
  } else {
    // A copy of the list too; holes in it become `undefined`.
    list = Array.isArray(images) ? [...(images as readonly Image[])] : [images as Image];
    checkList(list, nameOf);
  }
  const floats = list.some(({ data }) => data instanceof Float32Array);
  const packed = floats ? new Float32Array(list.length * each) : new Uint8Array(list.length * each);
  const put = (index: number, data: Samples) => {
    if (floats && !(data instanceof Float32Array)) for (let i = 0; i < each; i++) packed[index * each + i] = data[i]! / 255;
    else packed.set(data, index * each);
  };
  const others: { index: number; image: Image }[] = [];
  const originals: Original[] = [];
  for (const [index, image] of list.entries()) {
    const converted = convertChannels(image, in_channels, nameOf(index));
    if (converted.width === size && converted.height === size) {
      put(index, converted.data);
      if (wanted) {
        const data = packed.subarray(index * each, (index + 1) * each);
        originals[index] = originalOf({ ...converted, data }, nameOf(index));
      }
    } else others.push({ index, image: converted === image ? { ...image, data: image.data.slice() } : converted });
  }
  // Taken off the list: a large copy is let go of as soon as it is scaled, if nobody wants it.
  for (let next = others.shift(); next; next = others.shift()) {
    const { index, image } = next;
    const square = await fitted(image, size, nameOf(index), fit);
    put(index, square.data);
    if (wanted) originals[index] = { ...square, image: pixelsOf(image) };
  }
  return {
    count: list.length,
    format: floats ? "floats" : "bytes",
    guise,
    pixels: (from, n) => packed.subarray(from * each, (from + n) * each),
    ...(wanted ? { originals } : {}),
  };
}

/** The images of a tensor, each where it lies. */
function imagesOf({ data, shape: [count, height, width, channels] }: ImageTensor): Image[] {
  const each = height * width * channels;
  return Array.from({ length: count }, (_, i) => ({ data: data.subarray(i * each, (i + 1) * each), width, height, channels }));
}

/** The same batch in floats; a GPU buffer of bytes cannot be converted. */
export function inFloats(batch: Batch, what: string): Batch {
  if (batch.format === "floats") return batch;
  if (batch.guise === "gpu")
    refuse(`${what} is a GPU buffer of bytes, and the other side is in floats.`, "Give both in the same format.");
  return {
    ...batch,
    format: "floats",
    pixels: (from, count) => Float32Array.from(batch.pixels(from, count) as Uint8Array, (value) => value / 255),
  };
}

/** Results, [count, S, S, C] in the format of what was given, in its guise: one image, a list, or a tensor. */
export function asGuise(
  data: Uint8Array,
  contents: Batch,
  count: number,
  { image_size: size, in_channels: channels }: BaseConfig,
  single: boolean,
): Image | Image[] | ImageTensor {
  const values = contents.format === "bytes" ? data : asFloats(data);
  if (contents.guise === "tensor") return { data: values, shape: [count, size, size, channels] };
  const each = values.length / count;
  const images = Array.from({ length: count }, (_, i) => ({
    data: values.subarray(i * each, (i + 1) * each),
    width: size,
    height: size,
    channels,
  }));
  return single ? images[0]! : images;
}

/** Results that have sizes of their own, in their contents' guise; those of a tensor are all of one size. */
export function asSized(images: PixelImage[], contents: Batch, single: boolean): Image | Image[] | ImageTensor {
  if (single) return images[0]!;
  if (contents.guise !== "tensor") return images;
  const { width, height, channels } = images[0]!;
  const each = width * height * channels;
  const data = new Uint8Array(images.length * each);
  for (const [index, image] of images.entries()) data.set(image.data, index * each);
  return { data, shape: [images.length, height, width, channels] };
}

/**
 * Mean and standard deviation by channel, in [0, 1]: for a model whose training statistics are not known.
 * @throws StylizingError `ARGUMENT` where there is no image, one is malformed or has floats outside [0, 1], or their channels
 *   differ.
 */
export function measureStatistics(images: readonly Image[]): { mean: number[]; std: number[] } {
  if (!Array.isArray(images)) refuse(`The images to measure are ${describeValue(images)}.`, "Give an array of images.");
  if (images.length === 0) refuse("There is no image to measure.", "Give at least one.");
  checkList(images, (index) => `Image ${index}`);
  const { channels } = images[0] as Image;
  const accumulator = new MomentAccumulator(channels);
  for (const image of images as readonly Image[]) {
    if (image.channels !== channels)
      refuse(`Images have ${channels} and ${image.channels} channels.`, "Give images of one kind.");
    accumulator.add(image);
  }
  return accumulator.statistics();
}

/**
 * Two tensors of planes, copied, and how many images they hold.
 * @throws StylizingError `ARGUMENT` where they are not of one shape, or not the model's, or hold what is no number.
 */
export function takePlanes(content: Float32Array, style: Float32Array, config: BaseConfig) {
  const { in_channels: channels, image_size: size } = config;
  checkPlanes(content, "content");
  checkPlanes(style, "style");
  const each = channels * size ** 2;
  if (content.length === 0 || content.length % each !== 0 || style.length !== content.length)
    refuse(
      `content has ${content.length} values and style ${style.length}.`,
      `Give [batch, ${channels}, ${size}, ${size}] for both.`,
    );
  return { count: content.length / each, content: content.slice(), style: style.slice() };
}
