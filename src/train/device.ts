import type { Gpu } from "../gpu/gpu.js";
import type { Program } from "../gpu/program.js";
import type { TuneMode } from "../gpu/tuner.js";
import type { FlatArrays, Inputs, Task } from "../models/task.js";
import { rowsBehind } from "../net/layers/adjoints.js";
import { writeArray } from "../net/pixels.js";
import type { Recorder } from "../net/recorder.js";
import type { Read } from "../net/run.js";
import { Runner } from "../net/runner.js";
import {
  type AdamW,
  adamW,
  finishStep,
  HISTORY,
  NORM_PARTIALS,
  SETTINGS_WORDS,
  stateWords,
  stepSettings,
  sumSquares,
} from "../ops/optimizer.js";
import { type LossSums, noLosses, type StepReport, type TrainingState } from "./types.js";

export interface DeviceOptions<Shape> {
  /** The largest part that will be asked for. */
  largest: Shape;
  constants: AdamW;
  /** The largest norm that a gradient keeps. */
  clip: number;
  tune?: TuneMode | undefined;
}

/** Weights, moments and gradients on a device, and the passes over them. Steps are put together by whoever uses it. */
export class TrainingDevice<Shape = unknown> {
  readonly gpu: Gpu;
  readonly task: Task<Shape>;
  readonly #options: DeviceOptions<Shape>;
  readonly #runner: Runner;
  readonly #flat: FlatArrays;
  readonly #first: GPUBuffer;
  readonly #second: GPUBuffer;
  readonly #settings: GPUBuffer;
  readonly #state: GPUBuffer;
  readonly #partials: GPUBuffer;
  readonly #own: GPUBuffer[] = [];
  /** Whether the folded matrices are those of the weights. */
  #folded = false;
  #step = 0;
  /** Steps whose losses are in the sums since the last report. */
  #collected = 0;
  #since: { steps: number; sums: LossSums };

  private constructor(gpu: Gpu, task: Task<Shape>, options: DeviceOptions<Shape>) {
    this.gpu = gpu;
    this.task = task;
    this.#options = options;
    this.#runner = new Runner(gpu, options.tune, rowsBehind(gpu.profile));
    this.#since = { steps: 0, sums: this.#noLosses };
    const take = (label: string, words: number) => {
      const buffer = gpu.storage(label, 4 * words);
      this.#own.push(buffer);
      return buffer;
    };
    const { count } = task.parameters;
    try {
      this.#flat = {
        parameters: take("parameters", count),
        gradients: take("gradients", count),
        losses: take("losses", task.terms.length),
      };
      this.#first = take("first moments", count);
      this.#second = take("second moments", count);
      this.#settings = take("settings", SETTINGS_WORDS);
      this.#state = take("state", stateWords(task.terms.length));
      this.#partials = take("norm partials", NORM_PARTIALS);
    } catch (error) {
      gpu.release(...this.#own);
      throw error;
    }
  }

