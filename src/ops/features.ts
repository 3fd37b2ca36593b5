import { type Call, call, type Plan, spread } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import type { View } from "../gpu/view.js";
import { type ImageShape, type Normalization, normalizationValues, planInvocations } from "./images.js";

/**
 * Feature maps of VGG (Simonyan and Zisserman 2015) apart from its convolutions. Bordered maps are
 * [images, side + 2, side + 2, channels4] elements: channels last, padded with zeros to a multiple of 4, in a border of one pixel
 * of zeros that nothing writes, so that a 3 × 3 convolution reads its zero padding from memory.
 *
 * Offsets are in elements of their buffer, and multiples of 4 but for those of planes.
 */
export interface MapsShape {
  images: number;
  /** Pixels of a side, without the border. */
  side: number;
  channels: number;
}

/** Channels as they are stored. */
export const paddedChannels = (channels: number): number => 4 * Math.ceil(channels / 4);

/** Elements of bordered maps. */
export const mapsElements = ({ images, side, channels }: MapsShape): number =>
  images * (side + 2) ** 2 * paddedChannels(channels);

/** Numbers of a level's statistics: means, then deviations, of every image. */
export const statisticsElements = ({ images, channels }: Omit<MapsShape, "side">): number =>
  images * 2 * paddedChannels(channels);

/** Of planes [images, channels, side, side] in the layout of MapsShape. */
export interface PlanesShape extends MapsShape {
  /** Adds to the planes, rather than overwriting them: of the backward pass only. */
  accumulate?: boolean;
}

/** The plan of a kernel that reduces over pixels by strips of channels: kernels/parts/channel_strips.wgsl. */
export function planStrips(shape: MapsShape, profile: Profile, kernel: string): Plan {
  // On a GPU 4 vec4s are whole sectors of memory in either width of element. A CPU adapter pays for barriers, but with fewer
  // lanes the sums over images of 224 pixels a side, each in one f32, would be too long: 4 were off by 2.5e-5.
  const columns = 4;
  const lanes = profile.software ? 16 : 64;
  const strips = Math.ceil(shape.channels / 4 / columns);
  return {
    variant: {
      kernel,
      entryPoint: kernel,
      constants: {},
      result: "f32",
      overrides: { COLS4: columns, LANES: lanes },
      parts: ["channel_strips"],
    },
    workgroups: spread(shape.images * strips, profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 16 * columns * lanes,
  };
}

/** Plans kernels/normalize_pixels.wgsl. */
export function planNormalizePixels(shape: ImageShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    {
      kernel: "normalize_pixels",
      entryPoint: "normalize_pixels",
      result: "f32",
      overrides: {},
    },
    shape.images * shape.channels * shape.imageSize ** 2,
  );
}

export type NormalizePixelsOperands = ImageShape & {
  /** [images, S, S, C] bytes, from its start. */
  pixels: GPUBuffer;
  /** [images, C, S, S] f32. */
  planes: View;
  normalization: Normalization;
  /** Of the pixels, by which reading begins. */
  firstImage?: number;
};

/** Bytes to normalised planes; at most 4 channels. */
export function normalizePixels(
  profile: Profile,
  { pixels, planes, normalization, firstImage = 0, ...shape }: NormalizePixelsOperands,
): Call {
  const { images, channels, imageSize } = shape;
  return call(
    planNormalizePixels(shape, profile),
    { pixels, planes },
    { images, channels, image_size: imageSize, first_image: firstImage, ...normalizationValues(normalization) },
  );
}

/** What the kernels of maps call their sizes. */
export const mapsValues = ({ images, side, channels }: MapsShape) => ({ images, side, channels4: paddedChannels(channels) / 4 });

/** Plans kernels/planes_to_maps.wgsl. */
export function planPlanesToMaps(shape: MapsShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    { kernel: "planes_to_maps", entryPoint: "planes_to_maps", result: "elem", overrides: {} },
    (shape.images * shape.side ** 2 * paddedChannels(shape.channels)) / 4,
  );
}

/** Planes to bordered maps; the planes begin at any number. */
export function planesToMaps(profile: Profile, { planes, maps, ...shape }: MapsShape & { planes: View; maps: View }): Call {
  return call(planPlanesToMaps(shape, profile), { planes, maps }, { ...mapsValues(shape), channels: shape.channels });
}

