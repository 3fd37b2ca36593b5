import { checkPixelImage, type PixelImage } from "./types.js";

/** The colour of bare glass under a lamp that is not tinted. */
export const GLASS: readonly number[] = [1, 1, 1];

/** Pixels around one that its colour is the mean of: compression noise is as colourful as pale tissue, and averages out. */
const SMOOTH = 2;

/**
 * How much a colour in [0, 1] is tissue: with v = max(rgb / white, 1/255), chroma = ln(max v / min v) and dark = -mean ln v, the
 * smoothstep of chroma + ½ max(0, dark - .25) from .04 to .10. Glass is bright and colourless, whatever the lamp's brightness; stain
 * absorbs unequally. `kernels/guided_apply.wgsl` has the same.
 */
export function tissueWeight(r: number, g: number, b: number, white: readonly number[] = GLASS): number {
  const log = (value: number, c: number) => Math.log(Math.max(value / white[c]!, 1 / 255));
  const [red, green, blue] = [log(r, 0), log(g, 1), log(b, 2)];
  const dark = -(red + green + blue) / 3;
  const chroma = Math.max(red, green, blue) - Math.min(red, green, blue);
  const t = Math.min(1, Math.max(0, (chroma + 0.5 * Math.max(0, dark - 0.25) - 0.04) / 0.06));
  return t * t * (3 - 2 * t);
}

/** The tissue weight of every pixel, [height, width] in [0, 1], by the mean of those around it. Throws `ARGUMENT` for an impossible image. */
export function tissueWeights(image: PixelImage, white: readonly number[] = GLASS): Float32Array {
  checkPixelImage(image);
  const { data, width, height, channels } = image;
  const weights = new Float32Array(width * height);
  /** Sums of columns over the rows that a row's mean takes; exact, so what leaves may be subtracted. */
  const columns = new Int32Array(width * channels);
  const add = (y: number, sign: number) => {
    const start = y * columns.length;
    for (let i = 0; i < columns.length; i++) columns[i]! += sign * data[start + i]!;
  };
  for (let y = 0; y < Math.min(SMOOTH, height); y++) add(y, 1);
  for (let y = 0; y < height; y++) {
    if (y + SMOOTH < height) add(y + SMOOTH, 1);
    if (y > SMOOTH) add(y - SMOOTH - 1, -1);
    const rows = Math.min(y + SMOOTH, height - 1) - Math.max(y - SMOOTH, 0) + 1;
    for (let x = 0; x < width; x++) {
      const [first, last] = [Math.max(x - SMOOTH, 0), Math.min(x + SMOOTH, width - 1)];
      let [r, g, b] = [0, 0, 0];
      for (let k = first * channels; k <= last * channels; k += channels) {
        r += columns[k]!;
        if (channels === 3) {
          g += columns[k + 1]!;
          b += columns[k + 2]!;
        }
      }
      const scale = 1 / (255 * rows * (last - first + 1));
      weights[y * width + x] =
        channels === 3
          ? tissueWeight(r * scale, g * scale, b * scale, white)
          : tissueWeight(r * scale, r * scale, r * scale, white);
    }
  }
  return weights;
}

/** A painting of an image, both of one size, with the image's own bare glass: w · painted + (1 - w) · image, rounded. Throws `ARGUMENT`. */
export function keepBackground(image: PixelImage, painted: PixelImage, white: readonly number[] = GLASS): PixelImage {
  checkPixelImage(painted, "The painting");
  const weights = tissueWeights(image, white);
  const { data, channels } = image;
  const mixed = Uint8Array.from(painted.data, (level, at) => {
    const weight = weights[Math.floor(at / channels)]!;
    return Math.floor(weight * level + (1 - weight) * data[at]! + 0.5);
  });
  return { ...painted, data: mixed };
}
