import type { ModelConfig } from "./stylizing-vit/config.js";
import type { Losses } from "./stylizing-vit/losses.js";
import { type StylizingOptions, stylizing } from "./stylizing-vit/task.js";
import type { TaskKind } from "./task.js";

/** What the tasks that there are can be told, are configured by, lose, and are measured by. */
export type TaskOptions = StylizingOptions;
export type TaskConfig = ModelConfig;
export type TaskLosses = Losses;
export interface TaskMetrics {
  /** Of the validation images' reconstructions: decibels (at most 100 an image), and structural similarity. */
  psnr: number;
  ssim: number;
  /** Distance of the colours of validation images' results from their styles' (`colourDistance`). */
  colour: number;
}

/** The task that a run's options ask for. */
export const taskOf = (_options: TaskOptions): TaskKind<TaskConfig, TaskOptions> => stylizing;
