import type { Gpu } from "../../gpu/gpu.js";
import { evenWeights, targetsOf } from "../../losses/cross-entropy.js";
import { lossScaleOf } from "../../losses/scale.js";
import type { LossTerm } from "../../losses/terms.js";
import type { Parameters, Tensor } from "../../net/parameters.js";
import type { Recorder } from "../../net/recorder.js";
import { fraction } from "../../random.js";
import type { BatchFacts, FlatArrays, Part, Task, TaskSettings } from "../task.js";
import type { VitConfig } from "./config.js";
import { type DecayRule, decays } from "./parameters.js";
import { TrainedVit } from "./trained-model.js";
import { branchesOf, recordVitTraining, VIT_TRAINING } from "./training.js";

/** Images of a part of a batch. */
export interface VitShape {
  images: number;
}

export interface VitTaskSettings extends TaskSettings {
  /** `decay` (see `decays`); `dropPath`, the largest rate: that of the last block, from 0 in the first one on; `seed`, of drop path. */
  recipe?: Readonly<{ decay?: DecayRule; dropPath?: number; seed?: number } & Record<string, unknown>>;
  /** Instead of what suits the batch. */
  lossScale?: number;
}

/** Where drop path's draws begin among those of a seed. */
const DROP_PATH = 7;

/**
 * What every branch of every image is multiplied by in a step: 0, or what keeps its mean (Huang et al. 2016). Rates grow evenly
 * with depth, and both branches of a block have one, as in timm.
 * @returns [2 · depth, images]
 */
export function dropFactors(
  { depth }: Pick<VitConfig, "depth">,
  rate: number,
  { seed, step, first, images }: { seed: number; step: number; first: number; images: number },
): Float32Array {
  const factors = new Float32Array(branchesOf(depth) * images);
  for (let branch = 0; branch < branchesOf(depth); branch++) {
    const dropped = depth === 1 ? rate : (rate * Math.floor(branch / 2)) / (depth - 1);
    for (let image = 0; image < images; image++)
      factors[branch * images + image] = fraction(seed, DROP_PATH, step, first + image, branch) < dropped ? 0 : 1 / (1 - dropped);
  }
  return factors;
}

/** Training of a classifier on a device. */
export class VitTask implements Task<VitShape> {
  readonly parameters: Parameters;
  readonly terms: readonly LossTerm[];
  readonly lossScale: number;
  readonly #model: TrainedVit;
  readonly #settings: { recompute: boolean; decay: DecayRule; dropPath: number; seed: number };

  /** @throws StylizingError `GPU` where the device has no room */
  constructor(gpu: Gpu, config: VitConfig, settings: VitTaskSettings) {
    this.#model = new TrainedVit(gpu, config);
    this.parameters = this.#model.places.parameters;
    this.terms = settings.terms;
    this.lossScale = settings.lossScale ?? lossScaleOf(gpu, settings.batch);
    const { recompute, recipe: { decay = "matrices", dropPath = 0, seed = 0 } = {} } = settings;
    this.#settings = { recompute, decay, dropPath, seed };
  }

  decays(tensor: Tensor): boolean {
    return decays(tensor, this.#settings.decay);
  }

  largest(images: number): VitShape {
    return { images };
  }

  images({ images }: VitShape): number {
    return images;
  }

  *split(batch: Uint8Array, images: number, { labels, step }: BatchFacts): Generator<Part<VitShape>> {
    const { in_channels, image_size } = this.#model.config;
    const each = in_channels * image_size ** 2;
    const count = batch.length / each;
    for (let first = 0; first < count; first += images) {
      const shape = { images: Math.min(images, count - first) };
      const beside = this.beside(labels ?? new Uint32Array(count), { ...shape, first, step });
      yield { first, shape, images: batch.subarray(first * each, (first + shape.images) * each), beside };
    }
  }

  /** What a part's program reads beside its images; without a step nothing is dropped. */
  beside(
    labels: ArrayLike<number>,
    { images, first, step }: { images: number; first: number; step?: number | undefined },
  ): Record<string, Uint32Array | Float32Array> {
    const { config } = this.#model;
    const own = Array.from({ length: images }, (_, image) => labels[first + image]!);
    const targets = targetsOf(own, labels, config.class_weights ?? evenWeights(config.num_classes));
    const { dropPath, seed } = this.#settings;
    if (!this.#drops || step === undefined) return { [VIT_TRAINING.targets]: targets };
    return {
      [VIT_TRAINING.targets]: targets,
      [VIT_TRAINING.factors]: dropFactors(config, dropPath, { seed, step, first, images }),
    };
  }

  get #drops(): boolean {
    return this.#settings.dropPath > 0;
  }

  fold(r: Recorder, flat: FlatArrays): void {
    this.#model.fold(r, flat);
  }

  unfold(r: Recorder, flat: FlatArrays): void {
    this.#model.unfold(r, flat);
  }

  record(r: Recorder, flat: FlatArrays, { images }: VitShape, input: "bytes" | "planes", backward: boolean): void {
    const [{ weight = 1 } = {}] = this.terms;
    recordVitTraining(r, this.#model, flat, {
      ...{ images, input, backward, recompute: this.#settings.recompute },
      ...{ drop: backward && this.#drops, scale: weight * this.lossScale },
    });
  }

  /** Biases that a configuration lacks. */
  get absent(): readonly { offset: number; count: number }[] {
    const { config, places } = this.#model;
    return config.qkv_bias ? [] : places.layers.map(({ qkv }) => ({ offset: qkv.bias, count: qkv.rows }));
  }

  /** [images, padded classes] f32. */
  outputs({ images }: VitShape) {
    return [{ name: "logits", buffer: VIT_TRAINING.logits, first: 0, images, bytes: 4 * this.#model.layout.classes }];
  }

  dispose(): void {
    this.#model.dispose();
  }
}
