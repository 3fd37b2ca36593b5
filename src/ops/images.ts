import { f32, type Plan, spread, u32, type Word } from "../gpu/dispatch.js";
import type { Variant } from "../gpu/pipelines.js";
import type { Profile } from "../gpu/profile.js";

/** The four kernels at the model's two ends: pixels to patches, patches to planes, planes to pixels. */

const INVOCATIONS = 64;

/** How pixels lie in a buffer. `planes` are normalised [B, C, S, S] f32; the others [B, S, S, C]. */
export type PixelFormat = "bytes" | "floats" | "planes";

export interface ImageShape {
  images: number;
  channels: number;
  imageSize: number;
}

/** Mean and standard deviation by channel, in [0, 1] units: at most 4 channels. */
export interface Normalization {
  mean: readonly number[];
  std: readonly number[];
}

/** A plan of a kernel whose workgroups are 64 invocations that share nothing. */
export function planInvocations(profile: Profile, variant: Omit<Variant, "constants">, invocations: number): Plan {
  const limit = profile.limits.maxComputeWorkgroupsPerDimension;
  return {
    variant: { ...variant, constants: {} },
    workgroups: spread(Math.ceil(invocations / INVOCATIONS), limit),
    workgroupBytes: 0,
  };
}

const vec4 = (values: readonly number[], rest: number): Word[] => [0, 1, 2, 3].map((index) => f32(values[index] ?? rest));

/** Two vectors of a parameter block: mean and deviation of four channels. */
export const normalizationWords = ({ mean, std }: Normalization): Word[] => [...vec4(mean, 0), ...vec4(std, 1)];

/** Bytes of a batch of images. */
export function imageBytes(shape: ImageShape, format: PixelFormat): number {
  return shape.images * shape.channels * shape.imageSize ** 2 * (format === "bytes" ? 1 : 4);
}

export interface PatchifyShape extends ImageShape {
  patchSize: number;
  /** Padded C·P·P: the stride of a patch's row. */
  depth: number;
  format: PixelFormat;
}

/** Plans kernels/patchify.wgsl; buffers bind as pixels, patches. */
export function planPatchify(shape: PatchifyShape, profile: Profile): Plan {
  const tokens = (shape.imageSize / shape.patchSize) ** 2 + 1;
  return planInvocations(
    profile,
    {
      kernel: "patchify",
      entryPoint: "patchify",
      result: "elem",
      overrides: { BYTES: shape.format === "bytes" ? 1 : 0 },
      bindings: ["read", "write"],
    },
    (shape.images * tokens * shape.depth) / 4,
  );
}

/** `firstRow` is the row of the first image's CLS token in the patches. Planes are normalised already. */
export function patchifyParameters(shape: PatchifyShape, firstRow: number, normalization: Normalization): Word[] {
  const { channels, imageSize: size } = shape;
  const planes = shape.format === "planes";
  const strides = planes
    ? [channels * size * size, size, 1, size * size]
    : [size * size * channels, size * channels, channels, 1];
  return [
    ...[shape.images, channels, size, shape.patchSize, shape.depth / 4, firstRow, ...strides, 0, 0].map(u32),
    ...normalizationWords(planes ? { mean: [], std: [] } : normalization),
  ];
}

export interface PatchProductShape extends ImageShape {
  patchSize: number;
  /** Inner size k of the product: D / (2·C·P). */
  rank: number;
  /** Elements between the tokens' rows. */
  stride: number;
}

/** Plans kernels/patch_product.wgsl; buffers bind as tokens, image. */
export function planPatchProduct(shape: PatchProductShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    { kernel: "patch_product", entryPoint: "unpatchify", result: "f32", overrides: {}, bindings: ["read", "write"] },
    shape.images * shape.channels * shape.imageSize ** 2,
  );
}

export function patchProductParameters(shape: PatchProductShape): Word[] {
  return [shape.images, shape.channels, shape.imageSize, shape.patchSize, shape.rank, shape.stride].map(u32);
}

export interface ConvolutionShape extends ImageShape {
  kernelSize: number;
  /** The gradient to the input from that of the output, which then binds as input. */
  flipped?: boolean;
}

/** Plans kernels/convolution.wgsl; buffers bind as input, weight, output. */
export function planConvolution(shape: ConvolutionShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    {
      kernel: "convolution",
      entryPoint: "convolve",
      result: "f32",
      overrides: { FLIPPED: shape.flipped ? 1 : 0 },
      bindings: ["read", "read", "write"],
    },
    shape.images * shape.channels * shape.imageSize * Math.ceil(shape.imageSize / 4),
  );
}

export function convolutionParameters(shape: ConvolutionShape): Word[] {
  return [shape.images, shape.channels, shape.imageSize, shape.kernelSize].map(u32);
}

export interface QuantizeShape extends ImageShape {
  format: "bytes" | "floats";
}

/** Plans kernels/quantize.wgsl; buffers bind as image, pixels. */
export function planQuantize(shape: QuantizeShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    {
      kernel: "quantize",
      entryPoint: "quantize",
      result: "f32",
      overrides: { BYTES: shape.format === "bytes" ? 1 : 0 },
      bindings: ["read", "write"],
    },
    imageBytes(shape, shape.format) / 4,
  );
}

export function quantizeParameters(shape: QuantizeShape, normalization: Normalization): Word[] {
  return [...[shape.images, shape.channels, shape.imageSize, 0].map(u32), ...normalizationWords(normalization)];
}
