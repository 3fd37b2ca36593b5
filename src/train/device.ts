import { setTimeout as delay } from "node:timers/promises";
import { StylizingError } from "../errors.js";
import { BufferUsage, MAP_READ } from "../gpu/dawn.js";
import type { Gpu } from "../gpu/gpu.js";
import { sleepThrough } from "../gpu/patience.js";
import { LONGEST_DISPATCH, productRate } from "../gpu/timing.js";
import type { WeightSource } from "../hub/weight-source.js";
import type { ModelConfig } from "../model/config.js";
import {
  type AdamW,
  adamWParameters,
  finishStepParameters,
  HISTORY,
  NORM_PARTIALS,
  planAdamW,
  planFinishStep,
  planSumSquares,
  SETTINGS_WORDS,
  STATE_WORDS,
  stepSettings,
  sumSquaresParameters,
} from "../ops/optimizer.js";
import { type BatchShape, rolled } from "./batch-shape.js";
import { type BufferOptions, TrainingBuffers } from "./buffers.js";
import { TrainingGraph } from "./graph.js";
import { flatten, unflatten } from "./parameters.js";
import { type BoundSteps, StepList } from "./steps.js";
import { LOSS_TERMS, type Losses, type StepReport, type TrainingState } from "./types.js";
import { Vgg } from "./vgg.js";
import { SMALLEST_PICTURE } from "./vgg-weights.js";

export interface DeviceOptions extends BufferOptions {
  vgg: WeightSource;
  adamW: AdamW;
  /** The largest norm that a gradient keeps. */
  clip: number;
}

/** What losses are multiplied by in 16-bit tiers, an image of the batch: a power of two, far from what overflows. */
const LOSS_SCALE = 1024;

/** The scale of a batch's losses. Gradients of single numbers are of the order of 1 / (batch · numbers): in halves they would vanish. */
export const lossScaleOf = ({ profile }: Gpu, batch: number): number => (profile.elementBytes === 2 ? LOSS_SCALE * batch : 1);

type Bound = BoundSteps & { dispose(): void };

/** Batches handed to the device before the first of them is waited for. */
const BATCHES_IN_FLIGHT = 2;

/** Shapes of batches kept bound. */
const MOST_SHAPES = 8;

/** Milliseconds in which the loss of a device is told, once it has refused something. */
const LOSS_TOLD = 500;

/** Weights, moments and gradients on a device, and the passes over them. Steps are put together by whoever uses it. */
export class TrainingDevice {
  readonly gpu: Gpu;
  readonly config: ModelConfig;
  readonly buffers: TrainingBuffers;
  readonly #graph: TrainingGraph;
  readonly #options: DeviceOptions;
  readonly #vgg: Vgg;
  readonly #first: GPUBuffer;
  readonly #second: GPUBuffer;
  readonly #settings: GPUBuffer;
  readonly #state: GPUBuffer;
  readonly #partials: GPUBuffer;
  readonly #own: GPUBuffer[];
  readonly #shapes = new Map<string, Bound>();
  readonly #inFlight: { done: Promise<unknown>; submitted: number }[] = [];
  /** Milliseconds that a batch takes, by the last one that was waited for. */
  #expected = 0;
  #lastDone = 0;
  #fold!: BoundSteps;
  #unfold!: BoundSteps;
  #update!: BoundSteps;
  /** Whether the folded matrices are those of the weights. */
  #folded = false;
  #step = 0;
  /** Steps whose losses are in the sums since the last report. */
  #collected = 0;
  #since = { steps: 0, sums: noLosses() };

  private constructor(gpu: Gpu, vgg: Vgg, buffers: TrainingBuffers, options: DeviceOptions) {
    this.gpu = gpu;
    this.config = buffers.config;
    this.buffers = buffers;
    this.#graph = new TrainingGraph(buffers);
    this.#vgg = vgg;
    this.#options = options;
    const { count } = buffers.places;
    this.#first = gpu.storage("first moments", 4 * count);
    this.#second = gpu.storage("second moments", 4 * count);
    this.#settings = gpu.storage("settings", 4 * SETTINGS_WORDS);
    this.#state = gpu.storage("state", 4 * STATE_WORDS);
    this.#partials = gpu.storage("norm partials", 4 * NORM_PARTIALS);
    this.#own = [this.#first, this.#second, this.#settings, this.#state, this.#partials];
  }

