import type { Gpu } from "../gpu/gpu.js";
import type { WeightSource } from "../hub/weight-source.js";
import type { ModelConfig } from "../model/config.js";
import type { Losses, TrainingEngine } from "./types.js";

export interface TrainingEngineOptions {
  batch: number;
  microBatch?: number | undefined;
  initial: ReadonlyMap<string, Float32Array>;
  vgg: WeightSource;
  lossWeights: Losses;
  clip: number;
  weightDecay: number;
  recompute: boolean;
  signal?: AbortSignal | undefined;
}

export async function createTrainingEngine(
  _gpu: Gpu,
  _config: ModelConfig,
  _options: TrainingEngineOptions,
): Promise<TrainingEngine> {
  throw new Error("not built");
}
