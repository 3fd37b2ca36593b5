/// <reference lib="esnext.disposable" preserve="true" />
/** The public surface. Everything else may change without notice. */
import "./globals.js";

export type { AugmentOptions, StyleWay } from "./augment/augment-options.js";
export { type AugmentedBatch, Augmenter, type AugmentOp } from "./augment/augmenter.js";
export { Classifier } from "./classifier/classifier.js";
export type {
  AttentionMap,
  AttentionMaps,
  Classification,
  ClassifierOptions,
  ClassifyOptions,
} from "./classifier/types.js";
export { type ErrorCode, StylizingError } from "./errors.js";
export type { AdapterChoice, AdapterReport } from "./gpu/gpu.js";
export type { Precision } from "./gpu/profile.js";
export type { TuneMode } from "./gpu/tuner.js";
export { type CatalogueEntry, listModels } from "./hub/catalogue.js";
export { type MatchedImage, matchColour } from "./image/colour-match.js";
export { colourDistance, psnr, ssim } from "./image/metrics.js";
export { dice, iou } from "./labels/masks.js";
export {
  balancedAccuracy,
  classAucs,
  classificationMetrics,
  confusionMatrix,
  macroRecall,
  quadraticKappa,
  recalls,
  rocAuc,
} from "./labels/metrics.js";
export { artFid, fidToInfinity } from "./metrics/art-fid.js";
export { FeatureMoments, frechetDistance } from "./metrics/frechet.js";
export { lpips } from "./metrics/lpips.js";
export { Vgg16, type Vgg16Options } from "./metrics/vgg16.js";
export { IntensityHistogram, wasserstein } from "./metrics/wasserstein.js";
export { type GpuImages, type Image, type Images, type ImageTensor, measureStatistics } from "./models/batch.js";
export type { GpuOptions } from "./models/device.js";
export type { LoadProgress, ModelReport } from "./models/load.js";
export type { ModelConfig, Preset } from "./models/stylizing-vit/config.js";
export type { Losses } from "./models/stylizing-vit/losses.js";
export type { VitConfig } from "./models/vit/config.js";
export { type ExportOptions, type ExportProgress, type ExportReport, exportOnnx } from "./onnx/export.js";
export type { BatchTiming, StreamBatch, StreamPair, StreamTiming } from "./painter/stream.js";
export type { StyleBank } from "./painter/style-bank.js";
export { StylizingViT } from "./painter/stylizing-vit.js";
export type { Trace } from "./painter/trace.js";
export type { LoadOptions, StreamOptions, StylizeOptions, TuneReport } from "./painter/types.js";
export { type ClosedFormOptions, ClosedForms, fitRandStainNA, openClosedForm } from "./restyle/closed-forms.js";
export { METHODS, methodNamed, type RandStainTable } from "./restyle/methods.js";
export type {
  Draw,
  Method,
  Parameter,
  Params,
  ParamValue,
  RestyleBank,
  Restyled,
  RestyleJob,
  RestyleOptions,
  Restyler,
} from "./restyle/types.js";
export { HOSPITALS, type Hospital, paintTissue, randomHospital, type TissueOptions, type TissueTile } from "./tissue/painter.js";
export type { EpochReport, TrainingProgress } from "./train/progress.js";
export { type PrepareProgress, Trainer, type TrainerOptions, type TrainerReport } from "./train/trainer.js";
export { VERSION } from "./version.js";
