import type { Maps } from "./feature-oracles.js";

interface MapsCase extends Maps {
  name: string;
  /** Images in front of those used, in every operand. */
  front?: number;
}

/** Sides and channels as VGG-19 and its corners have them; `front` puts NaN before what an op may use. */
export const mapsCases: readonly MapsCase[] = [
  { name: "one number", images: 1, side: 1, channels: 1 },
  { name: "five images of one pixel", images: 5, side: 1, channels: 512 },
  { name: "windows of one image", images: 2, side: 2, channels: 3, front: 1 },
  { name: "an odd side and one channel", images: 5, side: 3, channels: 1, front: 2 },
  { name: "five channels", images: 2, side: 7, channels: 5, front: 1 },
  { name: "a strip and a part of one", images: 2, side: 10, channels: 70, front: 3 },
  { name: "more pixels than lanes", images: 1, side: 21, channels: 16 },
  { name: "sixty-four channels", images: 1, side: 32, channels: 64, front: 1 },
  { name: "a published picture's side", images: 1, side: 224, channels: 4 },
];

/** For `it.each("%s")`: title and case. */
export const named = <T extends { name: string }>(cases: readonly T[]): [string, T][] => cases.map((one) => [one.name, one]);

/** Channels of a picture: bytes have statistics of at most four of them. */
export const planesCases = mapsCases.filter(({ channels }) => channels <= 5);

interface ConvolutionGradientCase extends Maps {
  name: string;
  kernelSize: number;
}

export const convolutionGradientCases: readonly ConvolutionGradientCase[] = [
  { name: "one pixel", images: 1, side: 1, channels: 1, kernelSize: 5 },
  { name: "a kernel larger than the image", images: 2, side: 3, channels: 3, kernelSize: 9 },
  { name: "a kernel of one", images: 5, side: 7, channels: 3, kernelSize: 1 },
  { name: "five channels, one row past a slab", images: 1, side: 9, channels: 5, kernelSize: 3 },
  { name: "one channel", images: 2, side: 21, channels: 1, kernelSize: 7 },
  { name: "three channels", images: 2, side: 32, channels: 3, kernelSize: 5 },
];

interface PatchProductGradientCase extends Maps {
  name: string;
  patchSize: number;
  rank: number;
  /** Behind a token's numbers, in elements, of the tokens and of their gradient. */
  gap?: number;
  outputGap?: number;
  front?: number;
}

export const patchProductGradientCases: readonly PatchProductGradientCase[] = [
  { name: "one patch of one pixel", images: 1, side: 1, channels: 1, patchSize: 1, rank: 1, gap: 2, outputGap: 2 },
  { name: "one channel", images: 2, side: 21, channels: 1, patchSize: 7, rank: 2 },
  { name: "three channels, patches of 7", images: 5, side: 14, channels: 3, patchSize: 7, rank: 2, front: 1 },
  { name: "three channels, patches of 16", images: 2, side: 32, channels: 3, patchSize: 16, rank: 2 },
  { name: "five channels", images: 1, side: 10, channels: 5, patchSize: 5, rank: 3, gap: 10, outputGap: 2, front: 2 },
  { name: "rows with padding", images: 2, side: 20, channels: 3, patchSize: 5, rank: 2, gap: 8, outputGap: 16 },
  { name: "rank 8, as in base", images: 1, side: 32, channels: 3, patchSize: 16, rank: 8 },
];
