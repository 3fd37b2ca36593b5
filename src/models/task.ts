import type { Gpu } from "../gpu/gpu.js";
import type { DownloadOptions } from "../hub/download.js";
import type { Placement } from "../image/types.js";
import type { LossTerm } from "../losses/terms.js";
import type { Parameters, Tensor } from "../net/parameters.js";
import type { Recorder } from "../net/recorder.js";

/** What every trained model's configuration has; the rest is the model's own. */
export interface TrainedConfig {
  image_size: number;
  in_channels: number;
  /** Per channel, of pixels in [0, 1]. */
  mean?: readonly number[];
  std?: readonly number[];
}

/** The flat arrays of a model that is trained: see net/parameters.ts. */
export interface FlatArrays {
  parameters: GPUBuffer;
  gradients: GPUBuffer;
  /** A number a loss term: sums since they were cleared. */
  losses: GPUBuffer;
}

/** Some images of a batch that are on the device at a time. */
export interface Part<Shape> {
  /** The first image of the batch that it answers for. */
  first: number;
  shape: Shape;
  /** [images, S, S, C] bytes; some may be there for the sake of others. */
  images: Uint8Array;
  /** What else its program reads, by the names of the arena's buffers. */
  beside?: Inputs;
}

/** Numbers that are uploaded before a program runs, by the names of the arena's buffers. */
export type Inputs = Readonly<Record<string, Uint8Array | Uint32Array | Float32Array>>;

/** What is known of a batch beside its images. */
export interface BatchFacts {
  /** A label an image, where images have some. */
  labels?: Uint32Array | undefined;
  /** The step that it is for, from 0: what is random in a step follows from it. None where it is judged. */
  step?: number | undefined;
}

/** Results of a batch without a backward pass, by name: as many bytes an image as the task says. */
export type Outputs = Readonly<Record<string, Uint8Array>>;

/** A model on a device as its trainer knows it: parameters, loss terms, and programs. */
export interface Task<Shape = unknown> {
  readonly parameters: Parameters;
  readonly terms: readonly LossTerm[];
  /** Whether the optimiser's decay is of a tensor. */
  decays(tensor: Tensor): boolean;
  /** What the losses are multiplied by on their way into gradients. */
  readonly lossScale: number;
  /** A shape that is at least as large as any part of `images` at a time, of a batch of `batch`. */
  largest(images: number, batch: number): Shape;
  /** Cuts a batch into parts of at most `images` at a time. */
  split(batch: Uint8Array, images: number, facts: BatchFacts): Iterable<Part<Shape>>;
  /** Folds weights to what GEMMs take: once a step, before its parts. */
  fold(r: Recorder, flat: FlatArrays): void;
  /** Emits forward pass and losses of a part; with `backward` its gradients, which are added to those that are there, else its outputs. */
  record(r: Recorder, flat: FlatArrays, shape: Shape, input: "bytes" | "planes", backward: boolean): void;
  /** Gradients of folded matrices to those of the parameters: once a step, behind its parts. */
  unfold(r: Recorder, flat: FlatArrays): void;
  /** Ranges of the flat arrays whose gradients unfolding needs and the optimiser must not see. */
  readonly absent: readonly { offset: number; count: number }[];
  /** Where a part's outputs lie behind its program: `images` pieces of an arena's buffer from `first` on, `bytes` each. */
  outputs(shape: Shape): readonly { name: string; buffer: string; first: number; images: number; bytes: number }[];
  /** Images that a part's program reads: what `images` of a `Part` holds. */
  images(shape: Shape): number;
  dispose(): void;
}

export interface TaskSettings {
  terms: readonly LossTerm[];
  /** Images of a whole batch, which losses are scaled by. */
  batch: number;
  /** Activation checkpointing. */
  recompute: boolean;
  /** Of the run: the task reads its own part. */
  recipe?: Readonly<Record<string, unknown>>;
}

/** A task's weights of its own, such as those of a network that losses look through. */
export interface OpenTask<Config> extends AsyncDisposable {
  /** @throws StylizingError `CONFIG` where the model cannot be trained, `GPU` where there is no room */
  create(gpu: Gpu, config: Config, options: TaskSettings): Promise<Task>;
}

