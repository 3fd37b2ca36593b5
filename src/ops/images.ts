import { type Call, call, type Plan, spread } from "../gpu/call.js";
import type { Variant } from "../gpu/kernel.js";
import type { Profile } from "../gpu/profile.js";
import type { View } from "../gpu/view.js";

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

const vec4 = (values: readonly number[], rest: number) => [0, 1, 2, 3].map((index) => values[index] ?? rest);

/** Two vectors of a parameter block: mean and deviation of four channels. */
export const normalizationValues = ({ mean, std }: Normalization) => ({ mean: vec4(mean, 0), deviation: vec4(std, 1) });

/** Bytes of a batch of images. */
export function imageBytes(shape: ImageShape, format: PixelFormat): number {
  return shape.images * shape.channels * shape.imageSize ** 2 * (format === "bytes" ? 1 : 4);
}

export interface PatchifyShape {
  images: number;
  channels: number;
  /** Multiples of the patch size. */
  height: number;
  width: number;
  patchSize: number;
  /** Padded C·P·P: the stride of a patch's row. */
  depth: number;
  format: PixelFormat;
}

/** Plans kernels/patchify.wgsl. */
export function planPatchify(shape: PatchifyShape, profile: Profile): Plan {
  const tokens = (shape.height / shape.patchSize) * (shape.width / shape.patchSize) + 1;
  return planInvocations(
    profile,
    {
      kernel: "patchify",
      entryPoint: "patchify",
      result: "elem",
      overrides: { BYTES: shape.format === "bytes" ? 1 : 0 },
    },
    (shape.images * tokens * shape.depth) / 4,
  );
}

export type PatchifyOperands = Omit<PatchifyShape, "depth"> & {
  pixels: GPUBuffer;
  /** [images · tokens, stride] elem, from the row of the first image's CLS token on; a row's padding becomes zero. */
  patches: View;
  normalization: Normalization;
};

/** Pixels to rows of patches, normalised; planes are normalised already. */
export function patchify(profile: Profile, { pixels, patches, normalization, ...image }: PatchifyOperands): Call {
  const { images, channels, height, width, patchSize } = image;
  const planes = image.format === "planes";
  const [image_stride, row_stride, pixel_stride, channel_stride] = planes
    ? [channels * height * width, width, 1, height * width]
    : [height * width * channels, width * channels, channels, 1];
  return call(
    planPatchify({ ...image, depth: patches.stride }, profile),
    { pixels, patches },
    {
      ...{ images, channels, width, height, patch_size: patchSize, depth: patches.stride },
      first_row: patches.first / patches.stride,
      ...{ image_stride: image_stride!, row_stride: row_stride!, pixel_stride: pixel_stride!, channel_stride: channel_stride! },
      ...normalizationValues(planes ? { mean: [], std: [] } : normalization),
    },
  );
}

export interface PatchProductShape extends ImageShape {
  patchSize: number;
  /** Inner size k of the matrix product: D / (2·C·P). */
  rank: number;
  /** Elements between the tokens' rows. */
  stride: number;
}

/** Plans kernels/patch_product.wgsl. */
export function planPatchProduct(shape: PatchProductShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    { kernel: "patch_product", entryPoint: "unpatchify", result: "f32", overrides: {} },
    shape.images * shape.channels * shape.imageSize ** 2,
  );
}

export type PatchProductOperands = Omit<PatchProductShape, "stride"> & {
  /** [images · tokens, D] elem, from its start. */
  tokens: View;
  /** [images, C, S, S] f32. */
  image: GPUBuffer;
};

/** Every patch as the matrix product of its token's two halves, in its place. */
export function patchProduct(profile: Profile, { tokens, image, ...shape }: PatchProductOperands): Call {
  const { images, channels, imageSize, patchSize, rank } = shape;
  return call(
    planPatchProduct({ ...shape, stride: tokens.stride }, profile),
    { tokens, image },
    { images, channels, image_size: imageSize, patch_size: patchSize, rank },
  );
}

export interface ConvolutionShape extends ImageShape {
  kernelSize: number;
  /** The gradient to the input from that of the output, which then binds as input. */
  flipped?: boolean;
}

/** Plans kernels/convolution.wgsl. */
export function planConvolution(shape: ConvolutionShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    {
      kernel: "convolution",
      entryPoint: "convolve",
      result: "f32",
      overrides: { FLIPPED: shape.flipped ? 1 : 0 },
    },
    shape.images * shape.channels * shape.imageSize * Math.ceil(shape.imageSize / 4),
  );
}

/** What the image kernels call the sizes of a convolution. */
export const convolutionValues = ({ images, channels, imageSize, kernelSize }: ConvolutionShape) => ({
  images,
  channels,
  image_size: imageSize,
  kernel_size: kernelSize,
});

export type ConvolutionOperands = ConvolutionShape & { input: GPUBuffer; weight: GPUBuffer; output: GPUBuffer };

/** Depthless convolution of planes with zero padding, or with `flipped` its gradient to the input. */
export function convolution(profile: Profile, { input, weight, output, ...shape }: ConvolutionOperands): Call {
  return call(planConvolution(shape, profile), { input, weight, output }, convolutionValues(shape));
}

export interface QuantizeShape extends ImageShape {
  format: "bytes" | "floats";
}

/** Plans kernels/quantize.wgsl. */
export function planQuantize(shape: QuantizeShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    {
      kernel: "quantize",
      entryPoint: "quantize",
      result: "f32",
      overrides: { BYTES: shape.format === "bytes" ? 1 : 0 },
    },
    imageBytes(shape, shape.format) / 4,
  );
}

export type QuantizeOperands = QuantizeShape & { image: GPUBuffer; pixels: GPUBuffer; normalization: Normalization };

/** Normalised planes to pixels: bytes are rounded, floats clamped to [0, 1]. */
export function quantize(profile: Profile, { image, pixels, normalization, ...shape }: QuantizeOperands): Call {
  const { images, channels, imageSize } = shape;
  return call(
    planQuantize(shape, profile),
    { image, pixels },
    { images, channels, image_size: imageSize, ...normalizationValues(normalization) },
  );
}
