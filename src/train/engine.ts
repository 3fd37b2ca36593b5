import { StylizingError } from "../errors.js";
import type { Gpu } from "../gpu/gpu.js";
import type { TuneMode } from "../gpu/tuner.js";
import type { LossTerm } from "../losses/terms.js";
import type { OpenTask } from "../models/task.js";
import type { TaskConfig } from "../models/tasks.js";
import { TrainingDevice } from "./device.js";
import { ADAMW, type Evaluation, type Recipe, type StepReport, type TrainingEngine, type TrainingState } from "./types.js";

export interface TrainingEngineOptions {
  /** Images of a step. */
  batch: number;
  /** Images on the device at a time; by default as many as fit, up to 16 on a GPU and 8 on a software adapter. */
  microBatch?: number | undefined;
  /** Weights to begin with, by published key. */
  initial: ReadonlyMap<string, Float32Array>;
  terms: readonly LossTerm[];
  clip: number;
  weightDecay: number;
  /** Of the run; the task reads its own part. */
  recipe?: Pick<Recipe, "optimizer"> & Readonly<Record<string, unknown>>;
  /** Activation checkpointing: a layer's activations are recomputed for its backward pass instead of kept. */
  recompute: boolean;
  /** Receives notices that are no error: a micro-batch that had to be smaller. */
  onNote?: ((note: string) => void) | undefined;
}

const DEFAULT_MICRO_BATCH = { hardware: 16, software: 8 };

/**
 * Opens the device's side of training.
 * @throws StylizingError `CONFIG` where the model cannot be trained, `CHECKPOINT` where a weight is missing, `GPU` where the device
 *   does not hold even one image, or not the micro-batch that was asked for
 */
export async function createTrainingEngine(
  gpu: Gpu,
  config: TaskConfig,
  open: OpenTask<TaskConfig>,
  { tune, ...options }: TrainingEngineOptions & { tune?: TuneMode | undefined },
): Promise<TrainingEngine> {
  const { batch, microBatch, terms, clip, weightDecay, recompute, onNote, recipe = {} } = options;
  let images = Math.min(batch, microBatch ?? DEFAULT_MICRO_BATCH[gpu.profile.software ? "software" : "hardware"]);
  for (;;) {
    try {
      const task = await open.create(gpu, config, { terms, batch, recompute, recipe });
      const device = await TrainingDevice.create(gpu, task, {
        largest: task.largest(images, batch),
        constants: { ...ADAMW, weightDecay, decoupled: recipe.optimizer !== "adam" },
        clip,
        tune,
      });
      try {
        device.writeWeights(options.initial);
        // A CPU has no watchdog.
        if (!gpu.profile.software) await device.limitDispatches(task.largest(1, 1));
      } catch (error) {
        device.dispose();
        throw error;
      }
      return new Engine(device, config, batch, images);
    } catch (error) {
      const mayFit = error instanceof StylizingError && error.code === "GPU" && images > 1 && microBatch === undefined;
      if (!mayFit || gpu.isLost) throw error;
      const smaller = Math.ceil(images / 2);
      onNote?.(`${images} images at a time do not fit the device (${error.message}); trying ${smaller}.`);
      images = smaller;
    }
  }
}

class Engine implements TrainingEngine {
  readonly config: TaskConfig;
  readonly batch: number;
  readonly microBatch: number;
  readonly #device: TrainingDevice;
  /** Ends of the queue of calls: they share buffers. */
  #before: Promise<unknown> = Promise.resolve();

  constructor(device: TrainingDevice, config: TaskConfig, batch: number, microBatch: number) {
    this.#device = device;
    this.config = config;
    this.batch = batch;
    this.microBatch = microBatch;
  }

  get bytes(): number {
    return this.#device.gpu.allocatedBytes;
  }

  get #imageBytes(): number {
    return this.config.in_channels * this.config.image_size ** 2;
  }

  #queued<T>(work: () => T | Promise<T>): Promise<T> {
    const run = this.#before.then(work);
    this.#before = run.catch(() => {});
    return run;
  }

  /** @throws StylizingError `ARGUMENT` where there is no whole number of images, or another one than is wanted. */
  #check(images: Uint8Array, wanted?: number): void {
    const count = images.length / this.#imageBytes;
    if (!Number.isInteger(count) || count < 1 || (wanted !== undefined && count !== wanted)) {
      throw new StylizingError(
        "ARGUMENT",
        `${images.length} bytes are not ${wanted ?? "some"} images of ${this.#imageBytes} bytes.`,
        "Give [images, S, S, C] bytes.",
      );
    }
  }

  step(images: Uint8Array, learningRate: number, labels?: Uint32Array): Promise<void> {
    return this.#queued(async () => {
      this.#check(images, this.batch);
      await this.#device.clear();
      for (const { shape, images: own, beside } of this.#device.task.split(images, this.microBatch, {
        labels,
        step: this.#device.step,
      }))
        await this.#device.run(shape, own, true, beside);
      await this.#device.unfold();
      await this.#device.update(learningRate);
    });
  }

  report(): Promise<StepReport> {
    return this.#queued(() => this.#device.report());
  }

  evaluate(images: Uint8Array, labels?: Uint32Array): Promise<Evaluation> {
    return this.#queued(async () => {
      this.#check(images);
      const count = images.length / this.#imageBytes;
      const outputs: Record<string, Uint8Array> = {};
      await this.#device.clear();
      for (const part of this.#device.task.split(images, this.microBatch, { labels })) {
        await this.#device.run(part.shape, part.images, false, part.beside);
        for (const { name, each, bytes } of await this.#device.outputs(part.shape)) {
          outputs[name] ??= new Uint8Array(count * each);
          outputs[name].set(bytes, part.first * each);
        }
      }
      return { losses: await this.#device.losses(), outputs };
    });
  }

  readState(): Promise<TrainingState> {
    return this.#queued(() => this.#device.readState());
  }

  writeState(state: TrainingState): Promise<void> {
    return this.#queued(() => this.#device.writeState(state));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#before;
    this.#device.dispose();
  }
}
