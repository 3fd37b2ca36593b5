import type { Source } from "../../src/ops/rows.js";

/** One table per op of the backward pass. */

export interface TransposeCase {
  name: string;
  rows: number;
  /** Rows of zeros beyond the next multiple of 4. */
  padding?: number;
  cols: number;
  inputOffset?: number;
  inputGap?: number;
  outputOffset?: number;
}

export const transposeCases: readonly TransposeCase[] = [
  { name: "one row", rows: 1, cols: 4 },
  { name: "five rows", rows: 5, cols: 12 },
  { name: "one block of a workgroup", rows: 32, cols: 32 },
  { name: "one past it", rows: 33, cols: 36 },
  { name: "a sequence", rows: 197, cols: 96 },
  { name: "more padding than one vec4", rows: 18, padding: 44, cols: 40 },
  { name: "offsets and gaps", rows: 51, cols: 68, inputOffset: 24, inputGap: 12, outputOffset: 40 },
];

export interface SumRowsCase {
  name: string;
  rows: number;
  cols: number;
  inputOffset?: number;
  inputGap?: number;
  outputOffset?: number;
  scale?: number;
  accumulate?: boolean;
  /** All numbers alike, whose roundings add up. */
  value?: number;
}

export const sumRowsCases: readonly SumRowsCase[] = [
  { name: "one vector", rows: 1, cols: 4 },
  { name: "rows of one vector", rows: 21, cols: 4, accumulate: true },
  { name: "a bias's gradient", rows: 96, cols: 612, scale: 0.25 },
  { name: "one row past a workgroup, added", rows: 17, cols: 260, accumulate: true, scale: -3 },
  { name: "offsets and gaps", rows: 13, cols: 100, inputOffset: 32, inputGap: 20, outputOffset: 7, accumulate: true },
  { name: "one long row", rows: 1, cols: 40_000, outputOffset: 3, scale: 1e-3 },
  { name: "millions of one value", rows: 1, cols: 3_000_000, value: 0.1 },
  { name: "one past a block", rows: 2, cols: 4 * 32 * 256 + 4 },
];

export const SOURCES: readonly Source[] = ["elem", "f32"];

export interface SumSlicesCase {
  name: string;
  slices: number;
  count: number;
  gap?: number;
  inputOffset?: number;
  outputOffset?: number;
  scale?: number;
  accumulate?: boolean;
}

export const sumSlicesCases: readonly SumSlicesCase[] = [
  { name: "one slice of one vector", slices: 1, count: 4 },
  { name: "one past a workgroup", slices: 3, count: 260, scale: 0.5 },
  { name: "added", slices: 5, count: 96, accumulate: true },
  { name: "offsets and gaps", slices: 8, count: 1000, gap: 16, inputOffset: 12, outputOffset: 20, accumulate: true, scale: -2 },
  { name: "many images", slices: 64, count: 192, scale: 1 / 64 },
];

export interface GeluCase {
  name: string;
  rows: number;
  cols: number;
  inputOffset?: number;
  outputOffset?: number;
}

export const geluCases: readonly GeluCase[] = [
  { name: "one vector", rows: 1, cols: 4 },
  { name: "rows", rows: 17, cols: 388 },
  { name: "offsets", rows: 5, cols: 52, inputOffset: 36, outputOffset: 12 },
];

export interface LayerNormBackwardCase {
  name: string;
  rows: number;
  width: number;
  inputOffset?: number;
  inputGap?: number;
  upstreamOffset?: number;
  upstreamGap?: number;
  gradientOffset?: number;
  /** Beyond the padded width; to be zero afterwards. */
  gradientGap?: number;
  accumulate?: boolean;
  /** Mean and deviation of x; a deviation of 0 makes every row constant. */
  mean?: number;
  deviation?: number;
  /** All rows of both operands alike. */
  equal?: boolean;
  /** The mean of d, beside a deviation of 1. */
  upstreamMean?: number;
}