  /**
   * Allocates everything that a step needs; the task is the device's then, and disposed of where that fails.
   * @throws StylizingError `GPU`; its `cause` is `"out-of-memory"` where a smaller part may fit
   */
  static async create<Shape>(gpu: Gpu, task: Task<Shape>, options: DeviceOptions<Shape>): Promise<TrainingDevice<Shape>> {
    let device: TrainingDevice<Shape> | undefined;
    try {
      device = await gpu.checked("the arrays of a training step", () => new TrainingDevice(gpu, task, options));
      const made = device;
      await device.#runner.exclusively(() =>
        made.#runner.reserve("the buffers of a training step", (r) => {
          for (const backward of [true, false]) task.record(r, made.#flat, options.largest, "bytes", backward);
        }),
      );
      return device;
    } catch (error) {
      if (device) device.dispose();
      else task.dispose();
      throw error;
    }
  }

  get #terms(): string[] {
    return this.task.terms.map(({ name }) => name);
  }

  get #noLosses(): LossSums {
    return noLosses(this.#terms);
  }

  /** Steps done. */
  get step(): number {
    return this.#step;
  }

  /** Clears gradients and losses. */
  clear(): Promise<void> {
    const { gradients, losses } = this.#flat;
    return this.#runner.submit("clear", (encoder) => {
      encoder.clearBuffer(gradients);
      encoder.clearBuffer(losses);
    });
  }

  async #bound(key: string, describe: (r: Recorder) => void): Promise<Program> {
    return (await this.#runner.program(key, `the program ${key}`, describe)).program;
  }

  #part(shape: Shape, input: "bytes" | "planes", backward: boolean): Promise<Program> {
    const key = JSON.stringify([shape, input, backward]);
    return this.#bound(key, (r) => this.task.record(r, this.#flat, shape, input, backward));
  }

  /**
   * Forward passes and losses of a part of a batch, which are added to those since `clear`; with `backward` its gradients as well.
   * @param images bytes [images, S, S, C], or planes [images, C, S, S], normalised
   * @param beside what else the part's program reads
   */
  run(shape: Shape, images: Uint8Array | Float32Array, backward: boolean, beside: Inputs = {}): Promise<void> {
    const input = images instanceof Uint8Array ? "bytes" : "planes";
    return this.#runner.start(async () => {
      const part = await this.#part(shape, input, backward);
      const programs = this.#folded ? [part] : [await this.#bound("fold", (r) => this.task.fold(r, this.#flat)), part];
      const inputs = Object.entries({ [input === "bytes" ? "pixels" : "planes"]: images, ...beside });
      this.#folded = true;
      return {
        label: "training",
        programs,
        upload: () => {
          for (const [name, data] of inputs) writeArray(this.gpu.device.queue, this.#runner.arena.buffer(name), data);
        },
      };
    });
  }

  /** Gradients of the folded matrices to those of the parameters: once, behind the parts of a step. */
  async unfold(): Promise<void> {
    await this.#runner.start(async () => ({
      label: "unfold",
      programs: [await this.#bound("unfold", (r) => this.task.unfold(r, this.#flat))],
      after: (encoder) => {
        for (const { offset, count } of this.task.absent) encoder.clearBuffer(this.#flat.gradients, 4 * offset, 4 * count);
      },
    }));
  }

  /** Clips the gradients and updates the weights: the end of a step. Reads losses back only where no more of them can be kept. */
  async update(learningRate: number): Promise<void> {
    if (this.#step - this.#collected >= HISTORY) await this.#collect();
    const step = ++this.#step;
    await this.#runner.start(async () => ({
      label: "update",
      programs: [await this.#bound("update", (r) => this.#recordUpdate(r))],
      upload: () => {
        const settings = stepSettings(step, learningRate, this.#options.constants, this.task.lossScale);
        writeArray(this.gpu.device.queue, this.#settings, settings);
      },
    }));
    this.#folded = false;
  }

  #recordUpdate(r: Recorder): void {
    const { count } = this.task.parameters;
    const { parameters: weights, gradients, losses } = this.#flat;
    const [settings, state, partials] = [this.#settings, this.#state, this.#partials];
    const { clip, constants } = this.#options;
    r.emit(sumSquares, { values: gradients, partials, count });
    r.emit(finishStep, { partials, losses, settings, state, clip, terms: this.task.terms.length });
    const decayed = r.constant(
      "decayed",
      this.task.parameters.mask((tensor) => this.task.decays(tensor)),
    );
    r.emit(adamW, { gradients, settings, state, weights, first: this.#first, second: this.#second, decayed, count, constants });
  }

  /** Reads buffers back, once everything before is done. */
  async #read(reads: readonly Read[]): Promise<Float32Array[]> {
    return (await this.#runner.read(reads)).map(
      (bytes) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4),
    );
  }

  /** The outputs of the part that was run last, without a backward pass. */
  async outputs(shape: Shape): Promise<{ name: string; each: number; bytes: Uint8Array }[]> {
    const places = this.task.outputs(shape);
    const reads = places.map(({ buffer, first, images, bytes }) => ({ buffer, from: first * bytes, bytes: images * bytes }));
    const read = await this.#runner.read(
      // Copies are of whole words.
      reads.map(({ buffer, from, bytes }) => ({
        buffer: this.#runner.arena.buffer(buffer),
        offset: from - (from % 4),
        bytes: bytes + (from % 4),
      })),
    );
    return places.map(({ name, bytes }, index) => ({ name, each: bytes, bytes: read[index]!.subarray(reads[index]!.from % 4) }));
  }

  /** Losses since `clear`. */
  async losses(): Promise<LossSums> {
    const [values] = await this.#read([{ buffer: this.#flat.losses, bytes: 4 * this.task.terms.length }]);
    return this.#named(values!);
  }

  #named(values: Float32Array): LossSums {
    return Object.fromEntries(this.#terms.map((term, index) => [term, values[index]!]));
  }

  /** Losses of a step in the state that kernels/finish_step.wgsl keeps. */
  #historyOf(state: Float32Array, step: number): Float32Array {
    const { length } = this.task.terms;
    const at = 4 + length * ((step - 1) % HISTORY);
    return state.subarray(at, at + length);
  }

  /** What kernels/finish_step.wgsl has noted; sums begin anew. */
  async report(): Promise<StepReport> {
    const { numbers, words } = await this.#collect();
    const { steps, sums } = this.#since;
    this.#since = { steps: 0, sums: this.#noLosses };
    const mean = Object.fromEntries(this.#terms.map((term) => [term, sums[term]! / steps]));
    return {
      step: this.#step,
      losses: this.#named(this.#historyOf(numbers, Math.max(1, this.#step))),
      gradientNorm: numbers[0]!,
      mean: { steps, losses: mean, sums },
      brokenAt: words[2] === 0 ? undefined : words[2],
    };
  }

  /** Adds the losses of the steps that were not collected yet: float32s, in float64, so that no sum is ever rounded. */
  async #collect(): Promise<{ numbers: Float32Array; words: Uint32Array }> {
    const [numbers] = await this.#read([{ buffer: this.#state, bytes: 4 * stateWords(this.task.terms.length) }]);
    for (; this.#collected < this.#step; this.#collected++) {
      const losses = this.#historyOf(numbers!, this.#collected + 1);
      for (const [index, term] of this.#terms.entries()) this.#since.sums[term]! += losses[index]!;
      this.#since.steps++;
    }
    return { numbers: numbers!, words: new Uint32Array(numbers!.buffer, numbers!.byteOffset, numbers!.length) };
  }

  /** Gradients of the weighted total since `clear`, by published key; after `unfold`. */
  async gradients(): Promise<Map<string, Float32Array>> {
    const { parameters, lossScale } = this.task;
    const [flat] = await this.#read([{ buffer: this.#flat.gradients, bytes: 4 * parameters.count }]);
    return parameters.unflatten(flat!.map((value) => value / lossScale));
  }

  async readState(): Promise<TrainingState> {
    const { parameters } = this.task;
    const bytes = 4 * parameters.count;
    const read = await this.#read([this.#flat.parameters, this.#first, this.#second].map((buffer) => ({ buffer, bytes })));
    const [weights, first, second] = read.map((flat) => parameters.unflatten(flat));
    return { step: this.#step, parameters: weights!, firstMoments: first!, secondMoments: second! };
  }

  /** @throws StylizingError `CHECKPOINT` where a tensor is missing or has another size */
  writeState({ step, parameters, firstMoments, secondMoments }: TrainingState): void {
    const arrays = [parameters, firstMoments, secondMoments].map((tensors) => this.task.parameters.flatten(tensors));
    this.#runner.assertAlive();
    const { queue } = this.gpu.device;
    for (const [index, buffer] of [this.#flat.parameters, this.#first, this.#second].entries())
      writeArray(queue, buffer, arrays[index]!);
    queue.writeBuffer(this.#state, 0, new Uint32Array(stateWords(this.task.terms.length)));
    this.#step = step;
    this.#collected = step;
    this.#since = { steps: 0, sums: this.#noLosses };
    this.#folded = false;
  }

  /** The weights to begin with; moments are zero. */
  writeWeights(parameters: ReadonlyMap<string, Float32Array>): void {
    const zeros = new Map([...parameters].map(([key, values]) => [key, new Float32Array(values.length)]));
    this.writeState({ step: 0, parameters: new Map(parameters), firstMoments: zeros, secondMoments: zeros });
  }

  /** Measures how long GEMMs take, and has those bound from now on cut so that no dispatch runs for long. */
  limitDispatches(shape: Shape): Promise<void> {
    return this.#runner.exclusively(async () => this.#runner.limitDispatches(await this.#part(shape, "bytes", false)));
  }

  /** A part's program, for whoever times it. */
  bound(shape: Shape, backward: boolean): Promise<Program> {
    return this.#runner.exclusively(() => this.#part(shape, "bytes", backward));
  }

  dispose(): void {
    this.#runner.dispose();
    this.gpu.release(...this.#own);
    this.task.dispose();
  }
}
