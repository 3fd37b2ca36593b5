import { type Plan, u32, type Word } from "../gpu/dispatch.js";
import type { Profile } from "../gpu/profile.js";
import { type ConvolutionShape, type PatchProductShape, planInvocations } from "./images.js";

/**
 * Backward pass of the decoder's two ends. The gradient to the convolution's input is the forward kernel, flipped
 * (`planConvolution` with `flipped`).
 */

/** Rows of an image that one partial gradient sums over. */
const SLAB_ROWS = 8;

/** Partial gradients of a batch: [convolutionGradientSlices, convolutionGradientStride] f32, to be summed over the first. */
export const convolutionGradientSlices = ({ images, imageSize }: Pick<ConvolutionShape, "images" | "imageSize">): number =>
  images * Math.ceil(imageSize / SLAB_ROWS);

/** Numbers of a partial gradient: those of the weight [C, C, K, K], padded with zeros to a multiple of 4. */
export const convolutionGradientStride = ({ channels, kernelSize }: Pick<ConvolutionShape, "channels" | "kernelSize">): number =>
  4 * Math.ceil((channels * kernelSize) ** 2 / 4);

/** Plans kernels/convolution_gradient.wgsl; buffers bind as input, gradient of the output, partials. */
export function planConvolutionGradient(shape: ConvolutionShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    {
      kernel: "convolution_gradient",
      entryPoint: "convolution_gradient",
      result: "f32",
      overrides: { ROWS: SLAB_ROWS },
      bindings: ["read", "read", "write"],
    },
    convolutionGradientSlices(shape) * convolutionGradientStride(shape),
  );
}

/** Offsets are any number of floats. */
export function convolutionGradientParameters(
  shape: ConvolutionShape,
  {
    inputOffset = 0,
    gradientOffset = 0,
    partialsOffset = 0,
  }: { inputOffset?: number; gradientOffset?: number; partialsOffset?: number } = {},
): Word[] {
  return [
    ...[shape.images, shape.channels, shape.imageSize, shape.kernelSize, convolutionGradientStride(shape)],
    ...[inputOffset, gradientOffset, partialsOffset],
  ].map(u32);
}

export interface PatchProductBackwardPlacement {
  /** Of the image's gradient: any number of floats. */
  imageOffset?: number;
  /** Of the tokens, in elements. */
  tokensOffset?: number;
  /** Of the tokens' gradient, in elements: a multiple of 4, as is the stride of its rows, which is the tokens' if none is given. */
  outputOffset?: number;
  outputStride?: number;
}

/** Plans kernels/patch_product_backward.wgsl; buffers bind as gradient of the image, tokens, gradient of the tokens. */
export function planPatchProductBackward(
  shape: PatchProductShape,
  profile: Profile,
  { outputStride = shape.stride }: Pick<PatchProductBackwardPlacement, "outputStride"> = {},
): Plan {
  const tokens = (shape.imageSize / shape.patchSize) ** 2 + 1;
  return planInvocations(
    profile,
    {
      kernel: "patch_product_backward",
      entryPoint: "patch_product_backward",
      result: "elem",
      overrides: {},
      bindings: ["read", "read", "write"],
    },
    (shape.images * tokens * outputStride) / 4,
  );
}

export function patchProductBackwardParameters(
  shape: PatchProductShape,
  { imageOffset = 0, tokensOffset = 0, outputOffset = 0, outputStride = shape.stride }: PatchProductBackwardPlacement = {},
): Word[] {
  return [
    ...[shape.images, shape.channels, shape.imageSize, shape.patchSize, shape.rank],
    ...[imageOffset, tokensOffset, shape.stride, outputOffset / 4, outputStride / 4],
  ].map(u32);
}
