import { StylizingError } from "../errors.js";
import { checkGpuOptions, type GpuOptions } from "../gpu/gpu.js";
import { checkWorkers } from "../image/pool.js";
import { checkConfig, checkShapes, type ModelConfig, parameterShapes, presetConfig } from "../model/config.js";
import { findModel, givenConfig } from "../model/open.js";
import type { Recipe } from "./checkpoint.js";
import { initialWeights } from "./initialise.js";
import { LOSS_TERMS, LOSS_WEIGHTS, type Losses } from "./types.js";

export interface PrepareProgress {
  /** Pictures read once and measured, and bytes of the losses' network. */
  phase: "measure" | "download";
  loaded: number;
  total: number;
}

/** Where a run is resumed, what is not given is taken from the run. */
export interface TrainerOptions extends Omit<GpuOptions, "device"> {
  /** Folders of training pictures, read at any depth. */
  data: readonly string[];
  /** Folders of validation pictures. */
  val: readonly string[];
  /** The run's folder: the best model, the state to resume from, a log, a curve and sheets. */
  out: string;
  /** Goes on with the run in `out`; begins one where there is none. */
  resume?: boolean | undefined;
  /** A published size; `tiny` where neither this, `config` nor `init` is given. */
  preset?: string | undefined;
  /** A configuration, or the path of a JSON file that holds one. */
  config?: ModelConfig | string | undefined;
  /** A model whose weights are the first ones: a published name, a folder or a `.safetensors` file. */
  init?: string | undefined;
  /** Side of the pictures as the model sees them, in pixels, instead of the configuration's. */
  imageSize?: number | undefined;
  /** Default 50. */
  epochs?: number | undefined;
  /** Pictures a step, at least 2: the style of each is the next one. Default 64. */
  batch?: number | undefined;
  /** Pictures that are on the device at a time; gradients add up over a batch. Default: what fits. */
  microBatch?: number | undefined;
  /** Of AdamW in the first epoch; it falls to zero along a cosine, once an epoch. Default 1e-3. */
  lr?: number | undefined;
  /** Of AdamW, for every parameter. Default 1e-2. */
  weightDecay?: number | undefined;
  /** Longest gradient, as a norm over all parameters; longer ones are scaled down to it. Default 1. */
  clip?: number | undefined;
  /** Default 70, 1, 7 and 10. */
  lossWeights?: Losses | undefined;
  /** Of the initial weights and of the order and crops of pictures. Default 0. */
  seed?: number | undefined;
  /** Where the losses' frozen VGG-19 comes from: `hub` (the default), a file, or `random:SEED`. */
  vgg?: string | undefined;
  /** The whole picture, scaled (the default), or a random square of it at its own resolution. */
  crop?: "whole" | "random" | undefined;
  /** How many times each picture stands in an epoch. Default 1. */
  crops?: number | undefined;
  /** Mirrors training pictures at random. Default false. */
  flips?: boolean | undefined;
  /** Computes activations a second time instead of keeping them: less memory, more time. Default false. */
  recompute?: boolean | undefined;
  /** Statistics of the pictures per channel, in [0, 1]; by default `init`'s or the configuration's, else they are measured. */
  mean?: readonly number[] | undefined;
  std?: readonly number[] | undefined;
  /** Validation pictures at most, spread evenly over those given. Default 512. */
  validationImages?: number | undefined;
  /** Threads that read pictures: by default as many as there are cores, at most 8; 0 for none. */
  workers?: number | undefined;
  /** Decoded training pictures that are kept in memory, in bytes. Default 1 GiB. */
  cacheBytes?: number | undefined;
  /** Between states written within an epoch: minutes (default 10), and steps where given. */
  checkpointMinutes?: number | undefined;
  checkpointSteps?: number | undefined;
  /** Between progress events within an epoch: seconds (default 1), or steps where given. */
  reportSeconds?: number | undefined;
  reportEverySteps?: number | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: PrepareProgress) => void) | undefined;
  /** Receives what is worth knowing before the run begins. */
  onNote?: ((note: string) => void) | undefined;
}

