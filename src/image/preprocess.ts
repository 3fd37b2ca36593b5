import { checkName, StylizingError } from "../errors.js";
import { type DecodeOptions, decodeImage } from "./decode.js";
import { resize } from "./resize.js";
import { checkPixelImage, type PixelImage, type Placement, type Region, wholeOf } from "./types.js";

/**
 * How an image that is no square becomes one. `mirror`: scaled whole, and mirrored about its edges, so that what is around it is of its
 * own stain; `pad`: the same with black, as published; `crop`: the square in its middle.
 */
export type Fit = "mirror" | "crop" | "pad";
export const FITS: readonly Fit[] = ["mirror", "crop", "pad"];

/** A square image as the model takes it, and what is needed to undo the squaring. */
export interface FittedImage extends PixelImage {
  /** Where the image lies in the square; around it is a mirrored image of it, or black. */
  readonly placement: Placement;
  /** The part of the image that lies there, in its own pixels: all of it, but where it was cropped. */
  readonly source: Placement;
  /** Size before, after EXIF rotation. */
  readonly originalWidth: number;
  readonly originalHeight: number;
}

/** Where a `width` × `height` image lies in a square of `size`: longer side full, shorter one rounded down, centred. */
export function placementIn(size: number, width: number, height: number): Placement {
  // Rounded down (and the odd pixel of padding right or below) because the reference does so: int(size * w / h).
  const short = Math.max(1, Math.floor((size * Math.min(width, height)) / Math.max(width, height)));
  const fitted = width >= height ? { width: size, height: short } : { width: short, height: size };
  return { left: (size - fitted.width) >> 1, top: (size - fitted.height) >> 1, ...fitted };
}

/**
 * Scales an image so that its longer side has `size` pixels (bilinear, antialiased, see {@link resize}) and fills up the
 * shorter one: with zeros, which are black, since the padding comes before normalisation, or as `fit` says. Returns
 * `size` × `size` × channels.
 * Throws `ARGUMENT` for an impossible size, fit or image, and the signal's reason when it is aborted.
 */
export async function fitSquare(
  image: PixelImage,
  size: number,
  options: { fit?: Fit | undefined; signal?: AbortSignal | undefined } = {},
): Promise<FittedImage> {
  checkPixelImage(image);
  checkSquare(size);
  const { fit = "pad" } = options;
  checkName("fit", fit, FITS);
  const { width: originalWidth, height: originalHeight, channels } = image;
  const source = fit === "crop" ? middleOf(originalWidth, originalHeight) : wholeOf(image);
  const placement = placementIn(size, source.width, source.height);
  const part = source.width === originalWidth && source.height === originalHeight ? image : cut(image, source);
  const inner = await resize(part, placement.width, placement.height, options);
  let { data } = inner;
  if (placement.width !== placement.height) {
    data = new Uint8Array(size * size * channels);
    const columns = mirrored(placement.left, placement.width, size);
    for (const [y, row] of mirrored(placement.top, placement.height, size).entries()) {
      if (fit !== "mirror" && (y < placement.top || y >= placement.top + placement.height)) continue;
      const [from, to] = [row * placement.width * channels, y * size * channels];
      data.set(inner.data.subarray(from, from + placement.width * channels), to + placement.left * channels);
      if (fit !== "mirror") continue;
      for (let x = 0; x < size; x++) {
        if (x >= placement.left && x < placement.left + placement.width) continue;
        for (let c = 0; c < channels; c++) data[to + x * channels + c] = inner.data[from + columns[x]! * channels + c]!;
      }
    }
  }
  return { data, width: size, height: size, channels, placement, source, originalWidth, originalHeight };
}

/** The square in the middle of an image. */
function middleOf(width: number, height: number): Placement {
  const side = Math.min(width, height);
  return { left: (width - side) >> 1, top: (height - side) >> 1, width: side, height: side };
}

/**
 * Which of `inner` pixels stands at each place of `size` where the first stands at `first`: beyond the edges those behind them, the edge's
 * own first, again and again.
 */
export function mirrored(first: number, inner: number, size: number): number[] {
  return Array.from({ length: size }, (_, at) => {
    const place = at - first;
    const turn = ((place % (2 * inner)) + 2 * inner) % (2 * inner);
    return turn < inner ? turn : 2 * inner - 1 - turn;
  });
}

/**
 * The inverse of {@link fitSquare}: cuts the padding off a square result and scales what remains to `width` × `height`, usually the
 * content's own size. Bicubic, pixel centres aligned: the result lies exactly on the content.
 * Throws `ARGUMENT` when the placement does not lie in the image, and the signal's reason when it is aborted.
 */
export async function unfit(
  result: PixelImage,
  placement: Placement,
  width: number,
  height: number,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<PixelImage> {
  checkPixelImage(result, "The result");
  const { left, top } = placement;
  const whole = [left, top, placement.width, placement.height].every((x) => Number.isInteger(x) && x >= 0);
  if (!whole || left + placement.width > result.width || top + placement.height > result.height) {
    throw new StylizingError(
      "ARGUMENT",
      `The placement ${placement.width} × ${placement.height} at ${left}, ${top} does not lie in a ${result.width} × ${result.height} image.`,
      "Use the placement that came with the fitted content of this result.",
    );
  }
  return resize(cut(result, placement), width, height, { kernel: "cubic", ...options });
}

/** The part of an image at `placement`, which must lie in it: a fitted image without its padding. */
export function cut({ data, channels, ...image }: PixelImage, part: Placement): PixelImage {
  const { width, height } = part;
  return { data: cutPixels({ data, place: wholeOf(image) }, part, channels), width, height, channels };
}

/** Pixels of a part of a region. */
export function cutPixels<Data extends Uint8Array | Float32Array>(
  { data, place }: Region<Data>,
  { left, top, width, height }: Placement,
  channels: number,
): Data {
  const stride = width * channels;
  const pixels = new (data instanceof Float32Array ? Float32Array : Uint8Array)(stride * height) as Data;
  for (let y = 0; y < height; y++) {
    const at = ((top - place.top + y) * place.width + left - place.left) * channels;
    pixels.set(data.subarray(at, at + stride), y * stride);
  }
  return pixels;
}

/** Puts pixels into their place in a region. */
export function paste(pixels: Uint8Array, from: Placement, channels: number, { data, place }: Region<Uint8Array>): void {
  const stride = from.width * channels;
  for (let y = 0; y < from.height; y++) {
    const at = ((from.top - place.top + y) * place.width + from.left - place.left) * channels;
    data.set(pixels.subarray(y * stride, (y + 1) * stride), at);
  }
}

/** {@link decodeImage} and {@link fitSquare} in one: a file or its bytes to a `size` × `size` square. */
export async function loadSquare(
  input: string | Uint8Array,
  size: number,
  channels: 1 | 3,
  options: Omit<DecodeOptions, "channels"> & { fit?: Fit } = {},
): Promise<FittedImage> {
  checkSquare(size);
  return fitSquare(await decodeImage(input, { ...options, channels }), size, options);
}

function checkSquare(size: number): void {
  if (Number.isInteger(size) && size > 0) return;
  throw new StylizingError(
    "ARGUMENT",
    `The image size is ${size}.`,
    "Give a whole number of pixels above 0, the model's image_size.",
  );
}