  /**
   * Allocates everything and compiles what a step needs whatever its batch.
   * @throws StylizingError `CONFIG` for pictures too small for VGG-19, `GPU` where the device is; its `cause` is `"out-of-memory"`
   *   where a smaller batch may fit
   */
  static async create(gpu: Gpu, config: ModelConfig, options: DeviceOptions): Promise<TrainingDevice> {
    if (config.image_size < SMALLEST_PICTURE) {
      throw new StylizingError(
        "CONFIG",
        `The image size is ${config.image_size}, and VGG-19's five poolings leave nothing of it.`,
        `Train with ${SMALLEST_PICTURE} pixels or more.`,
      );
    }
    return gpu.checked("the buffers of a training step", async () => {
      const vgg = await Vgg.create(gpu, options.vgg, config.in_channels, config.image_size);
      try {
        const device = new TrainingDevice(gpu, vgg, TrainingBuffers.create(gpu, config, vgg, options), options);
        try {
          await device.#prepare();
          return device;
        } catch (error) {
          device.dispose();
          throw error;
        }
      } catch (error) {
        vgg.dispose();
        throw error;
      }
    });
  }

  async #prepare(): Promise<void> {
    const { buffers, gpu } = this;
    const { count } = buffers.places;
    this.#fold = await this.#graph.fold();
    this.#unfold = await this.#graph.unfold();
    const steps = new StepList(gpu);
    steps.add(planSumSquares(), [buffers.gradients, this.#partials], sumSquaresParameters(count));
    steps.add(
      planFinishStep(),
      [this.#partials, buffers.losses, this.#settings, this.#state],
      finishStepParameters(this.#options.clip),
    );
    steps.add(
      planAdamW(count, gpu.profile),
      [buffers.gradients, this.#settings, this.#state, buffers.parameters, this.#first, this.#second],
      adamWParameters(count, this.#options.adamW),
    );
    this.#update = await steps.finish("update");
  }

  /** Steps done. */
  get step(): number {
    return this.#step;
  }

  #assertAlive(): void {
    if (this.gpu.isLost) {
      throw new StylizingError(
        "DEVICE_LOST",
        "The device was lost while it trained.",
        "Run the command again with --resume; if it happens again, use a smaller --micro-batch.",
      );
    }
  }

  /** What the device's refusal of a promise means: that of a lost one comes before the news of its loss. */
  async #failed(error: unknown): Promise<never> {
    await Promise.race([this.gpu.device.lost, delay(LOSS_TOLD)]);
    // The news goes to others first.
    await delay(0);
    this.#assertAlive();
    throw error;
  }

  #submit(work: (encoder: GPUCommandEncoder) => void): void {
    this.#assertAlive();
    const encoder = this.gpu.device.createCommandEncoder({ label: "training" });
    work(encoder);
    this.gpu.device.queue.submit([encoder.finish()]);
  }

  /** Clears gradients and losses. */
  clear(): void {
    this.#submit((encoder) => {
      encoder.clearBuffer(this.buffers.gradients);
      encoder.clearBuffer(this.buffers.losses);
    });
  }

  async #bind(shape: BatchShape, input: "bytes" | "planes", backward: boolean): Promise<Bound> {
    const key = JSON.stringify([shape, input, backward]);
    let bound = this.#shapes.get(key);
    if (bound) {
      this.#shapes.delete(key);
    } else {
      if (this.#shapes.size >= MOST_SHAPES) {
        const [oldest, unused] = [...this.#shapes][0]!;
        await this.gpu.device.queue.onSubmittedWorkDone();
        unused.dispose();
        this.#shapes.delete(oldest);
      }
      bound = await this.gpu.checked("a batch", () => this.#graph.bind(shape, input, backward));
    }
    this.#shapes.set(key, bound);
    return bound;
  }

  /**
   * Forward passes and losses of a batch, which are added to those since `clear`; with `backward` its gradients as well.
   * @param pictures bytes [uniques, S, S, C], or planes [uniques, C, S, S], normalised
   */
  async run(shape: BatchShape, pictures: Uint8Array | Float32Array, backward: boolean): Promise<void> {
    const bytes = pictures instanceof Uint8Array;
    const bound = await this.#bind(shape, bytes ? "bytes" : "planes", backward);
    this.#assertAlive();
    const { queue } = this.gpu.device;
    queue.writeBuffer(bytes ? this.buffers.pixels : this.buffers.planes, 0, padded(pictures) as Uint8Array<ArrayBuffer>);
    this.#submit((encoder) => {
      const pass = encoder.beginComputePass();
      if (!this.#folded) this.#fold.schedule.encode(pass);
      bound.schedule.encode(pass);
      pass.end();
    });
    this.#folded = true;
    await this.#room();
  }