/** Validation images and what a model made of them. */
export interface Judged {
  config: TrainedConfig;
  /** In the order of the validation set: names, bytes and where each image lies in its square. */
  names: readonly string[];
  images: Uint8Array;
  /** A label an image, where images have some. */
  labels?: Uint32Array | undefined;
  placements: readonly Placement[];
  /** The outputs are those of `count` images from `from` on. */
  from: number;
  count: number;
  outputs: Outputs;
}

/** Measures what comes out of a model, batch after batch. */
export interface Judge {
  add(judged: Judged): void;
  /** By the names that they have in the log; NaN where one is undefined. */
  metrics(): Record<string, number>;
  /** What to look at: a PNG, where there is something to show, and other files by name. */
  figures(text: { title: string; footer: string }): Promise<{ sheet?: Uint8Array; files: Readonly<Record<string, string>> }>;
}

/** An image that a task is trained or judged on. */
export interface DataFile {
  path: string;
  /** Path below the folder that was given, with "/" on every system: what a run knows the image by, so that folders may be moved. */
  name: string;
  /** Its class, where images have classes. */
  label?: number;
}

/** The images of a run. */
export interface TaskData<Config> {
  training: DataFile[];
  validation: DataFile[];
  /** What they decide of the model: its classes. */
  config: Partial<Config>;
}

/** Where images come from; the rest of what a task is told is its own. */
export interface DataOptions {
  data: readonly string[];
  val: readonly string[];
  /** Passed over where it lies below one of them: what is in it are results. */
  out: string;
  /** Receives what was left out of folders. */
  onNote?: ((note: string) => void) | undefined;
}

/** What can be asked of a model before there is a device. */
export interface TaskKind<Config extends TrainedConfig = TrainedConfig, Options = object> {
  /** Loss terms with the weights of the published recipe. */
  readonly name: "stylize" | "classify";
  readonly terms: readonly LossTerm[];
  /** Fewest images of a batch. */
  readonly fewest: number;
  /** Options that decide a run's numbers beside those that every run has, and their defaults; also other defaults of those. */
  readonly recipe: Readonly<Record<string, unknown>>;
  /** What may choose the best epoch, and which way: `loss`, the total on validation images, or a metric. */
  readonly bests: Readonly<Record<string, "lowest" | "highest">>;
  /** Looks at what no later step may come to look at. @throws StylizingError `ARGUMENT` */
  checkOptions(options: Options): void;
  checkConfig(config: Config): Config;
  shapes(config: Config): ReadonlyMap<string, readonly number[]>;
  /** Lists images, and reads labels. @throws StylizingError `ARGUMENT` where there are none, or files contradict each other */
  data(options: Options & DataOptions, seed: number): Promise<TaskData<Config>>;
  /** What options and data ask of the configuration, if anything. */
  givenConfig(options: Options, data: TaskData<Config>): Promise<Partial<Config> | undefined>;
  /** The model that a run begins with. @throws StylizingError `ARGUMENT`, `CONFIG`, `CHECKPOINT` or `DOWNLOAD` */
  firstModel(
    options: Options,
    seed: number,
    data: TaskData<Config>,
  ): Promise<{ config: Config; weights: (config: Config) => Promise<Map<string, Float32Array>> }>;
  /** Opens what the task needs beside the model, which may have to be fetched. */
  open(recipe: Readonly<Record<string, unknown>>, channels: number, options: DownloadOptions): Promise<OpenTask<Config>>;
  /** @param count validation images in all */
  judge(count: number, config: Config): Judge;
  /** For people: what a run uses beside the model, what its metrics come to, and what its result is for. */
  describe(recipe: Readonly<Record<string, unknown>>): string;
  quality(metrics: Readonly<Record<string, unknown>>): string;
  readonly use: string;
}

/** How weights are put on a device. */
export interface UploadOptions {
  signal?: AbortSignal | undefined;
  /** Called after each layer with parameters uploaded so far and in all. */
  onProgress?: ((loaded: number, total: number) => void) | undefined;
}
