import { StylizingError } from "../../errors.js";
import type { Gpu } from "../../gpu/gpu.js";
import type { DownloadOptions } from "../../hub/download.js";
import type { WeightSource } from "../../hub/weight-source.js";
import { listDataset, tellingLeftOut } from "../../image/folder.js";
import { lossScaleOf } from "../../losses/scale.js";
import type { LossTerm } from "../../losses/terms.js";
import type { Parameters } from "../../net/parameters.js";
import type { Recorder } from "../../net/recorder.js";
import { askedConfig, type FoundModel, findModel, firstConfig } from "../open.js";
import type { FlatArrays, OpenTask, Part, Task, TaskKind, TaskSettings } from "../task.js";
import { Vgg } from "../vgg/features.js";
import { openVgg, SMALLEST_IMAGE, type Stage } from "../vgg/weights.js";
import { type BatchShape, rolled } from "./batch-shape.js";
import { checkConfig, type ModelConfig, presetConfig } from "./config.js";
import { PairJudge } from "./judge.js";
import { stylizingVit } from "./kind.js";
import { LOSS_NAMES, LOSS_WEIGHTS, type Losses } from "./losses.js";
import { checkShapes, modelParameters, parameterShapes } from "./parameters.js";
import { TrainedModel } from "./trained-model.js";
import { Training } from "./training.js";

/** What a run of this task can be told beside what every run can. */
export interface StylizingOptions {
  /** A published size; `tiny` where neither this, `config` nor `init` is given. */
  preset?: string | undefined;
  /** A configuration, or the path of a JSON file that holds one. */
  config?: ModelConfig | string | undefined;
  /** A model whose weights are the first ones: a published name, a folder or a `.safetensors` file. */
  init?: string | undefined;
  /** Side of the images as the model sees them, in pixels, instead of the configuration's. */
  imageSize?: number | undefined;
  /** Default 70, 1, 7 and 10. */
  lossWeights?: Losses | undefined;
  /** Where the losses' frozen VGG-19 comes from: `hub` (the default), a file, or `random:SEED`. */
  vgg?: string | undefined;
  signal?: AbortSignal | undefined;
}

function refuse(problem: string, fix: string): never {
  throw new StylizingError("ARGUMENT", problem, fix);
}

async function firstModel({ init, imageSize, preset, config, signal }: StylizingOptions, seed: number) {
  if (init === undefined) {
    const given = await firstConfig(stylizingVit, { preset, config }, "tiny");
    const sized = imageSize === undefined ? given : checkConfig({ ...given, image_size: imageSize });
    return { config: sized, weights: async (settled: ModelConfig) => modelParameters(settled).parameters.initial(seed) };
  }
  const found = await findModel(init, { config, preset, signal });
  if (imageSize !== undefined && imageSize !== found.config.image_size) {
    const problem = `${init} takes images of ${found.config.image_size} pixels, and --image-size is ${imageSize}.`;
    refuse(problem, "Leave it away: a model's positions belong to its size.");
  }
  return { config: found.config, weights: (settled: ModelConfig) => readWeights(found, settled) };
}

async function readWeights(found: FoundModel, config: ModelConfig): Promise<Map<string, Float32Array>> {
  await using source = await found.open();
  checkShapes(config, source.shapes, source.label);
  const values = new Map<string, Float32Array>();
  for (const key of parameterShapes(config).keys()) values.set(key, await source.read(key));
  return values;
}

/** Painting: each image of a batch is content of one pair and style of another, rolled by one. */
export const stylizing: TaskKind<ModelConfig, StylizingOptions> = {
  name: "stylize",
  terms: LOSS_NAMES.map((name) => ({ name, weight: LOSS_WEIGHTS[name] })),
  fewest: 2,
  recipe: { vgg: "hub" },
  bests: { loss: "lowest" },
  // A run that is resumed does not always come to look at it.
  checkOptions({ preset }) {
    if (preset !== undefined) presetConfig(preset);
  },
  checkConfig,
  shapes: parameterShapes,
  data: ({ data, val, out, onNote }) =>
    tellingLeftOut(onNote, async (leftOut) => ({
      training: await listDataset(data, out, "training images", leftOut),
      validation: await listDataset(val, out, "validation images", leftOut),
      config: {},
    })),
  givenConfig: (options) => askedConfig(stylizingVit, options),
  firstModel,
  async open({ vgg: source }, channels, options: DownloadOptions): Promise<OpenTask<ModelConfig>> {
    const vgg = await openVgg(String(source), channels, options);
    return {
      create: (gpu, config, settings) => StylizingTask.create(gpu, config, vgg, settings),
      [Symbol.asyncDispose]: () => vgg[Symbol.asyncDispose](),
    };
  },
  judge: (count) => new PairJudge(count),
  describe: ({ vgg }) => `losses from VGG-19 ${vgg}; `,
  quality: ({ psnr, ssim }) => `reconstruction ${Number(psnr).toFixed(1)} dB, SSIM ${Number(ssim).toFixed(3)}`,
  use: "paints with it",
};

