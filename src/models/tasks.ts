import { checkKinds, checkName, type Kinds, StylizingError } from "../errors.js";
import type { ClassificationMetrics } from "../labels/metrics.js";
import type { ModelConfig } from "./stylizing-vit/config.js";
import type { Losses } from "./stylizing-vit/losses.js";
import { type StylizingOptions, stylizing } from "./stylizing-vit/task.js";
import type { TaskKind } from "./task.js";
import { type ClassifyingOptions, classifying } from "./vit/classify.js";
import type { VitConfig } from "./vit/config.js";

/** What a model is trained for: painting images in styles, or telling their classes. */
export const TASKS = ["stylize", "classify"] as const;
export type TaskName = (typeof TASKS)[number];

/** What the tasks that there are can be told, are configured by, lose, and are measured by. */
export type TaskOptions = { task?: TaskName | undefined } & Omit<StylizingOptions, "config"> &
  Omit<ClassifyingOptions, "config"> & { config?: TaskConfig | string | undefined };
export type TaskConfig = ModelConfig | VitConfig;
/** Those of the task are there; the others are not. */
export type TaskLosses = Partial<Losses & { crossEntropy: number }>;

/** Of the reconstructions and results of validation images. */
export interface PaintingMetrics {
  /** Decibels (at most 100 an image), and structural similarity. */
  psnr: number;
  ssim: number;
  /** Distance of the colours of results from their styles' (`colourDistance`). */
  colour: number;
}

/** Those of the task are there; the others are not. */
export type TaskMetrics = Partial<PaintingMetrics & ClassificationMetrics>;

/** Options that belong to one task alone. */
const OWN: Readonly<Record<TaskName, readonly (keyof TaskOptions)[]>> = {
  stylize: ["vgg", "lossWeights"],
  classify: [
    ...(["labels", "group", "valPortion", "labelSmoothing", "classWeights", "optimizer"] as const),
    ...(["decay", "warmup", "minLr", "dropPath", "best"] as const),
  ],
};

const KINDS: Kinds<TaskOptions> = {
  ...{ preset: "text", config: ["text", "object"], init: "text", imageSize: "number", signal: "signal" },
  ...{ vgg: "text", lossWeights: "object", labels: "text", group: "text", valPortion: "number", labelSmoothing: "number" },
  ...{ classWeights: ["text", "numbers"], optimizer: "text", decay: "text", warmup: "number", minLr: "number" },
  ...{ dropPath: "number", best: "text" },
};

/**
 * The task that a run's options ask for.
 * @throws StylizingError `ARGUMENT` where there is none of that name, or an option is another's or of the wrong type
 */
export function taskOf(options: TaskOptions): TaskKind<TaskConfig, TaskOptions> {
  checkKinds(options, KINDS);
  const { task = "stylize" } = options;
  checkName("task", task, TASKS);
  for (const other of TASKS) {
    const foreign = other === task ? undefined : OWN[other].find((name) => options[name] !== undefined);
    if (foreign !== undefined)
      throw new StylizingError(
        "ARGUMENT",
        `${foreign} is an option of the task ${other}.`,
        `Leave it away, or give the task ${other}.`,
      );
  }
  // Each is only ever given what it made itself: a run's configuration, read from its folder, is checked by the task.
  return (task === "classify" ? classifying : stylizing) as unknown as TaskKind<TaskConfig, TaskOptions>;
}
