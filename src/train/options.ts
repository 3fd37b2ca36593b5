import { checkKinds, checkName, StylizingError } from "../errors.js";
import { checkWorkers } from "../image/pool.js";
import { checkGpuOptions, type GpuOptions } from "../models/device.js";
import type { TaskKind } from "../models/task.js";
import type { TaskConfig, TaskOptions } from "../models/tasks.js";
import type { LossSums, Recipe } from "./types.js";

export interface PrepareProgress {
  /** Images read once and measured, and bytes of weights. */
  phase: "measure" | "download";
  loaded: number;
  total: number;
}

/** Where a run is resumed, what is not given is taken from the run; what is given must be what it was begun with, but `epochs`. */
export interface TrainerOptions extends Omit<GpuOptions, "device">, TaskOptions {
  /** Folders of training images, read at any depth; for classifying with a folder for each class. */
  data?: readonly string[] | undefined;
  /** Folders of validation images; for classifying also CSV files, or none with `valPortion`. */
  val?: readonly string[] | undefined;
  /** The run's folder: the best model, the state to resume from, a log, a curve and sheets. */
  out: string;
  /** Goes on with the run in `out`; begins one where there is none. */
  resume?: boolean | undefined;
  /**
   * Default 50; of classifying 25. A run that is resumed may be given more, or fewer: epochs done stay as they were, and the learning rate is from there
   * on that of a run of so many epochs.
   */
  epochs?: number | undefined;
  /** Images a step, at least 2: the style of each is the next one. Default 64. */
  batch?: number | undefined;
  /** Images that are on the device at a time; gradients add up over a batch. Default: what fits. */
  microBatch?: number | undefined;
  /**
   * Learning rate. Painting: AdamW's in the first epoch; it falls to zero along a cosine, once an epoch; default 1e-3. Classifying: behind
   * the warm-up; it falls to `minLr` along a cosine, every step; default 1e-4.
   */
  lr?: number | undefined;
  /** Painting: AdamW's, for every parameter; default 1e-2. Classifying: for matrices; default 1e-5. */
  weightDecay?: number | undefined;
  /** Longest gradient, as a norm over all parameters; longer ones are scaled down to it. Default 1. */
  clip?: number | undefined;
  /** Of the initial weights and of the order and crops of images. Default 0. */
  seed?: number | undefined;
  /** The whole image, scaled (the default), or a random square of it at its own resolution. */
  crop?: "whole" | "random" | undefined;
  /** How many times each image stands in an epoch. Default 1. */
  crops?: number | undefined;
  /** Mirrors training images at random. Default false. */
  flips?: boolean | undefined;
  /** Computes activations a second time instead of keeping them: less memory, more time. Default false. */
  recompute?: boolean | undefined;
  /** Statistics of the images per channel, in [0, 1]; by default `init`'s or the configuration's, else they are measured. */
  mean?: readonly number[] | undefined;
  std?: readonly number[] | undefined;
  /** Validation images at most, spread evenly over those given. Default 512. */
  validationImages?: number | undefined;
  /** Threads that read images: by default as many as there are cores, at most 8; 0 for none. */
  workers?: number | undefined;
  /** Decoded training images that are kept in memory, in bytes. Default 1 GiB. */
  cacheBytes?: number | undefined;
  /** Between states written within an epoch: minutes (default 10), and steps where given. */
  checkpointMinutes?: number | undefined;
  checkpointSteps?: number | undefined;
  /** Between progress events within an epoch: seconds (default 1), or steps where given. */
  reportSeconds?: number | undefined;
  reportEverySteps?: number | undefined;
  onProgress?: ((progress: PrepareProgress) => void) | undefined;
  /** Receives notices before the run begins. */
  onNote?: ((note: string) => void) | undefined;
}

type Kind = TaskKind<TaskConfig, TaskOptions>;

/** The published recipe. */
export const defaultsOf = ({ terms, recipe }: Kind): Recipe => ({
  epochs: 50,
  batch: 64,
  lr: 1e-3,
  weightDecay: 1e-2,
  clip: 1,
  lossWeights: Object.fromEntries(terms.map(({ name, weight }) => [name, weight])),
  seed: 0,
  ...recipe,
  crop: "whole",
  crops: 1,
  flips: false,
  validationImages: 512,
  ...recipe,
});

