import type { Plan } from "../../src/gpu/call.js";
import type { Profile } from "../../src/gpu/profile.js";
import type { Op } from "../support/op.js";
import { adamWOp } from "./adamw.case.js";
import { addRowsOp } from "./add-rows.case.js";
import { attentionOp } from "./attention.case.js";
import { attentionBackwardContextOp, attentionBackwardQueryOp } from "./attention-backward.case.js";
import { clearMarginOp } from "./clear-margin.case.js";
import { clsAttentionOp } from "./cls-attention.case.js";
import { consistencyLossOp } from "./consistency-loss.case.js";
import { convolutionOp } from "./convolution.case.js";
import { convolutionGradientOp } from "./convolution-gradient.case.js";
import { crossEntropyOp } from "./cross-entropy.case.js";
import { featureBackwardOp } from "./feature-backward.case.js";
import { featureStatisticsOp } from "./feature-statistics.case.js";
import { finishStepOp } from "./finish-step.case.js";
import { foldBiasOp } from "./fold-bias.case.js";
import { foldMatrixOp } from "./fold-matrix.case.js";
import { fourierApplyOp, fourierBackOp, fourierColumnsOp, fourierRowsOp, fourierSwapOp } from "./fourier.case.js";
import { geluOp } from "./gelu.case.js";
import { guidedApplyOp, guidedFitOp, guidedMomentsOp, guidedSmoothOp } from "./guided.case.js";
import { layerNormOp } from "./layer-norm.case.js";
import { layerNormBackwardOp } from "./layer-norm-backward.case.js";
import { levelCountsOp, levelTablesOp, relevelOp } from "./levels.case.js";
import { linearOp } from "./linear.case.js";
import { linearSlicesOp } from "./linear-slices.case.js";
import { linearWindowsOp } from "./linear-windows.case.js";
import { mapsToPlanesOp } from "./maps-to-planes.case.js";
import { maxPoolOp } from "./max-pool.case.js";
import { narrowOp } from "./narrow.case.js";
import { normalizePixelsOp } from "./normalize-pixels.case.js";
import { patchProductOp } from "./patch-product.case.js";
import { patchProductBackwardOp } from "./patch-product-backward.case.js";
import { patchifyOp } from "./patchify.case.js";
import { perceptualDistanceOp } from "./perceptual-distance.case.js";
import { pixelLossOp } from "./pixel-loss.case.js";
import { planesToMapsOp } from "./planes-to-maps.case.js";
import { positionTableOp } from "./position-table.case.js";
import { quantizeOp } from "./quantize.case.js";
import { colourMomentsOp, colourStatisticsOp, momentRecipeOp, recolourOp } from "./restyle.case.js";
import { scaleRowsOp } from "./scale-rows.case.js";
import { stainCountsOp, stainFitOp, stainRecipeOp, stainSelectOp } from "./stains.case.js";
import { stylizedLossOp } from "./stylized-loss.case.js";
import { sumRowsOp } from "./sum-rows.case.js";
import { sumSlicesOp } from "./sum-slices.case.js";
import { sumSquaresOp } from "./sum-squares.case.js";
import { transposeOp } from "./transpose.case.js";
import { unfoldOp } from "./unfold.case.js";

/** The ops of a forward pass, in its order. */
export const FORWARD_OPS: readonly Op[] = [
  patchifyOp,
  linearOp,
  layerNormOp,
  attentionOp,
  patchProductOp,
  convolutionOp,
  quantizeOp,
];

/** Every op, for tests of all plans and for benches. */
export const ALL_OPS: readonly Op[] = [
  ...FORWARD_OPS,
  // GEMMs and rows of a backward pass.
  linearSlicesOp,
  layerNormBackwardOp,
  attentionBackwardQueryOp,
  attentionBackwardContextOp,
  transposeOp,
  sumRowsOp,
  sumSlicesOp,
  addRowsOp,
  geluOp,
  narrowOp,
  scaleRowsOp,
  convolutionGradientOp,
  patchProductBackwardOp,
  // Feature maps and losses.
  normalizePixelsOp,
  planesToMapsOp,
  linearWindowsOp,
  maxPoolOp,
  featureStatisticsOp,
  consistencyLossOp,
  stylizedLossOp,
  pixelLossOp,
  featureBackwardOp,
  mapsToPlanesOp,
  clearMarginOp,
  perceptualDistanceOp,
  // Classifiers.
  clsAttentionOp,
  crossEntropyOp,
  // Full resolution.
  guidedMomentsOp,
  guidedFitOp,
  guidedSmoothOp,
  guidedApplyOp,
  // Closed forms of restyling.
  colourMomentsOp,
  colourStatisticsOp,
  momentRecipeOp,
  stainCountsOp,
  stainSelectOp,
  stainFitOp,
  stainRecipeOp,
  recolourOp,
  levelCountsOp,
  levelTablesOp,
  relevelOp,
  fourierRowsOp,
  fourierColumnsOp,
  fourierSwapOp,
  fourierBackOp,
  fourierApplyOp,
  // Weights and their steps.
  foldMatrixOp,
  foldBiasOp,
  positionTableOp,
  unfoldOp,
  sumSquaresOp,
  finishStepOp,
  adamWOp,
];

/** The plans of every candidate of all cases. */
export const allCandidates = (profile: Profile, ops: readonly Op[] = ALL_OPS): Plan[] =>
  ops.flatMap((op) => op.cases.flatMap((one) => op.setup(one, profile).call.candidates.map(({ plan }) => plan)));

/** The default plans of all cases. */
export const defaultPlans = (profile: Profile, ops: readonly Op[] = ALL_OPS): Plan[] =>
  ops.flatMap((op) => op.cases.map((one) => op.setup(one, profile).call.candidates[0]!.plan));