  /** Waits until the device has few enough batches. */
  async #room(): Promise<void> {
    this.#inFlight.push({ done: this.gpu.device.queue.onSubmittedWorkDone(), submitted: performance.now() });
    while (this.#inFlight.length > BATCHES_IN_FLIGHT) {
      const { done, submitted } = this.#inFlight.shift()!;
      const begun = Math.max(submitted, this.#lastDone);
      await sleepThrough(begun, this.#expected);
      await done.catch((error) => this.#failed(error));
      this.#lastDone = performance.now();
      this.#expected = this.#lastDone - begun;
    }
  }

  /** Gradients of the folded matrices to those of the parameters: once, behind the batches of a step. */
  unfold(): void {
    this.#submit((encoder) => {
      const pass = encoder.beginComputePass();
      this.#unfold.schedule.encode(pass);
      pass.end();
      for (const { offset, count } of this.#graph.absent) encoder.clearBuffer(this.buffers.gradients, 4 * offset, 4 * count);
    });
  }

  /** Clips the gradients and updates the weights: the end of a step. Reads losses back only where no more of them can be kept. */
  async update(learningRate: number): Promise<void> {
    if (this.#step - this.#collected >= HISTORY) await this.#collect();
    this.#step++;
    const settings = stepSettings(this.#step, learningRate, this.#options.adamW, this.#options.lossScale);
    this.#assertAlive();
    this.gpu.device.queue.writeBuffer(this.#settings, 0, settings as Float32Array<ArrayBuffer>);
    this.#submit((encoder) => {
      const pass = encoder.beginComputePass();
      this.#update.schedule.encode(pass);
      pass.end();
    });
    this.#folded = false;
  }

  /** Reads buffers back, once everything before is done. */
  async read(parts: readonly { buffer: GPUBuffer; offset?: number; bytes: number }[]): Promise<ArrayBuffer[]> {
    this.#assertAlive();
    const { gpu } = this;
    const aligned = parts.map(({ bytes }) => Math.ceil(bytes / 16) * 16);
    const total = aligned.reduce((a, b) => a + b, 0);
    const staging = gpu.buffer("read", total, BufferUsage.MAP_READ | BufferUsage.COPY_DST);
    try {
      this.#submit((encoder) => {
        let at = 0;
        for (const [index, { buffer, offset = 0, bytes }] of parts.entries()) {
          encoder.copyBufferToBuffer(buffer, offset, staging, at, Math.ceil(bytes / 4) * 4);
          at += aligned[index]!;
        }
      });
      await staging.mapAsync(MAP_READ);
      const mapped = staging.getMappedRange();
      let at = 0;
      return parts.map(({ bytes }, index) => {
        const from = at;
        at += aligned[index]!;
        return mapped.slice(from, from + bytes);
      });
    } catch (error) {
      return await this.#failed(error);
    } finally {
      this.#inFlight.length = 0;
      gpu.release(staging);
    }
  }

  /** Losses since `clear`. */
  async losses(): Promise<Losses> {
    const [words] = await this.read([{ buffer: this.buffers.losses, bytes: 16 }]);
    return asLosses(new Float32Array(words!));
  }

