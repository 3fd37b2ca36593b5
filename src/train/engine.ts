import { StylizingError } from "../errors.js";
import type { Gpu } from "../gpu/gpu.js";
import type { WeightSource } from "../hub/weight-source.js";
import type { ModelConfig } from "../model/config.js";
import { type BatchShape, rolled } from "./batch-shape.js";
import { lossScaleOf, TrainingDevice } from "./device.js";
import { ADAMW, type Evaluation, type Losses, type StepReport, type TrainingEngine, type TrainingState } from "./types.js";

export interface TrainingEngineOptions {
  /** Images of a step. */
  batch: number;
  /** Images on the device at a time; by default as many as fit, up to 16 on a GPU and 8 on a software adapter. */
  microBatch?: number | undefined;
  /** Weights to begin with, by published key. */
  initial: ReadonlyMap<string, Float32Array>;
  vgg: WeightSource;
  lossWeights: Losses;
  clip: number;
  weightDecay: number;
  /** Computes a layer's activations again for its backward pass instead of keeping them. */
  recompute: boolean;
  /** Receives what is worth knowing and no error: a micro-batch that had to be smaller. */
  onNote?: ((note: string) => void) | undefined;
}

const DEFAULT_MICRO_BATCH = { hardware: 16, software: 8 };

/**
 * Opens the device's side of training.
 * @throws StylizingError `CONFIG` for pictures too small for VGG-19, `CHECKPOINT` where a weight is missing, `GPU` where the device does
 *   not hold even one image, or not the micro-batch that was asked for
 */
export async function createTrainingEngine(
  gpu: Gpu,
  config: ModelConfig,
  options: TrainingEngineOptions,
): Promise<TrainingEngine> {
  const { batch, microBatch, vgg, lossWeights, clip, weightDecay, recompute, onNote } = options;
  let pairs = Math.min(batch, microBatch ?? DEFAULT_MICRO_BATCH[gpu.profile.software ? "software" : "hardware"]);
  for (;;) {
    try {
      const device = await TrainingDevice.create(gpu, config, {
        // An evaluation of more images than a batch needs one more than its pairs.
        uniques: Math.max(2, pairs === batch ? pairs : pairs + 1),
        pairs,
        recompute,
        weights: lossWeights,
        lossScale: lossScaleOf(gpu, batch),
        vgg,
        clip,
        adamW: { ...ADAMW, weightDecay },
      });
      try {
        device.writeWeights(options.initial);
        // A CPU has no watchdog.
        if (!gpu.profile.software) await device.limitDispatches();
      } catch (error) {
        device.dispose();
        throw error;
      }
      return new Engine(device, batch, pairs);
    } catch (error) {
      const mayFit = error instanceof StylizingError && error.code === "GPU" && pairs > 1 && microBatch === undefined;
      if (!mayFit || gpu.isLost) throw error;
      const smaller = Math.ceil(pairs / 2);
      onNote?.(`${pairs} images at a time do not fit the device (${error.message}); trying ${smaller}.`);
      pairs = smaller;
    }
  }
}

class Engine implements TrainingEngine {
  readonly batch: number;
  readonly microBatch: number;
  readonly #device: TrainingDevice;
  /** Ends of the queue of calls: they share buffers. */
  #before: Promise<unknown> = Promise.resolve();

  constructor(device: TrainingDevice, batch: number, microBatch: number) {
    this.#device = device;
    this.batch = batch;
    this.microBatch = microBatch;
  }

  get config(): ModelConfig {
    return this.#device.config;
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

  /** Images of a call. @throws StylizingError `ARGUMENT` where there is no whole number of them. */
  #count(images: Uint8Array, wanted?: number): number {
    const count = images.length / this.#imageBytes;
    if (!Number.isInteger(count) || count < 1 || (wanted !== undefined && count !== wanted)) {
      throw new StylizingError(
        "ARGUMENT",
        `${images.length} bytes are not ${wanted ?? "some"} images of ${this.#imageBytes} bytes.`,
        "Give [images, S, S, C] bytes.",
      );
    }
    return count;
  }

  /** Micro-batches of `count` images: the shape of each and its pictures, whose last may be the first again. */
  *#parts(images: Uint8Array, count: number): Generator<{ first: number; shape: BatchShape; pictures: Uint8Array }> {
    const each = this.#imageBytes;
    const { uniques, pairs } = this.#device.buffers.options;
    if (count <= Math.min(uniques, pairs)) {
      yield { first: 0, shape: rolled(count, count), pictures: images };
      return;
    }
    const most = Math.min(pairs, uniques - 1);
    for (let first = 0; first < count; first += most) {
      const shape = rolled(Math.min(most, count - first), count);
      const end = first + shape.uniques;
      let pictures = images.subarray(first * each, Math.min(end, count) * each);
      if (end > count) {
        const whole = new Uint8Array(shape.uniques * each);
        whole.set(pictures);
        whole.set(images.subarray(0, each), pictures.length);
        pictures = whole;
      }
      yield { first, shape, pictures };
    }
  }

  step(images: Uint8Array, learningRate: number): Promise<void> {
    return this.#queued(async () => {
      const count = this.#count(images, this.batch);
      this.#device.clear();
      for (const { shape, pictures } of this.#parts(images, count)) await this.#device.run(shape, pictures, true);
      this.#device.unfold();
      await this.#device.update(learningRate);
    });
  }

  report(): Promise<StepReport> {
    return this.#queued(() => this.#device.report());
  }

  evaluate(images: Uint8Array): Promise<Evaluation> {
    return this.#queued(async () => {
      const count = this.#count(images);
      const each = this.#imageBytes;
      const stylized = new Uint8Array(images.length);
      const reconstruction = new Uint8Array(images.length);
      this.#device.clear();
      const { decodedBytes } = this.#device.buffers;
      for (const { first, shape, pictures } of this.#parts(images, count)) {
        await this.#device.run(shape, pictures, false);
        const bytes = (shape.uniques + shape.pairs) * each;
        const [decoded] = await this.#device.read([{ buffer: decodedBytes, bytes }]);
        reconstruction.set(new Uint8Array(decoded!, 0, shape.pairs * each), first * each);
        stylized.set(new Uint8Array(decoded!, shape.uniques * each, shape.pairs * each), first * each);
      }
      return { losses: await this.#device.losses(), stylized, reconstruction };
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