export interface StylizingSettings extends TaskSettings {
  /** Instead of what suits the batch. */
  lossScale?: number;
  /** Of a thinner VGG-19, for tests. */
  stages?: readonly Stage[];
}

/** Training on a device. */
export class StylizingTask implements Task<BatchShape> {
  readonly parameters: Parameters;
  readonly terms: readonly LossTerm[];
  readonly lossScale: number;
  readonly #model: TrainedModel;
  readonly #recompute: boolean;

  private constructor(model: TrainedModel, { terms, recompute }: StylizingSettings, lossScale: number) {
    this.#model = model;
    this.parameters = model.places.parameters;
    this.terms = terms;
    this.lossScale = lossScale;
    this.#recompute = recompute;
  }

  /** @throws StylizingError `CONFIG` for images too small for VGG-19, `GPU` where the device has no room */
  static async create(gpu: Gpu, config: ModelConfig, vgg: WeightSource, settings: StylizingSettings): Promise<StylizingTask> {
    if (config.image_size < SMALLEST_IMAGE) {
      throw new StylizingError(
        "CONFIG",
        `The image size is ${config.image_size}, and VGG-19's five poolings leave nothing of it.`,
        `Train with ${SMALLEST_IMAGE} pixels or more.`,
      );
    }
    const features = await Vgg.create(gpu, vgg, config.in_channels, config.image_size, settings.stages);
    try {
      const model = new TrainedModel(gpu, config, features);
      return new StylizingTask(model, settings, settings.lossScale ?? lossScaleOf(gpu, settings.batch));
    } catch (error) {
      features.dispose();
      throw error;
    }
  }

  largest(images: number, batch: number): BatchShape {
    // A judged batch of more images than a step's needs one more than its pairs.
    const uniques = Math.max(2, images === batch ? images : images + 1);
    const styles = Array.from({ length: images }, (_, pair) => (pair + 1) % uniques);
    return { uniques, pairs: images, styles, counts: new Array(uniques).fill(1), batch };
  }

  /** The last image of a part may be the first of the batch again. */
  *split(batch: Uint8Array, images: number): Generator<Part<BatchShape>> {
    const { in_channels, image_size } = this.#model.config;
    const each = in_channels * image_size ** 2;
    const count = batch.length / each;
    if (count <= images) {
      yield { first: 0, shape: rolled(count, count), images: batch };
      return;
    }
    for (let first = 0; first < count; first += images) {
      const shape = rolled(Math.min(images, count - first), count);
      const end = first + shape.uniques;
      let part = batch.subarray(first * each, Math.min(end, count) * each);
      if (end > count) {
        const whole = new Uint8Array(shape.uniques * each);
        whole.set(part);
        whole.set(batch.subarray(0, each), part.length);
        part = whole;
      }
      yield { first, shape, images: part };
    }
  }

  /** All of them, as published. */
  decays(): boolean {
    return true;
  }

  images({ uniques }: BatchShape): number {
    return uniques;
  }

  fold(r: Recorder, flat: FlatArrays): void {
    this.#model.fold(r, flat);
  }

  unfold(r: Recorder, flat: FlatArrays): void {
    this.#model.unfold(r, flat);
  }

  record(r: Recorder, flat: FlatArrays, shape: BatchShape, input: "bytes" | "planes", backward: boolean): void {
    const weights = Object.fromEntries(this.terms.map(({ name, weight }) => [name, weight])) as Losses;
    new Training(r, this.#model, flat, shape, this.#recompute).record(input, weights, this.lossScale, backward);
  }

  /** Biases that a configuration lacks. */
  get absent(): readonly { offset: number; count: number }[] {
    const { config, places } = this.#model;
    return config.qkv_bias ? [] : places.layers.map(({ qkv }) => ({ offset: qkv.bias, count: qkv.rows }));
  }

  /** Stream A decoded, and stream Z: image i in the style of image i + 1, the last in that of the first. */
  outputs({ uniques, pairs }: BatchShape) {
    const { in_channels, image_size } = this.#model.config;
    const place = { buffer: "decoded bytes", images: pairs, bytes: in_channels * image_size ** 2 };
    return [
      { name: "reconstruction", first: 0, ...place },
      { name: "stylized", first: uniques, ...place },
    ];
  }

  dispose(): void {
    this.#model.dispose();
  }
}
