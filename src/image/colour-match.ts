import { StylizingError } from "../errors.js";
import { channelMoments } from "./moments.js";
import { checkPixelImage, type PixelImage } from "./types.js";

/**
 * The rival to know: gives the content the style's mean and standard deviation in each channel,
 *
 *   x' = (x − μc) · σs / (σc + 1e-8) + μs   in [0, 1], clamped, rounded to 8 bits,
 *
 * after Doerrich et al., arXiv 2608.18915 ("Colorist"). Sizes may differ, channels may not; population deviation.
 * Give it images without padding: black bars would count as stain. Throws `ARGUMENT`.
 */
export function matchColour(content: PixelImage, style: PixelImage): PixelImage {
  checkPixelImage(content, "The content");
  checkPixelImage(style, "The style");
  const { width, height, channels } = content;
  if (channels !== style.channels) {
    const problem = `The content has ${channels} channels and the style ${style.channels}.`;
    throw new StylizingError("ARGUMENT", problem, "Decode both with the same number of channels.");
  }
  const data = new Uint8Array(content.data.length);
  const from = channelMoments(content);
  const to = channelMoments(style);
  for (let c = 0; c < channels; c++) {
    // The map depends on the level alone, so it is computed once for each of 256.
    const map = Uint8Array.from({ length: 256 }, (_, level) => {
      const x = ((level / 255 - from.mean[c]!) * to.deviation[c]!) / (from.deviation[c]! + 1e-8) + to.mean[c]!;
      return Math.round(255 * Math.min(1, Math.max(0, x)));
    });
    for (let i = c; i < data.length; i += channels) data[i] = map[content.data[i]!]!;
  }
  return { data, width, height, channels };
}
