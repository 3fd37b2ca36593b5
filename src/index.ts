/// <reference lib="esnext.disposable" preserve="true" />
/** The public surface. Everything else may change without notice. */
import "./globals.js";

export { type ErrorCode, StylizingError } from "./errors.js";
export type { AdapterChoice, AdapterReport, GpuOptions } from "./gpu/gpu.js";
export type { Precision } from "./gpu/profile.js";
export type { TuneMode } from "./gpu/tuner.js";
export { type CatalogueEntry, listModels } from "./hub/catalogue.js";
export { matchColour } from "./image/colour-match.js";
export { type GpuImages, type Image, type Images, type ImageTensor, measureStatistics } from "./model/batch.js";
export type { ModelConfig, Preset } from "./model/config.js";
export type { Trace } from "./model/engine.js";
export type { BatchTiming, StreamBatch, StreamPair, StreamTiming } from "./model/stream.js";
export {
  type LoadOptions,
  type LoadProgress,
  type ModelReport,
  type StreamOptions,
  type StyleBank,
  type StylizeOptions,
  StylizingViT,
  type TuneReport,
} from "./model/stylizing-vit.js";
export { type ExportOptions, type ExportProgress, type ExportReport, exportOnnx } from "./onnx/export.js";
export { HOSPITALS, type Hospital, paintTissue, randomHospital, type TissueOptions, type TissueTile } from "./tissue/painter.js";
export { psnr, ssim } from "./train/metrics.js";
export type { EpochReport, TrainingProgress } from "./train/progress.js";
export { type PrepareProgress, Trainer, type TrainerOptions, type TrainerReport } from "./train/trainer.js";
export type { Losses } from "./train/types.js";
export { VERSION } from "./version.js";
