import { StylizingError } from "../errors.js";
import { channelMoments } from "./moments.js";
import { checkPixelImage, type PixelImage } from "./types.js";

function checkPair(a: PixelImage, b: PixelImage): void {
  checkPixelImage(a, "The first image");
  checkPixelImage(b, "The second image");
  if (a.width === b.width && a.height === b.height && a.channels === b.channels) return;
  const size = ({ width, height, channels }: PixelImage) => `${width} × ${height} × ${channels}`;
  throw new StylizingError("ARGUMENT", `The images are ${size(a)} and ${size(b)}.`, "Compare images of one size.");
}

/**
 * Peak signal-to-noise ratio of two 8-bit images in decibels, 10 · log10(255² / MSE), over all channels; infinite where they
 * are equal.
 * @throws StylizingError `ARGUMENT` where their sizes differ.
 */
export function psnr(a: PixelImage, b: PixelImage): number {
  checkPair(a, b);
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += (a.data[i]! - b.data[i]!) ** 2;
  return sum === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10((255 ** 2 * a.data.length) / sum);
}

const WINDOW = 11;
const SIGMA = 1.5;
const C1 = (0.01 * 255) ** 2;
const C2 = (0.03 * 255) ** 2;

/** A Gaussian of `length` values around their middle, with the sum 1. */
function gaussian(length: number): Float64Array {
  const weights = Float64Array.from({ length }, (_, i) => Math.exp(-((i - (length - 1) / 2) ** 2) / (2 * SIGMA ** 2)));
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
}

/**
 * Structural similarity of two 8-bit images (Wang, Bovik, Sheikh and Simoncelli 2004): windows of 11 × 11 weighted by a Gaussian
 * of deviation 1.5, K1 = 0.01, K2 = 0.03, L = 255; the mean over all windows that lie in the image, and over channels. An image
 * with a side shorter than 11 has windows of that side's length.
 * @returns at most 1, which is that of equal images.
 * @throws StylizingError `ARGUMENT` where their sizes differ.
 */
export function ssim(a: PixelImage, b: PixelImage): number {
  checkPair(a, b);
  const { width, height, channels } = a;
  const across = gaussian(Math.min(WINDOW, width));
  const down = gaussian(Math.min(WINDOW, height));
  const columns = width - across.length + 1;
  const rows = height - down.length + 1;
  // Σw·a, Σw·b, Σw·a², Σw·b², Σw·a·b: along rows, then along columns.
  const strips = new Float64Array(5 * height * columns);
  let total = 0;
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < columns; x++) {
        let [sa, sb, saa, sbb, sab] = [0, 0, 0, 0, 0];
        for (let k = 0, at = (y * width + x) * channels + c; k < across.length; k++, at += channels) {
          const weight = across[k]!;
          const va = a.data[at]!;
          const vb = b.data[at]!;
          sa += weight * va;
          sb += weight * vb;
          saa += weight * va * va;
          sbb += weight * vb * vb;
          sab += weight * va * vb;
        }
        const at = 5 * (y * columns + x);
        strips[at] = sa;
        strips[at + 1] = sb;
        strips[at + 2] = saa;
        strips[at + 3] = sbb;
        strips[at + 4] = sab;
      }
    }
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        let [ma, mb, aa, bb, ab] = [0, 0, 0, 0, 0];
        for (let k = 0; k < down.length; k++) {
          const weight = down[k]!;
          const at = 5 * ((y + k) * columns + x);
          ma += weight * strips[at]!;
          mb += weight * strips[at + 1]!;
          aa += weight * strips[at + 2]!;
          bb += weight * strips[at + 3]!;
          ab += weight * strips[at + 4]!;
        }
        const luminance = (2 * ma * mb + C1) / (ma * ma + mb * mb + C1);
        const structure = (2 * (ab - ma * mb) + C2) / (aa - ma * ma + (bb - mb * mb) + C2);
        total += luminance * structure;
      }
    }
  }
  return total / (rows * columns * channels);
}

/**
 * How far apart the colours of two 8-bit images are, whatever is on them: √Σ_c ((μ_c − μ'_c)² + (σ_c − σ'_c)²) of channel means and
 * standard deviations in units of [0, 1]. The images may differ in size.
 * @throws StylizingError `ARGUMENT` where their channels differ.
 */
export function colourDistance(a: PixelImage, b: PixelImage): number {
  checkPixelImage(a, "The first image");
  checkPixelImage(b, "The second image");
  if (a.channels !== b.channels)
    throw new StylizingError("ARGUMENT", `The images have ${a.channels} and ${b.channels} channels.`, "Convert one of them.");
  const [one, other] = [channelMoments(a), channelMoments(b)];
  let sum = 0;
  for (let c = 0; c < a.channels; c++) {
    sum += (one.mean[c]! - other.mean[c]!) ** 2 + (one.deviation[c]! - other.deviation[c]!) ** 2;
  }
  return Math.sqrt(sum);
}
