import { checkName, StylizingError } from "../errors.js";
import { luma } from "../image/luma.js";
import { MomentAccumulator } from "../image/moments.js";
import { fitSquare } from "../image/preprocess.js";
import { asFloats, type Pixels } from "../net/pixels.js";
import type { BaseConfig } from "./kind.js";

/** An image as sharp's raw output gives it: [height, width, channels]. Bytes are 0–255, floats 0–1, both sRGB. */
export interface Image {
  data: Uint8Array | Uint8ClampedArray | Float32Array;
  width: number;
  height: number;
  channels: number;
}

/** Images of one size in one array: [batch, height, width, channels]. */
export interface ImageTensor {
  data: Uint8Array | Uint8ClampedArray | Float32Array;
  shape: readonly [batch: number, height: number, width: number, channels: number];
}

/** Images of the model's size in a buffer of the model's own device: [batch, height, width, channels]. */
export interface GpuImages {
  buffer: GPUBuffer;
  /** Bytes in front; a multiple of 4. */
  offset?: number;
  shape: readonly [batch: number, height: number, width: number, channels: number];
  format: "bytes" | "floats";
}

export type Images = Image | readonly Image[] | ImageTensor | GpuImages;

/** Images as the engine takes them, and in what guise they came. */
export interface Batch {
  count: number;
  format: "bytes" | "floats";
  guise: "one" | "list" | "tensor" | "gpu";
  /** Images [from, from + count) of the batch. */
  pixels(from: number, count: number): Pixels;
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

function checkImage(image: Image, what: string): void {
  const { data, width, height, channels } = image;
  const typed = data instanceof Uint8Array || data instanceof Uint8ClampedArray || data instanceof Float32Array;
  const sides = [width, height, channels].every((side) => Number.isSafeInteger(side) && side > 0);
  if (!typed || !sides || data.length !== width * height * channels) {
    const found = typed
      ? `${data.length} values`
      : `data of type ${(data as object | undefined)?.constructor?.name ?? typeof data}`;
    refuse(
      `${what} says ${width} × ${height} × ${channels} and has ${found}.`,
      "Give { data, width, height, channels }, data a Uint8Array or Float32Array of that size.",
    );
  }
}

/** One image at the model's size and channels. */
async function fitImage(image: Image, config: BaseConfig, what: string): Promise<Image> {
  checkImage(image, what);
  const size = config.image_size;
  const converted = convertChannels(image, config.in_channels, what);
  if (converted.width === size && converted.height === size) return converted;
  const { data, width, height } = converted;
  if (data instanceof Float32Array) {
    refuse(
      `${what} is ${width} × ${height} in floats, and this model takes ${size} × ${size}.`,
      "Resize it first, or give 8-bit pixels, which are resized here.",
    );
  }
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return fitSquare({ data: bytes, width, height, channels: config.in_channels as 1 | 3 }, size);
}

function ofTensor(tensor: ImageTensor, config: BaseConfig, what: string): Batch | Image[] {
  const [count, height, width, channels] = tensor.shape;
  const each = height * width * channels;
  if (
    !(tensor.data instanceof Uint8Array || tensor.data instanceof Uint8ClampedArray || tensor.data instanceof Float32Array) ||
    tensor.data.length !== count * each
  ) {
    refuse(
      `${what} says [${tensor.shape.join(", ")}] and has ${tensor.data?.length} values.`,
      "Give a Uint8Array or Float32Array of that size.",
    );
  }
  const { data } = tensor;
  if (height !== config.image_size || width !== config.image_size || channels !== config.in_channels) {
    return Array.from({ length: count }, (_, i) => ({ data: data.subarray(i * each, (i + 1) * each), width, height, channels }));
  }
  return {
    count,
    format: data instanceof Float32Array ? "floats" : "bytes",
    guise: "tensor",
    pixels: (from, n) => view(data).subarray(from * each, (from + n) * each),
  };
}

const view = (data: Image["data"]): Uint8Array | Float32Array =>
  data instanceof Uint8ClampedArray ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : data;

/**
 * Brings 8-bit images to the model's size and channels and leaves each where it lies, for work that is done before its
 * caller can change them.
 * @throws as `toBatch` does.
 */
export async function toList(images: readonly Image[], config: BaseConfig, what: string): Promise<Batch> {
  const fitted: Uint8Array[] = [];
  for (const [index, image] of images.entries())
    fitted.push(view((await fitImage(image, config, `${what} ${index}`)).data) as Uint8Array);
  return {
    count: fitted.length,
    format: "bytes",
    guise: "list",
    pixels: (from, n) => (n === 1 ? fitted[from]! : fitted.slice(from, from + n)),
  };
}

/**
 * Brings images to the model's size and channels, and into one array.
 * @throws StylizingError `ARGUMENT`, naming what it was (`content`, `style`) and the number of the image.
 */
export async function toBatch(images: Images, config: BaseConfig, what: string): Promise<Batch> {
  if (typeof images !== "object" || images === null)
    refuse(`${what} is ${typeof images}.`, "Give an image, an array of them, a tensor or a GPU buffer.");
  const each = config.image_size ** 2 * config.in_channels;
  if (isGpu(images)) {
    checkName(`format of ${what}`, images.format, ["bytes", "floats"]);
    const [count, height, width, channels] = images.shape;
    if (height !== config.image_size || width !== config.image_size || channels !== config.in_channels) {
      refuse(
        `${what} is a GPU buffer of [${images.shape.join(", ")}].`,
        `This model takes [batch, ${config.image_size}, ${config.image_size}, ${config.in_channels}] there.`,
      );
    }
    const bytes = each * (images.format === "bytes" ? 1 : 4);
    if (bytes % 4 !== 0) refuse(`${what}: images of ${bytes} bytes do not start at whole words in a GPU buffer.`, "Use floats.");
    if ((images.offset ?? 0) + count * bytes > images.buffer.size) {
      refuse(`${what} says ${count} images and its buffer ends before.`, `It needs ${count * bytes} bytes behind its offset.`);
    }
    return {
      count,
      format: images.format,
      guise: "gpu",
      pixels: (from) => ({ buffer: images.buffer, offset: (images.offset ?? 0) + from * bytes }),
    };
  }

  let guise: Batch["guise"] = "list";
  let list: readonly Image[];
  if (isTensor(images)) {
    const batch = ofTensor(images, config, what);
    if (!Array.isArray(batch)) return batch;
    [guise, list] = ["tensor", batch];
  } else if (Array.isArray(images)) list = images as readonly Image[];
  else [guise, list] = ["one", [images as Image]];

  const fitted: Image[] = [];
  for (const [index, image] of list.entries())
    fitted.push(await fitImage(image, config, guise === "one" ? what : `${what} ${index}`));
  const floats = fitted.some((image) => image.data instanceof Float32Array);
  const packed = floats ? new Float32Array(list.length * each) : new Uint8Array(list.length * each);
  for (const [index, { data }] of fitted.entries()) {
    if (floats && !(data instanceof Float32Array)) for (let i = 0; i < each; i++) packed[index * each + i] = data[i]! / 255;
    else packed.set(data, index * each);
  }
  return {
    count: list.length,
    format: floats ? "floats" : "bytes",
    guise,
    pixels: (from, n) => packed.subarray(from * each, (from + n) * each),
  };
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

/**
 * Mean and standard deviation by channel, in [0, 1]: for a model whose training statistics are not known.
 * @throws StylizingError `ARGUMENT` where there is no image, one is malformed, or their channels differ.
 */
export function measureStatistics(images: readonly Image[]): { mean: number[]; std: number[] } {
  const channels = images[0]?.channels ?? 0;
  if (channels === 0) refuse("There is no image to measure.", "Give at least one.");
  const accumulator = new MomentAccumulator(channels);
  for (const [index, image] of images.entries()) {
    if (image.channels !== channels)
      refuse(`Images have ${channels} and ${image.channels} channels.`, "Give images of one kind.");
    checkImage(image, `Image ${index}`);
    accumulator.add(image);
  }
  return accumulator.statistics();
}

/** Images of two tensors of planes. @throws StylizingError `ARGUMENT` where they are not of one shape, or not the model's. */
export function countPlanes(content: Float32Array, style: Float32Array, config: BaseConfig): number {
  const { in_channels: channels, image_size: size } = config;
  const each = channels * size ** 2;
  if (content.length === 0 || content.length % each !== 0 || style.length !== content.length)
    refuse(
      `content has ${content.length} values and style ${style.length}.`,
      `Give [batch, ${channels}, ${size}, ${size}] for both.`,
    );
  return content.length / each;
}
