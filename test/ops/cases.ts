import { dimensions, type ModelConfig, presetConfig } from "../../src/model/config.js";
import { layoutOf } from "../../src/model/pack.js";
import type { AttentionShape } from "../../src/ops/attention.js";
import type { ConvolutionShape, PatchifyShape, PatchProductShape, QuantizeShape } from "../../src/ops/images.js";
import type { Epilogue } from "../../src/ops/linear.js";

/**
 * One table per op, for tests and benches. Cases with `bench` are the sizes that published models run: too large for a CPU
 * adapter and a naive oracle, so tests leave them out; a bench takes them and may take the others as well.
 */
interface Case {
  name: string;
  bench?: boolean;
}

/** For `it.each("%s")`: title and case. */
export const tested = <T extends Case>(cases: readonly T[]): [string, T][] =>
  cases.filter((one) => !one.bench).map((one) => [one.name, one]);
export const benched = <T extends Case>(cases: readonly T[]): T[] => cases.filter((one) => one.bench);

const published = (["tiny", "small", "base"] as const).map((preset) => ({ preset, config: presetConfig(preset) }));
const BENCH_BATCHES = [1, 8, 64];

function perBatch<T extends Case>(make: (preset: string, config: ModelConfig, batch: number) => T[]): T[] {
  return published.flatMap(({ preset, config }) => BENCH_BATCHES.flatMap((batch) => make(preset, config, batch)));
}

export interface LinearCase extends Case {
  rows: number;
  depth: number;
  cols: number;
  epilogue: Epilogue;
  /** Columns in front of and behind those used, in elements; gaps hold NaN. */
  inputOffset?: number;
  inputGap?: number;
  weightColumn?: number;
  weightGap?: number;
  outputOffset?: number;
  outputGap?: number;
  /** Where the residual rows lie, if not in the output's place. */
  residualOffset?: number;
  /** Rows of the table. */
  period?: number;
  /** `equal`: all rows alike. `large`: inputs around 1000 whose products cancel. `gelu`: sums that sweep GELU's whole range. */
  data?: "normal" | "equal" | "large" | "gelu";
}

export const linearCases: readonly LinearCase[] = [
  { name: "the smallest", rows: 1, depth: 4, cols: 4, epilogue: "none" },
  { name: "one row, deep", rows: 1, depth: 3072, cols: 96, epilogue: "none" },
  { name: "one row, wide", rows: 1, depth: 4, cols: 3072, epilogue: "gelu" },
  { name: "one column vector", rows: 197, depth: 192, cols: 4, epilogue: "none" },
  { name: "odd sizes", rows: 13, depth: 20, cols: 28, epilogue: "none" },
  { name: "one row short of a tile", rows: 31, depth: 60, cols: 92, epilogue: "residual" },
  { name: "whole tiles", rows: 32, depth: 64, cols: 96, epilogue: "gelu" },
  { name: "one past every tile", rows: 33, depth: 68, cols: 100, epilogue: "table", period: 5 },
  { name: "four rows a lane", rows: 16_333, depth: 4, cols: 4, epilogue: "none" },
  { name: "eight rows a lane", rows: 32_701, depth: 8, cols: 4, epilogue: "residual" },
  { name: "a sequence to queries, keys and values", rows: 197, depth: 192, cols: 576, epilogue: "none" },
  { name: "MLP in", rows: 50, depth: 96, cols: 384, epilogue: "gelu" },
  { name: "MLP out", rows: 50, depth: 384, cols: 96, epilogue: "residual" },
  { name: "embedding with its table", rows: 51, depth: 192, cols: 96, epilogue: "table", period: 17 },
  { name: "a table longer than the rows", rows: 9, depth: 48, cols: 52, epilogue: "table", period: 197 },
  {
    name: "keys and values beside queries",
    rows: 21,
    depth: 24,
    cols: 48,
    epilogue: "none",
    weightColumn: 24,
    outputOffset: 24,
    outputGap: 24,
  },
  { name: "queries before keys and values", rows: 21, depth: 24, cols: 24, epilogue: "gelu", weightGap: 48, outputGap: 48 },
  {
    name: "offsets and gaps everywhere",
    rows: 37,
    depth: 44,
    cols: 36,
    epilogue: "residual",
    inputOffset: 88,
    inputGap: 12,
    weightColumn: 8,
    weightGap: 4,
    outputOffset: 120,
    outputGap: 20,
  },
  { name: "residual rows behind the output", rows: 18, depth: 32, cols: 64, epilogue: "residual", residualOffset: 18 * 64 + 128 },
  {
    name: "residual rows before the output",
    rows: 18,
    depth: 32,
    cols: 64,
    epilogue: "residual",
    outputOffset: 18 * 64 + 64,
    residualOffset: 0,
  },
  { name: "all rows equal", rows: 34, depth: 256, cols: 32, epilogue: "none", data: "equal" },
  { name: "large inputs", rows: 20, depth: 768, cols: 48, epilogue: "none", data: "large" },
  { name: "all of GELU", rows: 64, depth: 4, cols: 64, epilogue: "gelu", data: "gelu" },
  ...perBatch((preset, config, batch): LinearCase[] => {
    const { tokens, width, attention, hidden, bottleneck, patch } = layoutOf(config);
    const rows = batch * tokens;
    const of = (what: string, streams: number, depth: number, cols: number, epilogue: Epilogue): LinearCase => ({
      name: `${preset}, batch ${batch}: ${what}`,
      bench: true,
      rows: streams * rows,
      depth,
      cols,
      epilogue,
      ...(epilogue === "table" ? { period: tokens } : {}),
    });
    return [
      of("embedding", 1, patch, width, "table"),
      of("query, key, value", 2, width, 3 * attention, "none"),
      of("out", 3, attention, width, "residual"),
      of("fc1", 3, width, hidden, "gelu"),
      of("fc2", 3, hidden, width, "residual"),
      of("bottleneck fc1", 1, width, bottleneck, "gelu"),
      of("bottleneck fc2", 1, bottleneck, width, "none"),
    ];
  }),
];

