import { type Plan, spread, u32, type Word } from "../gpu/dispatch.js";
import type { Profile } from "../gpu/profile.js";
import { type ImageShape, type Normalization, normalizationWords, planInvocations } from "./images.js";

/**
 * Feature maps of VGG-19 (Simonyan and Zisserman 2015) apart from its convolutions. Bordered maps are
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

/** Where an op reads and writes; from the start where nothing is said. */
export interface MapsPlacement {
  inputOffset?: number;
  outputOffset?: number;
}

/** Of planes [images, channels, side, side] in the layout of MapsShape. */
export interface PlanesShape extends MapsShape {
  /** Adds to the planes, rather than overwriting them: of the way back only. */
  accumulate?: boolean;
}

/** The plan of a kernel that reduces over pixels by strips of channels: kernels/parts/channel_strips.wgsl. */
export function planStrips(shape: MapsShape, profile: Profile, kernel: string, bindings: Plan["variant"]["bindings"]): Plan {
  // On a GPU 4 vec4s are whole sectors of memory in either width of element. A CPU adapter pays for barriers, but with fewer
  // lanes the sums over pictures of 224 pixels a side, each in one f32, would be too long: 4 were off by 2.5e-5.
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
      bindings,
      parts: ["channel_strips"],
    },
    workgroups: spread(shape.images * strips, profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 16 * columns * lanes,
  };
}

/** Plans kernels/normalize_pixels.wgsl; buffers bind as pixels (bytes, four to a word), planes. */
export function planNormalizePixels(shape: ImageShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    {
      kernel: "normalize_pixels",
      entryPoint: "normalize_pixels",
      result: "f32",
      overrides: {},
      bindings: ["read", "write"],
    },
    shape.images * shape.channels * shape.imageSize ** 2,
  );
}

/** At most 4 channels. `firstImage` counts images of [S, S, C] bytes; `outputOffset` is any number of floats. */
export function normalizePixelsParameters(
  shape: ImageShape,
  normalization: Normalization,
  { firstImage = 0, outputOffset = 0 }: { firstImage?: number; outputOffset?: number } = {},
): Word[] {
  return [
    ...[shape.images, shape.channels, shape.imageSize, firstImage, outputOffset, 0, 0, 0].map(u32),
    ...normalizationWords(normalization),
  ];
}

/** Plans kernels/planes_to_maps.wgsl; buffers bind as planes, maps. */
export function planPlanesToMaps(shape: MapsShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    { kernel: "planes_to_maps", entryPoint: "planes_to_maps", result: "elem", overrides: {}, bindings: ["read", "write"] },
    (shape.images * shape.side ** 2 * paddedChannels(shape.channels)) / 4,
  );
}

/** `inputOffset` is any number of floats. */
export function planesToMapsParameters(shape: MapsShape, { inputOffset = 0, outputOffset = 0 }: MapsPlacement = {}): Word[] {
  const { images, channels, side } = shape;
  return [images, channels, side, paddedChannels(channels) / 4, inputOffset, outputOffset / 4].map(u32);
}

/** Plans kernels/maps_to_planes.wgsl; buffers bind as maps, planes. */
export function planMapsToPlanes(shape: PlanesShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    {
      kernel: "maps_to_planes",
      entryPoint: "maps_to_planes",
      result: "f32",
      overrides: { ACCUMULATE: shape.accumulate ? 1 : 0 },
      bindings: ["read", "write"],
    },
    shape.images * shape.channels * shape.side ** 2,
  );
}

/** `outputOffset` is any number of floats. */
export function mapsToPlanesParameters(shape: MapsShape, { inputOffset = 0, outputOffset = 0 }: MapsPlacement = {}): Word[] {
  const { images, channels, side } = shape;
  return [images, channels, side, paddedChannels(channels) / 4, inputOffset / 4, outputOffset].map(u32);
}

/** Plans kernels/max_pool.wgsl, `shape` being that of its input; buffers bind as input, output. */
export function planMaxPool(shape: MapsShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    { kernel: "max_pool", entryPoint: "max_pool", result: "elem", overrides: {}, bindings: ["read", "write"] },
    (shape.images * Math.floor(shape.side / 2) ** 2 * paddedChannels(shape.channels)) / 4,
  );
}

export function maxPoolParameters(shape: MapsShape, { inputOffset = 0, outputOffset = 0 }: MapsPlacement = {}): Word[] {
  return [shape.images, shape.side, paddedChannels(shape.channels) / 4, inputOffset / 4, outputOffset / 4].map(u32);
}

/** Plans kernels/feature_statistics.wgsl; buffers bind as maps, statistics. */
export function planFeatureStatistics(shape: MapsShape, profile: Profile): Plan {
  return planStrips(shape, profile, "feature_statistics", ["read", "write"]);
}

export function featureStatisticsParameters(shape: MapsShape, { inputOffset = 0, outputOffset = 0 }: MapsPlacement = {}): Word[] {
  return [shape.images, shape.side, paddedChannels(shape.channels) / 4, inputOffset / 4, outputOffset / 4].map(u32);
}