  /** What kernels/finish_step.wgsl has noted; sums begin anew. */
  async report(): Promise<StepReport> {
    const { numbers, words } = await this.#collect();
    const { steps, sums } = this.#since;
    this.#since = { steps: 0, sums: noLosses() };
    const mean = Object.fromEntries(LOSS_TERMS.map((term) => [term, sums[term] / steps])) as Losses;
    return {
      step: this.#step,
      losses: asLosses(historyOf(numbers, Math.max(1, this.#step))),
      gradientNorm: numbers[0]!,
      mean: { steps, losses: mean, sums },
      brokenAt: words[2] === 0 ? undefined : words[2],
    };
  }

  /** Adds the losses of the steps that were not collected yet: float32s, in float64, so that no sum is ever rounded. */
  async #collect(): Promise<{ numbers: Float32Array; words: Uint32Array }> {
    const [bytes] = await this.read([{ buffer: this.#state, bytes: 4 * STATE_WORDS }]);
    const numbers = new Float32Array(bytes!);
    for (; this.#collected < this.#step; this.#collected++) {
      const losses = historyOf(numbers, this.#collected + 1);
      for (const [index, term] of LOSS_TERMS.entries()) this.#since.sums[term] += losses[index]!;
      this.#since.steps++;
    }
    return { numbers, words: new Uint32Array(bytes!) };
  }

  /** Gradients of the weighted total since `clear`, by published key; after `unfold`. */
  async gradients(): Promise<Map<string, Float32Array>> {
    const { gradients, places } = this.buffers;
    const [bytes] = await this.read([{ buffer: gradients, bytes: 4 * places.count }]);
    const flat = new Float32Array(bytes!).map((value) => value / this.#options.lossScale);
    return unflatten(this.config, places, flat);
  }

  async readState(): Promise<TrainingState> {
    const { parameters, places } = this.buffers;
    const bytes = 4 * places.count;
    const read = await this.read([parameters, this.#first, this.#second].map((buffer) => ({ buffer, bytes })));
    const [weights, first, second] = read.map((one) => unflatten(this.config, places, new Float32Array(one)));
    return { step: this.#step, parameters: weights!, firstMoments: first!, secondMoments: second! };
  }

  /** @throws StylizingError `CHECKPOINT` where a tensor is missing or has another size */
  writeState({ step, parameters, firstMoments, secondMoments }: TrainingState): void {
    const { places } = this.buffers;
    const arrays = [parameters, firstMoments, secondMoments].map((tensors) => flatten(places, tensors));
    this.#assertAlive();
    for (const [index, buffer] of [this.buffers.parameters, this.#first, this.#second].entries())
      this.gpu.device.queue.writeBuffer(buffer, 0, arrays[index] as Float32Array<ArrayBuffer>);
    this.gpu.device.queue.writeBuffer(this.#state, 0, new Uint32Array(STATE_WORDS));
    this.#step = step;
    this.#collected = step;
    this.#since = { steps: 0, sums: noLosses() };
    this.#folded = false;
  }

  /** The weights to begin with; moments are zero. */
  writeWeights(parameters: ReadonlyMap<string, Float32Array>): void {
    const zeros = new Map([...parameters].map(([key, values]) => [key, new Float32Array(values.length)]));
    this.writeState({ step: 0, parameters: new Map(parameters), firstMoments: zeros, secondMoments: zeros });
  }

  /** Measures how long products take, and has those bound from now on cut so that no dispatch runs for long. */
  async limitDispatches(): Promise<void> {
    const shape = rolled(1, 1);
    const { schedule, flops } = await this.#bind(shape, "bytes", false);
    this.gpu.flopsPerDispatch = LONGEST_DISPATCH * (await productRate(this.gpu, schedule, flops));
  }

  /** A batch's dispatches, for whoever times them. */
  bound(shape: BatchShape, backward: boolean): Promise<BoundSteps> {
    return this.#bind(shape, "bytes", backward);
  }

  dispose(): void {
    for (const bound of this.#shapes.values()) bound.dispose();
    this.#shapes.clear();
    for (const bound of [this.#fold, this.#unfold, this.#update]) bound?.schedule.dispose();
    this.buffers.dispose();
    this.#vgg.dispose();
    this.gpu.release(...this.#own);
  }
}

const noLosses = (): Losses => ({ identity: 0, consistency: 0, anatomical: 0, style: 0 });

/** Losses of a step in the state that kernels/finish_step.wgsl keeps. */
function historyOf(state: Float32Array, step: number): Float32Array {
  const at = 4 + 4 * ((step - 1) % HISTORY);
  return state.subarray(at, at + 4);
}

const asLosses = (values: Float32Array): Losses =>
  Object.fromEntries(LOSS_TERMS.map((term, index) => [term, values[index]!])) as Losses;

/** The queue takes whole words. */
function padded(pictures: Uint8Array | Float32Array): Uint8Array | Float32Array {
  if (pictures.byteLength % 4 === 0) return pictures;
  const whole = new Uint8Array(Math.ceil(pictures.byteLength / 4) * 4);
  whole.set(pictures as Uint8Array);
  return whole;
}
