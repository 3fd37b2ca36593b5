import { dimensions, type ModelConfig, presetConfig } from "../../src/models/stylizing-vit/config.js";
import type { BenchSize } from "../support/op.js";

/** What a model's GEMMs run at: sizes padded to multiples of 4. */
export interface ModelSizes {
  tokens: number;
  width: number;
  heads: number;
  head: number;
  hidden: number;
  bottleneck: number;
  /** Numbers of a patch, and inner size of the decoder's patch product. */
  patch: number;
  rank: number;
}

export function sizesOf(config: ModelConfig): ModelSizes {
  const { tokens, headDim, hidden, bottleneck, patchInputs, rank } = dimensions(config);
  const padded = (count: number) => 4 * Math.ceil(count / 4);
  return {
    tokens,
    width: padded(config.embed_dim),
    heads: config.num_heads,
    head: padded(headDim),
    hidden: padded(hidden),
    bottleneck: padded(bottleneck),
    patch: padded(patchInputs),
    rank,
  };
}

/** A published model's, at one batch. */
export interface PublishedSize extends ModelSizes {
  bench: BenchSize & { model: string };
  /** Of a case: its model and batch. */
  title: string;
  batch: number;
}

export const BENCH_BATCHES = [1, 8, 64] as const;

/** The images that published models take. */
export const PUBLISHED_IMAGE = { channels: 3, imageSize: 224 };
export const PUBLISHED_PATCH = 16;

/** Cases of every published model and batch. */
export function published<C>(make: (size: PublishedSize) => C[], batches: readonly number[] = BENCH_BATCHES): C[] {
  return ["tiny", "small", "base"].flatMap((model) => {
    const sizes = sizesOf(presetConfig(model));
    return batches.flatMap((batch) => make({ bench: { model, batch }, title: `${model}, batch ${batch}`, batch, ...sizes }));
  });
}

/** Cases of every batch, of ops that are alike in all published models. */
export const perBatch = <C>(make: (of: { bench: BenchSize; title: string; batch: number }) => C[]): C[] =>
  BENCH_BATCHES.flatMap((batch) => make({ bench: { batch }, title: `published, batch ${batch}`, batch }));

/** Mean and deviation of a published model's pixels, and of a fourth channel. */
export const STATISTICS = { mean: [0.744, 0.5895, 0.7214, 0.31], std: [0.1787, 0.2131, 0.1721, 0.25] };
