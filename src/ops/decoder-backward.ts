import { type Call, call, type Plan } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import type { View } from "../gpu/view.js";
import { type ConvolutionShape, convolutionValues, type PatchProductShape, planInvocations } from "./images.js";

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

/** Plans kernels/convolution_gradient.wgsl. */
export function planConvolutionGradient(shape: ConvolutionShape, profile: Profile): Plan {
  return planInvocations(
    profile,
    {
      kernel: "convolution_gradient",
      entryPoint: "convolution_gradient",
      result: "f32",
      overrides: { ROWS: SLAB_ROWS },
    },
    convolutionGradientSlices(shape) * convolutionGradientStride(shape),
  );
}

export type ConvolutionGradientOperands = ConvolutionShape & {
  /** What was convolved, and the gradient of what came out: [images, C, S, S] f32. */
  input: View;
  dOutput: View;
  /** [convolutionGradientSlices, convolutionGradientStride] f32. */
  partials: View;
};

/** Partial sums of the gradient of a convolution's weight. */
export function convolutionGradient(profile: Profile, { input, dOutput, partials, ...shape }: ConvolutionGradientOperands): Call {
  return call(
    planConvolutionGradient(shape, profile),
    { input, d_output: dOutput, partials },
    { ...convolutionValues(shape), stride: convolutionGradientStride(shape) },
  );
}

/** Plans kernels/patch_product_backward.wgsl. */
export function planPatchProductBackward(
  shape: PatchProductShape,
  profile: Profile,
  { outputStride = shape.stride }: { outputStride?: number } = {},
): Plan {
  const tokens = (shape.imageSize / shape.patchSize) ** 2 + 1;
  return planInvocations(
    profile,
    {
      kernel: "patch_product_backward",
      entryPoint: "patch_product_backward",
      result: "elem",
      overrides: {},
    },
    (shape.images * tokens * outputStride) / 4,
  );
}

export type PatchProductBackwardOperands = Omit<PatchProductShape, "stride"> & {
  /** [images, C, S, S] f32. */
  dImage: View;
  /** [images · tokens, D] elem, and its gradient. */
  tokens: View;
  dTokens: View;
};

/** Gradient of `patchProduct` to its tokens; CLS has none. */
export function patchProductBackward(
  profile: Profile,
  { dImage, tokens, dTokens, ...shape }: PatchProductBackwardOperands,
): Call {
  const { images, channels, imageSize, patchSize, rank } = shape;
  return call(
    planPatchProductBackward({ ...shape, stride: tokens.stride }, profile, { outputStride: dTokens.stride }),
    { d_image: dImage, tokens, d_tokens: dTokens },
    { images, channels, image_size: imageSize, patch_size: patchSize, rank },
  );
}
