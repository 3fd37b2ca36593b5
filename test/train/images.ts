import { hashedUniform } from "../../src/hub/hashed.js";

/**
 * Seeded images as the reference's training case has them, [images, channels, size, size], normalised: coarse noise on a grid of
 * size / 4, enlarged bilinearly, and fine noise. Step k of that case takes those called `train.k`.
 */
export function hashedImages(name: string, images: number, channels: number, size: number, seed = 1): Float32Array {
  const grid = size / 4;
  const fine = hashedUniform(name, images * channels * size ** 2, seed);
  const coarse = hashedUniform(`${name}.coarse`, images * channels * grid ** 2, seed);
  // Pixel centres are aligned and the grid's edges repeated.
  const taps = Array.from({ length: size }, (_, pixel) => {
    const at = Math.max(0, (pixel + 0.5) / 4 - 0.5);
    const low = Math.min(Math.floor(at), grid - 1);
    return { low, high: Math.min(low + 1, grid - 1), share: at - low };
  });
  return fine.map((noise, index) => {
    const plane = Math.floor(index / size ** 2) * grid ** 2;
    const y = taps[Math.floor(index / size) % size]!;
    const x = taps[index % size]!;
    const row = (at: number) =>
      (1 - x.share) * coarse[plane + at * grid + x.low]! + x.share * coarse[plane + at * grid + x.high]!;
    return 1.5 * ((1 - y.share) * row(y.low) + y.share * row(y.high)) + 0.4 * noise;
  });
}