export interface LayerNormCase extends Case {
  rows: number;
  width: number;
  affine?: boolean;
  inputOffset?: number;
  /** Beyond the padded width, in elements; in the output they are to be zero. */
  inputGap?: number;
  outputOffset?: number;
  outputGap?: number;
  /** Mean and deviation of the numbers; a deviation of 0 makes every row constant. */
  mean?: number;
  deviation?: number;
  /** All rows alike. */
  equal?: boolean;
}

export const layerNormCases: readonly LayerNormCase[] = [
  { name: "the smallest", rows: 1, width: 4 },
  { name: "narrower than a vector", rows: 3, width: 2 },
  { name: "an odd width", rows: 7, width: 30, affine: true },
  { name: "odd width, padding and gaps", rows: 18, width: 29, inputOffset: 64, inputGap: 12, outputOffset: 32, outputGap: 8 },
  { name: "a sequence", rows: 197, width: 192 },
  { name: "a sequence, affine", rows: 197, width: 96, affine: true },
  { name: "one row past a workgroup", rows: 17, width: 100, affine: true, outputGap: 28 },
  { name: "base", rows: 33, width: 768 },
  { name: "wide", rows: 5, width: 3072, affine: true },
  { name: "all rows equal", rows: 20, width: 192, equal: true },
  { name: "large values", rows: 9, width: 384, deviation: 1e6 },
  { name: "tiny values, where eps decides", rows: 9, width: 384, deviation: 1e-4 },
  { name: "a mean of 1000 and tiny variance", rows: 21, width: 768, mean: 1e3, deviation: 1e-3 },
  { name: "a mean of 1000 and some variance", rows: 21, width: 192, mean: 1e3, deviation: 1 },
  { name: "constant rows", rows: 21, width: 192, mean: 0.3, deviation: 0 },
  { name: "constant rows of 1000", rows: 5, width: 771, mean: 1e3, deviation: 0 },
  { name: "zero rows", rows: 4, width: 48, mean: 0, deviation: 0, affine: true },
  ...perBatch((preset, config, batch): LayerNormCase[] => [
    {
      name: `${preset}, batch ${batch}: three streams`,
      bench: true,
      rows: 3 * batch * dimensions(config).tokens,
      width: config.embed_dim,
    },
  ]),
];

