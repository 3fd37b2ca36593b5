import { StylizingError } from "../errors.js";
import { describeValue } from "./checks.js";

/** An 8-bit image, rows from the top, channels interleaved: `data[(y * width + x) * channels + c]`. sRGB, or grey for one channel. */
export interface PixelImage {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
}

/** Rows of an image, [count, width, C] bytes from row `top` on; asked for from top to bottom. They stay until others are asked for. */
export interface RowSource {
  readonly width: number;
  readonly height: number;
  rows(top: number, count: number): Uint8Array | Promise<Uint8Array>;
}

/** Memory that is used again and again: what was in it may be overwritten. */
export function reusedBytes(): (length: number) => Uint8Array {
  let bytes = new Uint8Array(0);
  return (length) => {
    // For a row more next time it need not be new; what nothing is written to costs nothing.
    if (bytes.length < length) bytes = new Uint8Array(Math.ceil(1.125 * length));
    return bytes.subarray(0, length);
  };
}

/** A rectangle in pixels of the image it lies in. */
export interface Placement {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** A part of an image, and where it lies there. */
export interface Region<Data> {
  data: Data;
  place: Placement;
}

/** All of an image. */
export const wholeOf = ({ width, height }: { width: number; height: number }): Placement => ({ left: 0, top: 0, width, height });

/**
 * Refuses an image whose sides are not positive whole numbers or whose data does not fill them.
 * `what` names it in the message. Throws `ARGUMENT`.
 */
export function checkPixelImage(image: PixelImage, what = "The image"): void {
  const { data, width, height, channels } = (image ?? {}) as PixelImage;
  const sound =
    Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0 && (channels === 1 || channels === 3);
  if (sound && data instanceof Uint8Array && data.length === width * height * channels) return;
  const found = data instanceof Uint8Array ? `${data.length} bytes` : `data of type ${describeValue(data)}`;
  throw new StylizingError(
    "ARGUMENT",
    `${what} says ${width} × ${height} with ${channels} channels and has ${found}.`,
    "Give 1 or 3 channels and a Uint8Array of width × height × channels bytes.",
  );
}