/** The published recipe. */
export const DEFAULTS: Omit<Recipe, "init"> = {
  epochs: 50,
  batch: 64,
  lr: 1e-3,
  weightDecay: 1e-2,
  clip: 1,
  lossWeights: { ...LOSS_WEIGHTS },
  seed: 0,
  vgg: "hub",
  crop: "whole",
  crops: 1,
  flips: false,
  validationImages: 512,
};
const RECIPE_KEYS = [...Object.keys(DEFAULTS), "init"] as (keyof Recipe)[];

export function refuse(problem: string, fix: string): never {
  throw new StylizingError("ARGUMENT", problem, fix);
}

/** @throws StylizingError `ARGUMENT`, naming the option. */
export function checkOptions(options: TrainerOptions): void {
  const check = (name: keyof TrainerOptions, fits: (value: number) => boolean, fix: string) => {
    const value = options[name];
    if (value !== undefined && !(typeof value === "number" && fits(value))) refuse(`${name} is ${String(value)}.`, fix);
  };
  const wholeFrom = (least: number) => (value: number) => Number.isSafeInteger(value) && value >= least;
  for (const name of ["epochs", "crops", "microBatch", "imageSize", "checkpointSteps", "reportEverySteps"] as const)
    check(name, wholeFrom(1), "Give a positive whole number.");
  check("batch", wholeFrom(2), "Give a whole number from 2 on: the style of each picture is the next one of the batch.");
  check("validationImages", wholeFrom(2), "Give a whole number from 2 on.");
  check("seed", Number.isSafeInteger, "Give a whole number.");
  for (const name of ["lr", "clip"] as const)
    check(name, (value) => value > 0 && Number.isFinite(value), "Give a positive number.");
  for (const name of ["weightDecay", "cacheBytes", "checkpointMinutes", "reportSeconds"] as const)
    check(name, (value) => value >= 0, "Give a number from 0 on.");
  checkWorkers(options.workers);
  checkGpuOptions(options);
  // A run that is resumed does not always come to look at it.
  if (options.preset !== undefined) presetConfig(options.preset);
  const { lossWeights, crop, microBatch } = options;
  const batch = options.batch ?? (options.resume ? Number.POSITIVE_INFINITY : DEFAULTS.batch);
  if (lossWeights) {
    const values = LOSS_TERMS.map((term) => lossWeights[term]);
    if (!values.every((value) => Number.isFinite(value) && value >= 0) || !values.some((value) => value > 0))
      refuse(`lossWeights are ${values.join(", ")}.`, `Give numbers from 0 on, not all 0, for ${LOSS_TERMS.join(", ")}.`);
  }
  if (crop !== undefined && crop !== "whole" && crop !== "random")
    refuse(`crop is ${JSON.stringify(crop)}.`, 'Give "whole" or "random".');
  if (microBatch !== undefined && microBatch > batch)
    refuse(`microBatch is ${microBatch}, more than the batch of ${batch}.`, "Give at most the batch.");
}

/** What was given of a recipe. */
export function givenRecipe(options: TrainerOptions): Partial<Recipe> {
  const given = RECIPE_KEYS.map((key) => [key, options[key]] as const).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as Partial<Recipe>;
}

/** The first model, and where its weights come from. */
export async function firstModel(
  options: TrainerOptions,
  seed: number,
): Promise<{ config: ModelConfig; weights: (config: ModelConfig) => Promise<Map<string, Float32Array>> }> {
  const { init, imageSize, preset, config, signal } = options;
  if (init === undefined) {
    if (preset !== undefined && config !== undefined) refuse("Both a preset and a configuration are given.", "Give one of them.");
    const given = (await givenConfig(config === undefined ? { preset: preset ?? "tiny" } : { config }))!;
    const sized = imageSize === undefined ? given : checkConfig({ ...given, image_size: imageSize });
    return { config: sized, weights: async (settled) => initialWeights(settled, seed) };
  }
  const found = await findModel(init, { config, preset, signal });
  if (imageSize !== undefined && imageSize !== found.config.image_size) {
    const problem = `${init} takes pictures of ${found.config.image_size} pixels, and --image-size is ${imageSize}.`;
    refuse(problem, "Leave it away: a model's positions belong to its size.");
  }
  const weights = async (settled: ModelConfig) => {
    await using source = await found.open();
    checkShapes(settled, source.shapes, source.label);
    const values = new Map<string, Float32Array>();
    for (const key of parameterShapes(settled).keys()) values.set(key, await source.read(key));
    return values;
  };
  return { config: found.config, weights };
}