export interface AttentionCase extends Case, Omit<AttentionShape, "headSize"> {
  headSize: number;
  /** `self`: query, key and value side by side. `cross`: queries in one buffer, keys and values in another. `bank`: all sequences share one query, contexts in reverse. */
  kind: "self" | "cross" | "bank";
  /** `equal`: all keys alike. `logits`: scores up to ±80. `low`: all scores near -120, whose exp is 0 in f32. `one`: a single key takes all weight. */
  data?: "normal" | "equal" | "logits" | "low" | "one";
  /** Columns in front of the first that is used, and behind the last. */
  gap?: number;
}

// Sizes repeat on purpose: a size of head and a count of keys make a pipeline, which a CPU adapter takes a second to compile.
export const attentionCases: readonly AttentionCase[] = [
  { name: "one token", sequences: 3, tokens: 1, heads: 2, headSize: 4, kind: "cross" },
  { name: "heads of 4", sequences: 2, tokens: 17, heads: 3, headSize: 4, kind: "self" },
  { name: "heads of 12", sequences: 2, tokens: 15, heads: 2, headSize: 12, kind: "cross" },
  { name: "one key takes all", sequences: 1, tokens: 33, heads: 2, headSize: 20, kind: "self", data: "one" },
  { name: "heads of 20, seven of them", sequences: 1, tokens: 33, heads: 7, headSize: 20, kind: "self" },
  { name: "columns in front and behind", sequences: 2, tokens: 33, heads: 2, headSize: 20, kind: "cross", gap: 8 },
  { name: "heads of 32", sequences: 3, tokens: 37, heads: 3, headSize: 32, kind: "cross" },
  { name: "a bank of contexts", sequences: 5, tokens: 37, heads: 2, headSize: 32, kind: "bank" },
  { name: "equal keys", sequences: 1, tokens: 37, heads: 2, headSize: 32, kind: "self", data: "equal" },
  { name: "whole tiles", sequences: 1, tokens: 128, heads: 1, headSize: 64, kind: "self" },
  { name: "heads of 64, seven of them", sequences: 1, tokens: 65, heads: 7, headSize: 64, kind: "self" },
  { name: "scores of ±80", sequences: 1, tokens: 65, heads: 2, headSize: 64, kind: "cross", data: "logits" },
  { name: "scores of -120", sequences: 1, tokens: 65, heads: 2, headSize: 64, kind: "self", data: "low" },
  { name: "heads of 80, in slices", sequences: 1, tokens: 41, heads: 2, headSize: 80, kind: "cross" },
  { name: "heads of 192, in slices", sequences: 1, tokens: 35, heads: 2, headSize: 192, kind: "self" },
  { name: "a published sequence", sequences: 1, tokens: 197, heads: 3, headSize: 64, kind: "self" },
  { name: "a published sequence, crossed", sequences: 2, tokens: 197, heads: 2, headSize: 64, kind: "cross" },
  { name: "many tokens", sequences: 1, tokens: 601, heads: 1, headSize: 64, kind: "self" },
  ...perBatch((preset, config, batch): AttentionCase[] => [
    {
      name: `${preset}, batch ${batch}: three streams`,
      bench: true,
      sequences: 3 * batch,
      tokens: dimensions(config).tokens,
      heads: config.num_heads,
      headSize: layoutOf(config).head,
      kind: "self",
    },
  ]),
];

/** Statistics of a published model, and of a fourth channel. */
export const STATISTICS = { mean: [0.744, 0.5895, 0.7214, 0.31], std: [0.1787, 0.2131, 0.1721, 0.25] };

const PRESET_IMAGE = { channels: 3, imageSize: 224 };

export interface PatchifyCase extends Case, PatchifyShape {
  /** Sequences of rows in front of the first image's. */
  firstRow?: number;
}

