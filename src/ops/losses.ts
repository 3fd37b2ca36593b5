import { f32, type Plan, spread, u32, type Word } from "../gpu/dispatch.js";
import type { Profile } from "../gpu/profile.js";
import { type MapsShape, paddedChannels, planStrips } from "./features.js";
import { type ImageShape, planInvocations } from "./images.js";

/**
 * The training losses of Stylizing ViT (arXiv 2601.17586) and their gradients with respect to images and feature maps.
 *
 * A loss of a level of features does not write a map of gradients but five numbers an image and channel, with which
 * feature_backward computes them where it needs them: d loss / d f = p · (f - m) + q · (g - n) + r. Partial sums of a term add up to
 * its value of the batch; weights multiply gradients alone, so a scale against underflow in halves goes into them.
 *
 * Offsets are in elements of their buffer, and multiples of 4 where the maps or numbers are read as vectors.
 */

/** Numbers of a level's coefficients: m, n, p, q, r of every image. */
export const coefficientsElements = ({ images, channels }: Omit<MapsShape, "side">): number =>
  images * 5 * paddedChannels(channels);

/** Numbers of a level's partial sums of one term. */
export const featurePartials = ({ images, channels }: Omit<MapsShape, "side">): number => images * paddedChannels(channels);

/** Plans kernels/consistency_loss.wgsl; buffers bind as f (decodings), g (targets), counts, coefficients, partials. */
export function planConsistencyLoss(shape: MapsShape, profile: Profile): Plan {
  return planStrips(shape, profile, "consistency_loss", ["read", "read", "read", "write", "write"]);
}

export interface ConsistencyLossPlacement {
  fOffset?: number;
  gOffset?: number;
  /** Any number of floats. */
  countsOffset?: number;
  coefficientsOffset?: number;
  partialsOffset?: number;
}

/**
 * @param batch images of the whole batch, over which the term is a mean: a dispatch may hold some of them only.
 * @param weight of the term in the total, of the gradient alone.
 */
export function consistencyLossParameters(
  shape: MapsShape,
  { batch, weight }: { batch: number; weight: number },
  { fOffset = 0, gOffset = 0, countsOffset = 0, coefficientsOffset = 0, partialsOffset = 0 }: ConsistencyLossPlacement = {},
): Word[] {
  const { images, channels, side } = shape;
  return [
    ...[images, channels, side, paddedChannels(channels) / 4, fOffset / 4, gOffset / 4].map(u32),
    ...[countsOffset, coefficientsOffset / 4, partialsOffset / 4].map(u32),
    ...[1 / (batch * channels * side ** 2), weight].map(f32),
  ];
}

/**
 * Plans kernels/stylized_loss.wgsl; buffers bind as f (stylized), g (contents), statistics, styles (u32 rows of the statistics),
 * coefficients, partials.
 */
export function planStylizedLoss(shape: MapsShape, profile: Profile): Plan {
  return planStrips(shape, profile, "stylized_loss", ["read", "read", "read", "read", "write", "write"]);
}

export interface StylizedLossPlacement {
  fOffset?: number;
  gOffset?: number;
  /** Where row 0 of the statistics is. */
  statisticsOffset?: number;
  /** Row of the first content's statistics. */
  firstContent?: number;
  /** Any number of words. */
  stylesOffset?: number;
  coefficientsOffset?: number;
  /** Partial sums of the anatomical term. */
  anatomicalOffset?: number;
  /** Partial sums of the style term; by default right behind those of the anatomical one. */
  styleOffset?: number;
}

/**
 * @param batch images of the whole batch, over which both terms are means.
 * @param anatomicalWeight of the term in the total, of the gradient alone; styleWeight likewise.
 */
