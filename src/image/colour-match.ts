import { StylizingError } from "../errors.js";
import { checkImage, type SampledImage, type Samples } from "./checks.js";
import { type ChannelMoments, channelMoments } from "./moments.js";
import type { PixelImage, Placement } from "./types.js";

/** An image, and where in it there is one where it was padded, as in what a file was fitted to. */
export interface MatchedImage extends SampledImage {
  readonly placement?: Placement | undefined;
}

/**
 * The rival to know: gives the content the style's mean and standard deviation in each channel,
 *
 *   x' = (x − μc) · σs / (σc + 1e-8) + μs   in [0, 1], clamped, and of bytes rounded to 8 bits,
 *
 * after Doerrich et al., arXiv 2608.18915 ("Colorist"); population deviation.
 *
 * Images have 1 to 4 channels, 2 and 4 with alpha; of grey and colour both must be the same, sizes may differ. Neither what lies
 * outside of an image's `placement`, which is padding, nor pixels with an alpha of 0 count as stain. The result has the content's
 * size, channels and type (a `Uint8ClampedArray` becomes a `Uint8Array`); its alpha and its padding are the content's.
 * @throws StylizingError `ARGUMENT`
 */
export function matchColour(content: PixelImage, style: MatchedImage): PixelImage;
export function matchColour(content: MatchedImage, style: MatchedImage): SampledImage;
export function matchColour(content: MatchedImage, style: MatchedImage): SampledImage {
  const from = statisticsOf(content, "The content");
  const to = statisticsOf(style, "The style");
  const { data, width, height, channels } = content;
  const colours = from.mean.length;
  if (colours !== to.mean.length) {
    const problem = `The content has ${colours} channels and the style ${to.mean.length}.`;
    throw new StylizingError("ARGUMENT", problem, "Decode both with the same number of channels.");
  }
  if (Number.isNaN(to.mean[0])) throw new StylizingError("ARGUMENT", "The style is transparent everywhere.", "Give another one.");
  const out = data instanceof Float32Array ? data.slice() : new Uint8Array(data);
  const { left, top, ...part } = content.placement ?? { left: 0, top: 0, width, height };
  for (let c = 0; c < colours && !Number.isNaN(from.mean[c]); c++) {
    const match = (value: number): number => {
      const x = ((value - from.mean[c]!) * to.deviation[c]!) / (from.deviation[c]! + 1e-8) + to.mean[c]!;
      return Math.min(1, Math.max(0, x));
    };
    // Of bytes the map depends on the level alone, so it is computed once for each of 256.
    const map = Uint8Array.from({ length: 256 }, (_, level) => Math.round(255 * match(level / 255)));
    for (let y = top; y < top + part.height; y++) {
      const [first, end] = [(y * width + left) * channels + c, (y * width + left + part.width) * channels];
      if (out instanceof Float32Array) for (let i = first; i < end; i += channels) out[i] = match(out[i]!);
      else for (let i = first; i < end; i += channels) out[i] = map[out[i]!]!;
    }
  }
  return { data: out, width, height, channels };
}

/** Of the colours of what is to be seen of an image; NaN where that is nothing. */
function statisticsOf(image: MatchedImage, what: string): ChannelMoments {
  checkImage(image, what);
  const { width, height, channels, placement: where = { left: 0, top: 0, width, height } } = image;
  if (channels > 4) throw new StylizingError("ARGUMENT", `${what} has ${channels} channels.`, "Give 1 to 4.");
  const sides = [where.left, where.top, where.width, where.height];
  const whole = sides.every((side) => Number.isSafeInteger(side) && side >= 0);
  if (!whole || where.left + where.width > width || where.top + where.height > height)
    throw new StylizingError("ARGUMENT", `The placement of ${what.toLowerCase()} does not lie in it.`, "Leave it away.");
  return channels % 2 === 1 ? channelMoments(image, where) : channelMoments(visible(image, where));
}

/** The pixels of an image with alpha that are to be seen, in one row, without their alpha. */
function visible({ data, width, channels }: SampledImage, where: Placement): SampledImage {
  const colours = channels - 1;
  const kept: Samples = data instanceof Float32Array ? new Float32Array(data.length) : new Uint8Array(data.length);
  let count = 0;
  for (let y = where.top; y < where.top + where.height; y++) {
    for (let x = where.left; x < where.left + where.width; x++) {
      const at = (y * width + x) * channels;
      if (data[at + colours] === 0) continue;
      for (let c = 0; c < colours; c++) kept[count * colours + c] = data[at + c]!;
      count++;
    }
  }
  return { data: kept, width: count, height: 1, channels: colours };
}