export const patchifyCases: readonly PatchifyCase[] = [
  ...(["bytes", "floats", "planes"] as const).flatMap((format): PatchifyCase[] => [
    { name: `${format}, one channel, patches of 7`, images: 1, channels: 1, imageSize: 7, patchSize: 7, depth: 52, format },
    {
      name: `${format}, one channel, an odd count of pixels`,
      images: 3,
      channels: 1,
      imageSize: 21,
      patchSize: 7,
      depth: 52,
      format,
      firstRow: 10,
    },
    { name: `${format}, patches of 7`, images: 2, channels: 3, imageSize: 28, patchSize: 7, depth: 148, format },
    { name: `${format}, patches of 16`, images: 3, channels: 3, imageSize: 48, patchSize: 16, depth: 768, format, firstRow: 30 },
    { name: `${format}, four channels`, images: 2, channels: 4, imageSize: 32, patchSize: 16, depth: 1024, format },
    { name: `${format}, four channels, patches of 7`, images: 1, channels: 4, imageSize: 14, patchSize: 7, depth: 196, format },
    { name: `${format}, patches of one pixel`, images: 2, channels: 3, imageSize: 5, patchSize: 1, depth: 4, format },
  ]),
  { name: "planes of six channels", images: 2, channels: 6, imageSize: 14, patchSize: 7, depth: 296, format: "planes" },
  ...BENCH_BATCHES.flatMap((images) =>
    (["bytes", "planes"] as const).map(
      (format): PatchifyCase => ({
        name: `published, batch ${images}, ${format}`,
        bench: true,
        images,
        ...PRESET_IMAGE,
        patchSize: 16,
        depth: 768,
        format,
      }),
    ),
  ),
];

export interface PatchProductCase extends Case, Omit<PatchProductShape, "stride"> {
  /** Behind a token's numbers, in elements. */
  gap?: number;
}

export const patchProductCases: readonly PatchProductCase[] = [
  { name: "one patch of one pixel", images: 1, channels: 1, imageSize: 1, patchSize: 1, rank: 1, gap: 2 },
  { name: "one channel", images: 2, channels: 1, imageSize: 21, patchSize: 7, rank: 2 },
  { name: "three channels, patches of 7", images: 2, channels: 3, imageSize: 14, patchSize: 7, rank: 2 },
  { name: "three channels, patches of 16", images: 3, channels: 3, imageSize: 32, patchSize: 16, rank: 1 },
  { name: "four channels", images: 1, channels: 4, imageSize: 32, patchSize: 16, rank: 3 },
  { name: "rank 8, as in base", images: 1, channels: 3, imageSize: 48, patchSize: 16, rank: 8 },
  { name: "rows with padding", images: 2, channels: 3, imageSize: 20, patchSize: 5, rank: 2, gap: 8 },
  ...BENCH_BATCHES.flatMap((images) =>
    published.map(
      ({ preset, config }): PatchProductCase => ({
        name: `${preset}, batch ${images}`,
        bench: true,
        images,
        ...PRESET_IMAGE,
        patchSize: 16,
        rank: dimensions(config).rank,
      }),
    ),
  ),
];

export interface ConvolutionCase extends Case, ConvolutionShape {}

export const convolutionCases: readonly ConvolutionCase[] = [
  { name: "one pixel", images: 1, channels: 1, imageSize: 1, kernelSize: 5 },
  { name: "a kernel larger than the image", images: 2, channels: 3, imageSize: 3, kernelSize: 9 },
  { name: "a kernel of one", images: 2, channels: 3, imageSize: 7, kernelSize: 1 },
  { name: "one channel", images: 3, channels: 1, imageSize: 13, kernelSize: 3 },
  { name: "three channels", images: 2, channels: 3, imageSize: 29, kernelSize: 5 },
  { name: "four channels", images: 1, channels: 4, imageSize: 16, kernelSize: 7 },
  { name: "one past a vector", images: 1, channels: 3, imageSize: 33, kernelSize: 5 },
  ...BENCH_BATCHES.map(
    (images): ConvolutionCase => ({ name: `published, batch ${images}`, bench: true, images, ...PRESET_IMAGE, kernelSize: 5 }),
  ),
];

export interface QuantizeCase extends Case, QuantizeShape {}

export const quantizeCases: readonly QuantizeCase[] = [
  ...(["bytes", "floats"] as const).flatMap((format): QuantizeCase[] => [
    { name: `${format}, one value`, images: 1, channels: 1, imageSize: 1, format },
    { name: `${format}, an odd count`, images: 3, channels: 1, imageSize: 7, format },
    { name: `${format}, two past a word`, images: 2, channels: 3, imageSize: 9, format },
    { name: `${format}, three channels`, images: 2, channels: 3, imageSize: 24, format },
    { name: `${format}, four channels`, images: 1, channels: 4, imageSize: 17, format },
  ]),
  ...BENCH_BATCHES.map(
    (images): QuantizeCase => ({ name: `published, batch ${images}`, bench: true, images, ...PRESET_IMAGE, format: "bytes" }),
  ),
];
