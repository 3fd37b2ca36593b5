import { type Call, call, type Plan, spread } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import type { View } from "../gpu/view.js";
import { type MapsShape, mapsValues, paddedChannels, planStrips } from "./features.js";
import { type ImageShape, planInvocations } from "./images.js";

/**
 * The training losses of Stylizing ViT (arXiv 2601.17586) and their gradients with respect to images and feature maps.
 *
 * A loss of a level of features does not write a map of gradients but five numbers an image and channel, with which
 * feature_backward computes them where it needs them: d loss / d f = p · (f - m) + q · (g - n) + r. Partial sums of a term add up to
 * its value of the batch; weights multiply gradients alone, so a scale against underflow in float16 goes into them.
 *
 * Offsets are in elements of their buffer, and multiples of 4 where the maps or numbers are read as vectors.
 */

/** Numbers of a level's coefficients: m, n, p, q, r of every image. */
export const coefficientsElements = ({ images, channels }: Omit<MapsShape, "side">): number =>
  images * 5 * paddedChannels(channels);

/** Numbers of a level's partial sums of one term. */
export const featurePartials = ({ images, channels }: Omit<MapsShape, "side">): number => images * paddedChannels(channels);

/** Plans kernels/consistency_loss.wgsl. */
export function planConsistencyLoss(shape: MapsShape, profile: Profile): Plan {
  return planStrips(shape, profile, "consistency_loss");
}

export type ConsistencyLossOperands = MapsShape & {
  /** Maps of the decodings and of their targets, elem. */
  f: View;
  g: View;
  /** [images] f32: how often each counts. */
  counts: View;
  /** [images, 5, channels] f32, and [images, channels] f32. */
  coefficients: View;
  partials: View;
  /** Images of the whole batch, over which the term is a mean: a dispatch may hold some of them only. */
  batch: number;
  /** Of the term in the total, of the gradient alone. */
  weight: number;
};

/** Mean squared difference of feature maps. */
export function consistencyLoss(
  profile: Profile,
  { f, g, counts, coefficients, partials, batch, weight, ...shape }: ConsistencyLossOperands,
): Call {
  const { channels, side } = shape;
  return call(
    planConsistencyLoss(shape, profile),
    { f_maps: f, g_maps: g, counts, coefficients, partials },
    { ...mapsValues(shape), channels, scale: 1 / (batch * channels * side ** 2), weight },
  );
}

/** Plans kernels/stylized_loss.wgsl. */
export function planStylizedLoss(shape: MapsShape, profile: Profile): Plan {
  return planStrips(shape, profile, "stylized_loss");
}

export type StylizedLossOperands = MapsShape & {
  /** Maps of the stylized images and of their contents, elem. */
  f: View;
  g: View;
  /** Of contents and styles, as `featureStatistics` leaves them. */
  statistics: View;
  /** Row of the first content's statistics. */
  firstContent?: number;
  /** [images] u32: rows of the styles' statistics. */
  styles: View;
  coefficients: View;
  /** Partial sums of the two terms, in one buffer: [images, channels] f32. */
  anatomical: View;
  style: View;
  /** Images of the whole batch, over which both terms are means. */
  batch: number;
  /** Of the terms in the total, of the gradients alone. */
  anatomicalWeight: number;
  styleWeight: number;
};

/** Difference of centred feature maps to the content's, and of their statistics to the style's. */
export function stylizedLoss(profile: Profile, operands: StylizedLossOperands): Call {
  const { f, g, statistics, firstContent = 0, styles, coefficients, anatomical, style } = operands;
  const { images, channels, side, batch, anatomicalWeight, styleWeight } = operands;
  const shape = { images, channels, side };
  return call(
    planStylizedLoss(shape, profile),
    { f_maps: f, g_maps: g, statistics, styles, coefficients, partials: anatomical.buffer, anatomical, style },
    {
      ...mapsValues(shape),
      channels,
      first_content: firstContent,
      scale: 1 / (batch * channels),
      anatomical_weight: anatomicalWeight,
      style_weight: styleWeight,
    },
  );
}

export interface FeatureBackwardShape extends MapsShape {
  /** Whether f came out of a ReLU, through which the gradient goes. */
  mask: boolean;
  /** Whether f was pooled, and what came out of that has a gradient as well. */
  pooled: boolean;
}

/** Plans kernels/feature_backward.wgsl. */
export function planFeatureBackward(shape: FeatureBackwardShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    {
      kernel: "feature_backward",
      entryPoint: "feature_backward",
      result: "elem",
      overrides: { MASK: shape.mask ? 1 : 0, POOLED: shape.pooled ? 1 : 0 },
    },
    (shape.images * Math.ceil(shape.side / 2) ** 2 * paddedChannels(shape.channels)) / 4,
  );
}

export type FeatureBackwardOperands = MapsShape & {
  f: View;
  g: View;
  coefficients: View;
  /** Gradient of what f was pooled to. */
  dPooled?: View | undefined;
  dx: View;
  mask: boolean;
};

/** Gradient of a level of feature maps from its coefficients and from the level behind it. */
export function featureBackward(
  profile: Profile,
  { f, g, coefficients, dPooled, dx, mask, ...shape }: FeatureBackwardOperands,
): Call {
  return call(
    planFeatureBackward({ ...shape, mask, pooled: dPooled !== undefined }, profile),
    { f_maps: f, g_maps: g, coefficients, d_next: dPooled ?? { ...f, first: 0 }, output: dx },
    mapsValues(shape),
  );
}

/** Partial sums that pixel_loss makes of an image, so that large ones keep a whole GPU busy. */
export const PIXEL_LOSS_SLICES = 16;

/** Plans kernels/pixel_loss.wgsl. */
export function planPixelLoss(shape: ImageShape, profile: Profile): Plan {
  const lanes = profile.software ? 16 : 256;
  return {
    variant: {
      kernel: "pixel_loss",
      entryPoint: "pixel_loss",
      constants: { SLICES: PIXEL_LOSS_SLICES },
      result: "f32",
      overrides: { LANES: lanes },
      parts: ["lane_sum"],
    },
    workgroups: spread(shape.images * PIXEL_LOSS_SLICES, profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 4 * lanes,
  };
}

export type PixelLossOperands = ImageShape & {
  /** Images and decodings, [images, C, S, S] f32. */
  x: View;
  y: View;
  /** [images] f32: how often each counts. */
  counts: View;
  gradient: View;
  /** [images, PIXEL_LOSS_SLICES] f32. */
  partials: View;
  /** Images of the whole batch, over which the term is a mean. */
  batch: number;
  /** Of the term in the total, of the gradient alone. */
  weight: number;
};

/** Mean squared difference of planes, and its gradient. */
export function pixelLoss(
  profile: Profile,
  { x, y, counts, gradient, partials, batch, weight, ...shape }: PixelLossOperands,
): Call {
  const { images, channels, imageSize } = shape;
  const numbers = channels * imageSize ** 2;
  return call(
    planPixelLoss(shape, profile),
    { x_planes: x, y_planes: y, counts, gradient, partials },
    { images, values: numbers, scale: 1 / (batch * numbers), weight },
  );
}