export function stylizedLossParameters(
  shape: MapsShape,
  { batch, anatomicalWeight, styleWeight }: { batch: number; anatomicalWeight: number; styleWeight: number },
  placement: StylizedLossPlacement = {},
): Word[] {
  const { images, channels, side } = shape;
  const { fOffset = 0, gOffset = 0, statisticsOffset = 0, firstContent = 0, stylesOffset = 0 } = placement;
  const { coefficientsOffset = 0, anatomicalOffset = 0, styleOffset = anatomicalOffset + featurePartials(shape) } = placement;
  return [
    ...[images, channels, side, paddedChannels(channels) / 4, fOffset / 4, gOffset / 4].map(u32),
    ...[statisticsOffset / 4, firstContent, stylesOffset, coefficientsOffset / 4, anatomicalOffset / 4, styleOffset / 4].map(u32),
    ...[1 / (batch * channels), anatomicalWeight, styleWeight].map(f32),
  ];
}

export interface FeatureBackwardShape extends MapsShape {
  /** Whether f came out of a ReLU, through which the gradient goes. */
  mask: boolean;
  /** Whether f was pooled, and what came out of that has a gradient as well. */
  pooled: boolean;
}

/** Plans kernels/feature_backward.wgsl; buffers bind as f, g, coefficients, gradient of the pooled maps (f where not pooled), output. */
export function planFeatureBackward(shape: FeatureBackwardShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    {
      kernel: "feature_backward",
      entryPoint: "feature_backward",
      result: "elem",
      overrides: { MASK: shape.mask ? 1 : 0, POOLED: shape.pooled ? 1 : 0 },
      bindings: ["read", "read", "read", "read", "write"],
    },
    (shape.images * Math.ceil(shape.side / 2) ** 2 * paddedChannels(shape.channels)) / 4,
  );
}

export interface FeatureBackwardPlacement {
  fOffset?: number;
  gOffset?: number;
  coefficientsOffset?: number;
  pooledOffset?: number;
  outputOffset?: number;
}

export function featureBackwardParameters(shape: MapsShape, placement: FeatureBackwardPlacement = {}): Word[] {
  const { fOffset = 0, gOffset = 0, coefficientsOffset = 0, pooledOffset = 0, outputOffset = 0 } = placement;
  return [
    ...[shape.images, shape.side, paddedChannels(shape.channels) / 4],
    ...[fOffset, gOffset, coefficientsOffset, pooledOffset, outputOffset].map((offset) => offset / 4),
  ].map(u32);
}

/** Partial sums that pixel_loss makes of an image, so that large ones keep a whole GPU busy. */
export const PIXEL_LOSS_SLICES = 16;

/** Plans kernels/pixel_loss.wgsl; buffers bind as x (images), y (decodings), counts, gradient, partials [images, PIXEL_LOSS_SLICES]. */
export function planPixelLoss(shape: ImageShape, profile: Profile): Plan {
  const lanes = profile.software ? 16 : 256;
  return {
    variant: {
      kernel: "pixel_loss",
      entryPoint: "pixel_loss",
      constants: { SLICES: PIXEL_LOSS_SLICES },
      result: "f32",
      overrides: { LANES: lanes },
      bindings: ["read", "read", "read", "write", "write"],
    },
    workgroups: spread(shape.images * PIXEL_LOSS_SLICES, profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 4 * lanes,
  };
}

/** Each is any number of floats. */
export interface PixelLossPlacement {
  xOffset?: number;
  yOffset?: number;
  countsOffset?: number;
  gradientOffset?: number;
  partialsOffset?: number;
}

/**
 * @param batch images of the whole batch, over which the term is a mean.
 * @param weight of the term in the total, of the gradient alone.
 */
export function pixelLossParameters(
  { images, channels, imageSize }: ImageShape,
  { batch, weight }: { batch: number; weight: number },
  { xOffset = 0, yOffset = 0, countsOffset = 0, gradientOffset = 0, partialsOffset = 0 }: PixelLossPlacement = {},
): Word[] {
  const values = channels * imageSize ** 2;
  return [
    ...[images, values, xOffset, yOffset, countsOffset, gradientOffset, partialsOffset].map(u32),
    ...[1 / (batch * values), weight].map(f32),
  ];
}