export const layerNormBackwardCases: readonly LayerNormBackwardCase[] = [
  { name: "the smallest", rows: 1, width: 4 },
  { name: "narrower than a vector", rows: 3, width: 2 },
  { name: "an odd width, added", rows: 7, width: 30, accumulate: true },
  {
    name: "odd width, offsets and gaps",
    rows: 18,
    width: 29,
    inputOffset: 64,
    inputGap: 12,
    upstreamOffset: 20,
    upstreamGap: 16,
    gradientOffset: 32,
    gradientGap: 8,
  },
  { name: "offsets, added", rows: 33, width: 96, inputOffset: 8, upstreamOffset: 4, gradientOffset: 12, accumulate: true },
  { name: "a sequence", rows: 197, width: 192 },
  { name: "base, added", rows: 17, width: 768, accumulate: true },
  { name: "wide", rows: 2, width: 3072 },
  { name: "all rows equal", rows: 20, width: 192, equal: true },
  { name: "a large mean of d", rows: 9, width: 384, upstreamMean: 30 },
  { name: "large values", rows: 9, width: 384, deviation: 1e6 },
  { name: "tiny values, where eps decides", rows: 9, width: 384, deviation: 1e-4 },
  { name: "a mean of 1000 and some variance", rows: 21, width: 192, mean: 1e3, deviation: 1 },
  { name: "constant rows", rows: 21, width: 192, mean: 0.3, deviation: 0 },
  { name: "zero rows", rows: 4, width: 48, mean: 0, deviation: 0 },
];

export interface AttentionBackwardCase {
  name: string;
  /** The context that each sequence reads. */
  reads: readonly number[];
  contexts: number;
  tokens: number;
  heads: number;
  headSize: number;
  /** Whether queries, keys and values are columns of one buffer. */
  together?: boolean;
  /** Columns in front of the first that is used, and behind the last, of every operand. */
  gap?: number;
  /** Sequences and contexts that the dispatches leave to another. */
  first?: number;
  /** `equal`: all rows of each operand alike. `logits`: scores up to ±80. `padded`: zeros in the last two columns of a head. */
  data?: "normal" | "equal" | "logits" | "padded";
}

// Sizes of heads and counts of tokens repeat on purpose: each makes two pipelines, which a CPU adapter takes half a second to
// compile.
export const attentionBackwardCases: readonly AttentionBackwardCase[] = [
  { name: "one token", reads: [0, 1], contexts: 2, tokens: 1, heads: 2, headSize: 4 },
  { name: "five tokens, each to itself", reads: [0, 1, 2], contexts: 3, tokens: 5, heads: 3, headSize: 4, together: true },
  { name: "heads of 18, padded", reads: [1, 0], contexts: 2, tokens: 17, heads: 3, headSize: 20, data: "padded" },
  { name: "crossed, with a context that nobody reads", reads: [2, 0], contexts: 3, tokens: 17, heads: 3, headSize: 20 },
  { name: "two readers a context", reads: [0, 1, 1, 0], contexts: 2, tokens: 26, heads: 2, headSize: 32 },
  {
    name: "an encoder's layer: one, two and no reader",
    reads: [0, 1, 1],
    contexts: 3,
    tokens: 26,
    heads: 2,
    headSize: 32,
    together: true,
    gap: 8,
  },
  { name: "columns in front and behind", reads: [1, 1], contexts: 2, tokens: 33, heads: 3, headSize: 20, gap: 12 },
  { name: "the later of several", reads: [0, 2, 1, 2], contexts: 3, tokens: 17, heads: 2, headSize: 20, gap: 4, first: 1 },
  { name: "equal rows", reads: [0, 0], contexts: 1, tokens: 26, heads: 2, headSize: 32, data: "equal" },
  { name: "scores of ±80", reads: [1, 0], contexts: 2, tokens: 61, heads: 2, headSize: 64, data: "logits" },
  { name: "a published sequence", reads: [0], contexts: 1, tokens: 197, heads: 2, headSize: 64, together: true },
  { name: "many tokens", reads: [0], contexts: 1, tokens: 401, heads: 1, headSize: 64 },
  { name: "heads of 80", reads: [0], contexts: 1, tokens: 35, heads: 2, headSize: 80, together: true },
  { name: "heads of 192", reads: [0], contexts: 1, tokens: 35, heads: 2, headSize: 192 },
  {
    name: "a step of training in a test",
    reads: [0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7],
    contexts: 12,
    tokens: 17,
    heads: 3,
    headSize: 32,
  },
];
