import { StylizingError } from "../errors.js";
import { ensureOutputFolder } from "../image/atomic-write.js";
import { ImagePool } from "../image/pool.js";
import type { DataFile, TaskKind } from "../models/task.js";
import { type TaskConfig, type TaskOptions, taskOf } from "../models/tasks.js";
import {
  type ImageList,
  type RunState,
  readRun,
  refuseDifferences,
  refuseForeignFolder,
  removePartialFiles,
} from "./checkpoint.js";
import { Dataset, type DatasetOptions, fingerprint, stepsOf } from "./dataset.js";
import type { HostOptions, OpenHost, TrainingHost } from "./host.js";
import { checkOptions, checkTypes, defaultsOf, givenRecipe, refuse, type TrainerOptions } from "./options.js";
import { noLosses, type Recipe } from "./types.js";
import { alsoTrainedOn, loadValidation, type ValidationSet } from "./validation.js";

export type Kind = TaskKind<TaskConfig, TaskOptions>;

/** What a host is opened with. */
export function hostOptions(options: TrainerOptions, task: Kind, recipe: Recipe, channels: number): HostOptions {
  const { signal, onProgress, adapter, precision, tune } = options;
  return {
    task,
    recipe,
    channels,
    signal,
    onProgress: ({ loaded, total }) => onProgress?.({ phase: "download", loaded, total }),
    ...(adapter === undefined ? {} : { adapter }),
    ...(precision === undefined ? {} : { precision }),
    ...(tune === undefined ? {} : { tune }),
  };
}

/** Reads all training images once and settles what is measured over them. */
async function beginRun(
  { mean, std, signal, onProgress, onNote }: TrainerOptions,
  files: readonly DataFile[],
  reading: DatasetOptions,
  task: Kind,
  known: Pick<RunState, "config" | "recipe" | "data" | "validation">,
): Promise<{ dataset: Dataset; run: RunState }> {
  const onRead = (loaded: number, total: number) => onProgress?.({ phase: "measure", loaded, total });
  const { dataset, unreadable, ...measured } = await Dataset.open(files, reading, { signal, onProgress: onRead });
  const statistics = { mean: mean ?? known.config.mean, std: std ?? known.config.std };
  if (!statistics.mean || !statistics.std) {
    const values = `mean ${measured.mean.join(",")} and std ${measured.std.join(",")}`;
    onNote?.(`${values} were measured over ${dataset.files.length} images`);
  }
  const config = task.checkConfig({
    ...known.config,
    mean: statistics.mean ?? measured.mean,
    std: statistics.std ?? measured.std,
  });
  const sums = noLosses(Object.keys(known.recipe.lossWeights));
  const run: RunState = {
    task: task.name,
    ...known,
    config,
    unreadable,
    epoch: 0,
    step: 0,
    sums,
    gradientNorm: 0,
    seconds: 0,
    log: [],
  };
  return { dataset, run };
}

/** A run that is ready to go on, or to begin. */
export interface PreparedRun {
  task: Kind;
  pool: ImagePool;
  dataset: Dataset;
  validation: ValidationSet;
  run: RunState;
  host: TrainingHost;
  resumed: boolean;
  /** Whether a run that is resumed has other epochs than its folder says. */
  changed: boolean;
  /** Makes the first weights where the folder holds no run yet. */
  weights: ((config: TaskConfig) => Promise<Map<string, Float32Array>>) | undefined;
  /** Where notices about images go. */
  sink: { tell: ((note: string) => void) | undefined };
}

/**
 * Settles what a run is: its folder, its images, its model, a device. Nothing stays open where that fails.
 * @throws StylizingError as `Trainer.create` does
 */
