import type { Plan } from "../../src/gpu/dispatch.js";
import type { Profile } from "../../src/gpu/profile.js";
import { planConvolutionGradient, planPatchProductBackward } from "../../src/ops/decoder-backward.js";
import {
  planFeatureStatistics,
  planMapsToPlanes,
  planMaxPool,
  planNormalizePixels,
  planPlanesToMaps,
} from "../../src/ops/features.js";
import { planConvolution } from "../../src/ops/images.js";
import { planConsistencyLoss, planFeatureBackward, planPixelLoss, planStylizedLoss } from "../../src/ops/losses.js";
import { convolutionGradientCases, mapsCases, patchProductGradientCases } from "./feature-cases.js";

/** VGG-19's levels of a published picture. */
const levels = [64, 128, 256, 512, 512, 512].map((channels, level) => ({ images: 128, side: 224 >> level, channels }));

/** Plans of the kernels for feature maps, losses and the decoder's backward pass. */
export const featurePlans = (profile: Profile): Plan[] => [
  ...[...mapsCases, ...levels].flatMap((shape) => {
    const image = { ...shape, imageSize: shape.side };
    return [
      planNormalizePixels(image, profile),
      planPlanesToMaps(shape, profile),
      ...[false, true].map((accumulate) => planMapsToPlanes({ ...shape, accumulate }, profile)),
      planMaxPool(shape, profile),
      planFeatureStatistics(shape, profile),
      planConsistencyLoss(shape, profile),
      planStylizedLoss(shape, profile),
      ...[false, true].flatMap((mask) => [false, true].map((pooled) => planFeatureBackward({ ...shape, mask, pooled }, profile))),
      planPixelLoss(image, profile),
    ];
  }),
  ...convolutionGradientCases.flatMap((one) => {
    const shape = { ...one, imageSize: one.side };
    return [planConvolution({ ...shape, flipped: true }, profile), planConvolutionGradient(shape, profile)];
  }),
  ...patchProductGradientCases.map(({ gap = 0, ...one }) => {
    const stride = 2 * one.channels * one.patchSize * one.rank + gap;
    return planPatchProductBackward({ ...one, imageSize: one.side, stride }, profile);
  }),
];