/** Plans kernels/maps_to_planes.wgsl. */
export function planMapsToPlanes(shape: PlanesShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    {
      kernel: "maps_to_planes",
      entryPoint: "maps_to_planes",
      result: "f32",
      overrides: { ACCUMULATE: shape.accumulate ? 1 : 0 },
    },
    shape.images * shape.channels * shape.side ** 2,
  );
}

/** Bordered maps to planes, or added to them; the planes begin at any number. */
export function mapsToPlanes(profile: Profile, { maps, planes, ...shape }: PlanesShape & { maps: View; planes: View }): Call {
  return call(planMapsToPlanes(shape, profile), { maps, planes }, { ...mapsValues(shape), channels: shape.channels });
}

/** Plans kernels/max_pool.wgsl, `shape` being that of its input. */
export function planMaxPool(shape: MapsShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    { kernel: "max_pool", entryPoint: "max_pool", result: "elem", overrides: {} },
    (shape.images * Math.floor(shape.side / 2) ** 2 * paddedChannels(shape.channels)) / 4,
  );
}

/** 2 × 2 pooling of bordered maps of the given shape; what an odd side leaves over is dropped. */
export function maxPool(profile: Profile, { x, y, ...shape }: MapsShape & { x: View; y: View }): Call {
  return call(planMaxPool(shape, profile), { input: x, output: y }, mapsValues(shape));
}

/** Plans kernels/clear_margin.wgsl. */
export function planClearMargin(shape: MapsShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    { kernel: "clear_margin", entryPoint: "clear_margin", result: "elem", overrides: {} },
    (shape.images * shape.side ** 2 * paddedChannels(shape.channels)) / 4,
  );
}

/** Zeros beside the upper left `height` × `width` pixels of bordered maps: images that are no squares, in squares. */
export function clearMargin(
  profile: Profile,
  { maps, height, width, ...shape }: MapsShape & { height: number; width: number; maps: View },
): Call {
  return call(planClearMargin(shape, profile), { maps }, { ...mapsValues(shape), height, width });
}

/** Pixels that a workgroup of kernels/perceptual_distance.wgsl adds up. */
const DISTANCE_PIXELS = 1024;

/** Partial sums of an image's level. */
export const distancePartials = ({ side }: Pick<MapsShape, "side">): number => Math.ceil(side ** 2 / DISTANCE_PIXELS);

/** Plans kernels/perceptual_distance.wgsl. */
export function planPerceptualDistance(shape: MapsShape, profile: Profile): Plan {
  const lanes = 64;
  return {
    variant: {
      kernel: "perceptual_distance",
      entryPoint: "perceptual_distance",
      constants: {},
      result: "f32",
      overrides: { LANES: lanes },
      parts: ["lane_sum"],
    },
    workgroups: spread(shape.images * distancePartials(shape), profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 4 * lanes,
  };
}

export type PerceptualDistanceOperands = MapsShape & {
  /** Maps of as many images each. */
  a: View;
  b: View;
  /** [channels] f32, padded with zeros. */
  weights: View;
  /** [images, distancePartials] f32: sums over pixels, of which the mean takes their number. */
  partials: View;
};

/** A level of LPIPS: weighted squared difference of unit vectors over channels. */
export function perceptualDistance(profile: Profile, { a, b, weights, partials, ...shape }: PerceptualDistanceOperands): Call {
  return call(
    planPerceptualDistance(shape, profile),
    { a_maps: a, b_maps: b, weights, partials },
    { ...mapsValues(shape), slices: distancePartials(shape) },
  );
}

/** Plans kernels/feature_statistics.wgsl. */
export function planFeatureStatistics(shape: MapsShape, profile: Profile): Plan {
  return planStrips(shape, profile, "feature_statistics");
}

/** Mean and deviation of every image and channel, [images, 2, channels] f32. */
export function featureStatistics(
  profile: Profile,
  { maps, statistics, ...shape }: MapsShape & { maps: View; statistics: View },
): Call {
  return call(planFeatureStatistics(shape, profile), { maps, statistics }, mapsValues(shape));
}