export async function prepareRun(options: TrainerOptions, openHost: OpenHost): Promise<PreparedRun> {
  checkTypes(options);
  const { out, signal, onNote } = options;
  const saved = await readRun(out);
  const begun = saved && (saved.task ?? "stylize");
  const task = taskOf({ ...options, task: options.task ?? begun });
  checkOptions(options, task);
  signal?.throwIfAborted();
  const recipe = givenRecipe(options, task);
  const seed = recipe.seed ?? defaultsOf(task).seed;
  const images = await task.data({ ...options, data: options.data ?? [], val: options.val ?? [] }, seed);
  const { training: files, validation: others } = images;
  await ensureOutputFolder(out);
  const [data, validation] = [files, others].map((list): ImageList => ({ hash: fingerprint(list), count: list.length })) as [
    ImageList,
    ImageList,
  ];
  if (!saved) await refuseForeignFolder(out);
  else if (!options.resume) {
    const where = `${saved.epoch} of ${saved.recipe.epochs} epochs`;
    refuse(`${out} holds a run already (${where} done).`, "Go on with it by --resume, or give another folder with --out.");
  }
  if (begun && begun !== task.name)
    refuse(`The run in ${out} is one of the task ${begun}, and --task is ${task.name}.`, "Give another folder with --out.");
  const both = await alsoTrainedOn(files, others);
  // Not refused: that a model learns a few images by heart is a common check.
  if (both.length > 0) {
    const share = both.length === others.length ? `all ${others.length}` : `${both.length} of ${others.length}`;
    onNote?.(
      `${share} validation images are training images too, ${both[0]!.path} for one: they do not tell how new images fare`,
    );
  }
  if (options.resume && !saved) onNote?.(`there is no run to resume in ${out}: beginning one`);
  await removePartialFiles(out);

  let config: TaskConfig;
  let weights: Awaited<ReturnType<Kind["firstModel"]>>["weights"] | undefined;
  if (saved) {
    const { mean: ownMean, std: ownStd, ...asked } = (await task.givenConfig(options, images)) ?? {};
    const shape = { ...asked, mean: options.mean ?? ownMean, std: options.std ?? ownStd } as Partial<TaskConfig>;
    refuseDifferences(out, saved, { config: shape, recipe, data, validation });
    config = saved.config;
  } else {
    const first = await task.firstModel(options, seed, images);
    config = first.config;
    weights = first.weights;
  }
  if (config.in_channels !== 1 && config.in_channels !== 3)
    throw new StylizingError("CONFIG", `This model takes ${config.in_channels} channels.`, "Images have 1 or 3.");
  const settled: Recipe = { ...(saved?.recipe ?? defaultsOf(task)), ...recipe };
  const changed = saved !== undefined && settled.epochs !== saved.recipe.epochs;
  if (changed)
    onNote?.(`${settled.epochs} epochs instead of ${saved.recipe.epochs}: the learning rate goes on along the cosine of so many`);

  stepsOf(files.length, settled.crops, settled.batch);

  const pool = new ImagePool(options.workers);
  let host: TrainingHost | undefined;
  try {
    if (pool.note) onNote?.(pool.note);
    const sink: PreparedRun["sink"] = { tell: onNote };
    const base = {
      size: config.image_size,
      channels: config.in_channels as 1 | 3,
      pool,
      onUnreadable: ({ path }: DataFile, error: StylizingError) => sink.tell?.(`left out ${path}: ${error.message}`),
    };
    const limits = { limit: settled.validationImages, fewest: task.fewest };
    const judged = await loadValidation(others, limits, base, signal);
    // Before all training images are read, which may take a while: there may be no device, or no network.
    host = await openHost(hostOptions(options, task, settled, config.in_channels));
    const { seed, crop, crops: cropsPerImage, flips } = settled;
    const reading = { ...base, seed, crop, cropsPerImage, flips, cacheBytes: options.cacheBytes ?? 2 ** 30 };
    const { dataset, run } = saved
      ? { dataset: Dataset.reopen(files, saved.unreadable, reading), run: { ...saved, recipe: settled } }
      : await beginRun(options, files, reading, task, { config, recipe: settled, data, validation });
    dataset.steps(settled.batch);
    return { task, pool, dataset, validation: judged, run, host, resumed: saved !== undefined, changed, weights, sink };
  } catch (error) {
    await host?.[Symbol.asyncDispose]();
    await pool.dispose();
    throw error;
  }
}
