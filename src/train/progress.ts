import type { AdapterReport } from "../gpu/gpu.js";
import type { Tier } from "../gpu/profile.js";
import type { TaskConfig, TaskLosses, TaskMetrics, TaskName } from "../models/tasks.js";
import type { Recipe } from "./types.js";

/** Unweighted terms and their weighted sum. */
export type LossReport = TaskLosses & { total: number };

/** What an epoch came to: a line of `log.jsonl`. */
export interface EpochReport extends TaskMetrics {
  /** From 1. */
  epoch: number;
  /** Steps since the weights were initialised. */
  step: number;
  learningRate: number;
  /** Means over the epoch's steps, each with the weights as they then were. */
  training: LossReport;
  /** Means over the validation images, with the weights at the epoch's end. */
  validation: LossReport;
  /** Norm of the last step's gradient before it was clipped. */
  gradientNorm: number;
  /** Whether no epoch before was better, by the validation loss or the metric that chooses: its weights are the model. */
  best: boolean;
  /** Of training and validation together. */
  seconds: number;
  imagesPerSecond: number;
}

export type TrainingProgress =
  | {
      kind: "step";
      /** From 1. */
      epoch: number;
      epochs: number;
      /** Steps done of this epoch's `steps`. */
      step: number;
      steps: number;
      /** Means over the steps since the last report. */
      losses: LossReport;
      learningRate: number;
      gradientNorm: number;
      imagesPerSecond: number;
      /** Until the last epoch's end. */
      secondsLeft: number;
    }
  | ({ kind: "epoch" } & EpochReport)
  | { kind: "note"; text: string };

/** What is trained on what. */
export interface TrainerReport {
  out: string;
  task: TaskName;
  config: TaskConfig;
  recipe: Recipe;
  microBatch: number;
  /** Readable training images, those that are not, validation images, and steps an epoch. */
  images: number;
  unreadable: number;
  validation: number;
  steps: number;
  /** Epochs done when the trainer was made, and steps of the one after them. */
  resumed: { epoch: number; step: number } | undefined;
  deviceBytes: number;
  adapter: AdapterReport;
  tier: Tier;
  versions: { "stylizing-vit": string; webgpu: string; node: string };
}
