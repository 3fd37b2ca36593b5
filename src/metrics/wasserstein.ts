import { StylizingError } from "../errors.js";
import { checkPixelImage, type PixelImage } from "../image/types.js";

/** How often each level of each channel occurs in 8-bit images of any sizes: exact, and as large for a million of them as for one. */
export class IntensityHistogram {
  readonly channels: 1 | 3;
  /** [channels][256] pixels. */
  readonly counts: readonly Float64Array[];
  #pixels = 0;

  constructor(channels: 1 | 3 = 3) {
    this.channels = channels;
    this.counts = Array.from({ length: channels }, () => new Float64Array(256));
  }

  get pixels(): number {
    return this.#pixels;
  }

  /** @throws StylizingError `ARGUMENT` for what is no image, or one of other channels */
  add(image: PixelImage): void {
    checkPixelImage(image);
    const { data, channels } = image;
    if (channels !== this.channels) {
      const problem = `The image has ${channels} channels, and those before it ${this.channels}.`;
      throw new StylizingError("ARGUMENT", problem, "Convert one of them.");
    }
    for (const [c, counts] of this.counts.entries()) for (let i = c; i < data.length; i += channels) counts[data[i]!]!++;
    this.#pixels += data.length / channels;
  }
}

function histogramOf(images: IntensityHistogram | readonly PixelImage[], what: string): IntensityHistogram {
  const made = images instanceof IntensityHistogram;
  const histogram = made ? images : new IntensityHistogram(images[0]?.channels);
  if (!made) for (const image of images) histogram.add(image);
  if (histogram.pixels > 0) return histogram;
  throw new StylizingError("ARGUMENT", `The ${what} set has no image.`, "Give at least one.");
}

/**
 * How far apart the intensities of two sets of images are: by channel the exact 1-Wasserstein distance of their distributions in units
 * of [0, 1], Σ |CDF_a − CDF_b| / 255 over the levels, and the mean of the channels. Sizes and numbers of images do not matter.
 * @throws StylizingError `ARGUMENT` where a set is empty or channels differ
 */
export function wasserstein(
  a: IntensityHistogram | readonly PixelImage[],
  b: IntensityHistogram | readonly PixelImage[],
): { channels: number[]; mean: number } {
  const [one, other] = [histogramOf(a, "first"), histogramOf(b, "second")];
  if (one.channels !== other.channels) {
    const problem = `The sets have ${one.channels} and ${other.channels} channels.`;
    throw new StylizingError("ARGUMENT", problem, "Convert one of them.");
  }
  const channels = one.counts.map((counts, c) => {
    let [below, otherBelow, distance] = [0, 0, 0];
    for (let level = 0; level < 256; level++) {
      below += counts[level]!;
      otherBelow += other.counts[c]![level]!;
      distance += Math.abs(below / one.pixels - otherBelow / other.pixels);
    }
    return distance / 255;
  });
  return { channels, mean: channels.reduce((sum, value) => sum + value, 0) / channels.length };
}