export function refuse(problem: string, fix: string): never {
  throw new StylizingError("ARGUMENT", problem, fix);
}

/** Looks at what has to be right before a run's folder is read. @throws StylizingError `ARGUMENT`, naming the option. */
export function checkTypes(options: TrainerOptions): void {
  if (typeof options !== "object" || options === null)
    refuse("A trainer is given no options.", 'Give an object: { data: ["training"], val: ["validation"], out: "my-model" }.');
  checkKinds(options, {
    ...{ data: "texts", val: "texts", out: "text", resume: "flag", crop: "text", flips: "flag", recompute: "flag" },
    ...{ mean: "numbers", std: "numbers", signal: "signal", onProgress: "function", onNote: "function" },
  });
  if (!options.out) refuse(`out is ${JSON.stringify(options.out)}.`, "Give the folder that the run is to be in.");
}

/** @throws StylizingError `ARGUMENT`, naming the option. */
export function checkOptions(options: TrainerOptions, task: Kind): void {
  const check = (name: keyof TrainerOptions, fits: (value: number) => boolean, fix: string) => {
    const value = options[name];
    if (value !== undefined && !(typeof value === "number" && fits(value))) refuse(`${name} is ${String(value)}.`, fix);
  };
  const wholeFrom = (least: number) => (value: number) => Number.isSafeInteger(value) && value >= least;
  for (const name of ["epochs", "crops", "microBatch", "imageSize", "checkpointSteps", "reportEverySteps"] as const)
    check(name, wholeFrom(1), "Give a positive whole number.");
  const { fewest } = task;
  check("batch", wholeFrom(fewest), `Give a whole number from ${fewest} on: a batch of this task has as many images at least.`);
  check("validationImages", wholeFrom(fewest), `Give a whole number from ${fewest} on.`);
  check("seed", Number.isSafeInteger, "Give a whole number.");
  for (const name of ["lr", "clip"] as const)
    check(name, (value) => value > 0 && Number.isFinite(value), "Give a positive number.");
  for (const name of ["weightDecay", "cacheBytes", "checkpointMinutes", "reportSeconds"] as const)
    check(name, (value) => value >= 0, "Give a number from 0 on.");
  if (options.best !== undefined) checkName("best", options.best, Object.keys(task.bests));
  checkWorkers(options.workers);
  checkGpuOptions(options);
  task.checkOptions(options);
  const { lossWeights, crop, microBatch } = options;
  const batch = options.batch ?? (options.resume ? Number.POSITIVE_INFINITY : defaultsOf(task).batch);
  if (lossWeights) {
    const names = task.terms.map(({ name }) => name);
    const values = names.map((name) => (lossWeights as LossSums)[name]!);
    if (!values.every((value) => Number.isFinite(value) && value >= 0) || !values.some((value) => value > 0))
      refuse(`lossWeights are ${values.join(", ")}.`, `Give numbers from 0 on, not all 0, for ${names.join(", ")}.`);
  }
  if (crop !== undefined && crop !== "whole" && crop !== "random")
    refuse(`crop is ${JSON.stringify(crop)}.`, 'Give "whole" or "random".');
  if (microBatch !== undefined && microBatch > batch)
    refuse(`microBatch is ${microBatch}, more than the batch of ${batch}.`, "Give at most the batch.");
}

/** What was given of a recipe. */
export function givenRecipe(options: TrainerOptions, task: Kind): Partial<Recipe> {
  const keys = [...Object.keys(defaultsOf(task)), "init"] as (keyof TrainerOptions)[];
  const given = keys.map((key) => [key, options[key]] as const).filter(([, value]) => value !== undefined);
  const recipe = Object.fromEntries(given) as Partial<Recipe>;
  // In the task's order: sums of terms depend on it in their last digit.
  const { lossWeights } = recipe;
  if (lossWeights) recipe.lossWeights = Object.fromEntries(task.terms.map(({ name }) => [name, lossWeights[name]!]));
  return recipe;
}
