import type { Profile } from "../../src/gpu/profile.js";
import { view } from "../../src/gpu/view.js";
import {
  type AttentionBackwardOperands,
  attentionBackwardContext,
  attentionBackwardFlops,
  attentionBackwardQuery,
  NO_READER,
} from "../../src/ops/attention-backward.js";
import { kept, packed, roundedSlack, UNIT } from "../support/elements.js";
import {
  Contents,
  inWords,
  memo,
  type Op,
  type OpCase,
  type Region,
  type Result,
  randomOf,
  rowAndColumn,
  type Setup,
  sentinels,
  surrounded,
  type Words,
} from "../support/op.js";
import { attend, byHead, headOf, largestScore } from "./attention.case.js";
import { type AttentionGradients, attendBackward } from "./attention-backward.oracle.js";
import { published } from "./published.js";

export interface AttentionBackwardCase extends OpCase {
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
  { name: "heads of 12", reads: [1, 0], contexts: 2, tokens: 5, heads: 2, headSize: 12 },
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
  ...published(({ bench, title, batch, tokens, heads, head }): AttentionBackwardCase[] => [
    {
      name: `${title}: three streams`,
      bench,
      reads: Array.from({ length: 3 * batch }, (_, s) => s),
      contexts: 3 * batch,
      tokens,
      heads,
      headSize: head,
      together: true,
    },
  ]),
];

/** Queries lie in the opposite order of sequences, so that a row of one is not taken for a row of the other. */
const queryBlock = ({ reads }: AttentionBackwardCase, s: number) => reads.length - 1 - s;

/** Operands as [blocks · tokens, heads · headSize]. */
function operandsOf(one: AttentionBackwardCase, profile: Profile) {
  const { reads, contexts, tokens, heads, headSize, data = "normal" } = one;
  const random = randomOf(one);
  const sequences = reads.length;
  const width = heads * headSize;
  const make = (blocks: number, scale = 1) => {
    const values = random.normals(blocks * tokens * width, scale);
    if (data === "equal") for (let at = width; at < values.length; at++) values[at] = values[at % width]!;
    if (data === "padded") for (let at = 0; at < values.length; at++) if (at % headSize >= headSize - 2) values[at] = 0;
    return values;
  };
  const [query, key, value] = [make(sequences, 1 / Math.sqrt(headSize)), make(contexts), make(contexts)];
  const outputGradient = kept(profile, make(sequences));
  if (data === "logits") {
    const pairs = Array.from({ length: sequences * heads }, (_, at) => {
      const [s, h] = [Math.floor(at / heads), at % heads];
      return [headOf(one, query, queryBlock(one, s), h), headOf(one, key, reads[s]!, h)] as const;
    });
    const highest = largestScore(pairs, tokens, headSize);
    for (let at = 0; at < query.length; at++) query[at]! *= 80 / highest;
  }
  for (const operand of [query, key, value]) operand.set(kept(profile, operand));
  if (one.bench) {
    // Gradients are defined whatever output and statistics they are given: no forward pass is needed to have some.
    const statistics = random.normals(2 * sequences * tokens * heads, 0.3);
    for (let at = 0; at < statistics.length; at += 2) statistics[at]! += Math.log(tokens) + 0.5;
    return { query, key, value, outputGradient, output: kept(profile, make(sequences, 0.1)), statistics };
  }
  const output = new Float32Array(sequences * tokens * width);
  const outputAt = byHead(one, (s, h) =>
    attend(
      tokens,
      headSize,
      headOf(one, query, queryBlock(one, s), h),
      headOf(one, key, reads[s]!, h),
      headOf(one, value, reads[s]!, h),
    ),
  );
  for (let at = 0; at < output.length; at++) output[at] = outputAt(at);
  return { query, key, value, outputGradient, output: kept(profile, output), statistics: undefined };
}

/** Gradients of each head of each sequence, computed when they are first asked for. */
function gradientsOf(one: AttentionBackwardCase, operands: () => ReturnType<typeof operandsOf>) {
  const { reads, tokens, heads, headSize } = one;
  const made = new Map<number, AttentionGradients>();
  return (s: number, h: number, given = false): AttentionGradients => {
    let found = made.get(s * heads + h);
    if (!found) {
      const { query, key, value, output, outputGradient, statistics } = operands();
      const of = (which: number) =>
        Float32Array.from({ length: tokens }, (_, t) => statistics![2 * ((s * tokens + t) * heads + h) + which]!);
      found = attendBackward(
        tokens,
        headSize,
        headOf(one, query, queryBlock(one, s), h),
        headOf(one, key, reads[s]!, h),
        headOf(one, value, reads[s]!, h),
        headOf(one, output, s, h),
        headOf(one, outputGradient, s, h),
        given && statistics ? { logSum: of(0), product: of(1) } : undefined,
      );
      made.set(s * heads + h, found);
    }
    return found;
  };
}

const largest = (values: ArrayLike<number>): number => Array.from(values).reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/**
 * Where all rows are alike nothing depends on the scores: D = do · v, and what is left of dq and dk is the rounding of these two
 * sums of headSize products, at most that of every addition, times the largest key or query. One context has two readers.
 */
function vanishingSlack(one: AttentionBackwardCase, operands: ReturnType<typeof operandsOf>) {
  const { reads, heads, headSize } = one;
  const { query, key, value, outputGradient } = operands;
  /** The largest Σ |do · v| of a head's row. */
  const product = Math.max(
    ...Array.from({ length: reads.length * heads }, (_, at) => {
      const [s, h] = [Math.floor(at / heads), at % heads];
      const [d, v] = [headOf(one, outputGradient, s, h), headOf(one, value, reads[s]!, h)];
      return d.subarray(0, headSize).reduce((sum, x, c) => sum + Math.abs(x * v[c]!), 0);
    }),
  );
  const rounding = 2 * (headSize + 8) * UNIT * product;
  return { dq: (rounding * largest(key)) / Math.sqrt(headSize), dk: 2 * rounding * largest(query) };
}

/** What both dispatches share: where everything lies, and what it holds. */
function shared(one: AttentionBackwardCase, profile: Profile) {
  const { reads, contexts, tokens, heads, headSize, together = false, gap = 0, first = 0 } = one;
  const sequences = reads.length;
  const width = heads * headSize;
  const operands = memo(() => operandsOf(one, profile));
  // The first rows of all buffers belong to nobody, nor do the columns around those of the operands.
  const skipped = { query: 1, context: together ? 1 : 3 };
  const queryStride = (together ? 3 : 1) * width + 2 * gap;
  const contextStride = (together ? 3 : 2) * width + 2 * gap;
  const keyColumn = gap + (together ? width : 0);
  const put = (target: Float32Array, rows: number, stride: number, column: number, values: Float32Array) => {
    for (let at = 0; at < values.length; at++)
      target[(rows + Math.floor(at / width)) * stride + column + (at % width)] = values[at]!;
  };
  const made = (rows: number, stride: number) => new Float32Array(rows * stride + 64).fill(Number.NaN);
  const putContext = (target: Float32Array) => {
    put(target, skipped.context, contextStride, keyColumn, operands().key);
    put(target, skipped.context, contextStride, keyColumn + width, operands().value);
    return target;
  };
  const contents = new Contents();
  const queries = contents.add(() => {
    const all = made(skipped.query + Math.max(sequences, together ? contexts : 0) * tokens, queryStride);
    put(all, skipped.query, queryStride, gap, operands().query);
    return packed(profile, together ? putContext(all) : all);
  });
  const context = together
    ? queries
    : contents.add(() => packed(profile, putContext(made(skipped.context + contexts * tokens, contextStride))));
  const index = contents.add(() =>
    Uint32Array.from(reads.flatMap((c, s) => [skipped.query + queryBlock(one, s) * tokens, skipped.context + c * tokens])),
  );
  const readers = contents.add(() =>
    Uint32Array.from(
      Array.from({ length: contexts }, (_, c) => {
        const of = reads.flatMap((read, s) => (read === c ? [s] : []));
        return [skipped.context + c * tokens, of[0] ?? NO_READER, of[1] ?? NO_READER, 7];
      }).flat(),
    ),
  );
  const rows = sequences * tokens;
  const outputRegion = { offset: 0, stride: width + gap, rows, cols: width };
  const outputs = (of: () => Float32Array) =>
    view(
      contents.add(() => packed(profile, surrounded(of(), outputRegion))),
      "elem",
      rows,
      width,
      { stride: width + gap },
    );
  const of = (buffer: GPUBuffer, stride: number, column: number) => view(buffer, "elem", rows, width, { first: column, stride });
  // Gradients as in training: one buffer, whose rows are those of the operands where these share theirs.
  const stride = 3 * width + 2 * gap;
  const region = (block: number, blocks: number, skip: number, column: number, cols: number): Region =>
    inWords(profile, { offset: (skip + block * tokens) * stride + column, stride, rows: blocks * tokens, cols });
  const regions = {
    query: region(0, sequences - first, skipped.query, gap, width),
    context: region(first, contexts - first, skipped.context, gap + width, 2 * width),
    statistics: { offset: 2 * first * tokens * heads, stride: 2 * heads, rows: (sequences - first) * tokens, cols: 2 * heads },
  };
  const call = (gradients: GPUBuffer, statistics: GPUBuffer): AttentionBackwardOperands => ({
    ...{ sequences: sequences - first, contexts: contexts - first, tokens, heads, index, readers },
    q: of(queries, queryStride, gap),
    k: of(context, contextStride, keyColumn),
    v: of(context, contextStride, keyColumn + width),
    y: outputs(() => operands().output),
    dy: outputs(() => operands().outputGradient),
    dq: of(gradients, stride, gap),
    dk: of(gradients, stride, gap + width),
    dv: of(gradients, stride, gap + 2 * width),
    statistics,
    scale: 1 / Math.sqrt(headSize),
  });
  return { width, operands, gradients: gradientsOf(one, operands), contents, regions, call, first };
}

/** A gradient that is held against its own size, or to its rounding where it vanishes. */
function gradientResult(
  one: AttentionBackwardCase,
  profile: Profile,
  name: "dq" | "dk" | "dv",
  result: Pick<Result, "size" | "value" | "expected">,
  operands: () => ReturnType<typeof operandsOf>,
): Result {
  const width = one.heads * one.headSize;
  if (name !== "dv" && (one.tokens === 1 || one.data === "equal")) {
    const slack = memo(() => vanishingSlack(one, operands())[name]);
    return { name, ...result, expected: () => 0, truth: result.expected, tolerance: () => ({ bound: 0, slack }) };
  }
  return { name, ...result, tolerance: roundedSlack(profile), place: rowAndColumn(width) };
}

/** dq and the statistics. */
export const attentionBackwardQueryOp: Op<AttentionBackwardCase> = {
  name: "attention_backward_query",
  cases: attentionBackwardCases,
  setup(one, profile) {
    const { reads, tokens, heads, headSize } = one;
    const { width, operands, gradients, contents, regions, call, first } = shared(one, profile);
    // Queries and contexts may share a buffer of gradients: what belongs to the others must stay as well.
    const buffer = contents.add(() => sentinels(regions.query, regions.context));
    const statistics = contents.add(() => sentinels(regions.statistics));
    const sequences = reads.length - first;
    const made = attentionBackwardQuery(profile, call(buffer, statistics));
    const scale = 1 / Math.sqrt(headSize);
    const expected = byHead(one, (block, h) => gradients(queryBlock(one, block), h).query.map((x) => scale * x));
    const dq = { size: sequences * tokens * width, expected };
    return {
      call: first > 0 ? { ...made, values: { ...made.values, first_sequence: first } } : made,
      contents,
      outputs: [
        { buffer, kind: "elem", region: regions.query },
        { buffer: statistics, kind: "f32", region: regions.statistics },
      ],
      results: [
        gradientResult(one, profile, "dq", dq, operands),
        {
          name: "statistics",
          of: 1,
          size: 2 * sequences * tokens * heads,
          expected: (at) => {
            const [row, h] = [first * tokens + Math.floor(at / (2 * heads)), Math.floor(at / 2) % heads];
            const { logSum, product } = gradients(Math.floor(row / tokens), h);
            return (at % 2 === 0 ? logSum : product)[row % tokens]!;
          },
        },
      ],
      // Three of the eight GEMMs, and the scores and do · v that both dispatches compute.
      flops: (3 / 8) * attentionBackwardFlops({ ...one, sequences }),
      shape: `${sequences} × ${tokens} × ${heads} × ${headSize}`,
    };
  },
};

/** dk and dv, from statistics of the oracle's or given ones, beside gradients that are there already. */
export function setUpContext(
  one: AttentionBackwardCase,
  profile: Profile,
  given?: { statistics: Words; gradients: Words },
): Setup {
  const { reads, contexts, tokens, heads, headSize } = one;
  const { width, operands, gradients, contents, regions, call, first } = shared(one, profile);
  const buffer = contents.add(() => given?.gradients ?? sentinels(regions.query, regions.context));
  const statistics = contents.add(() => {
    if (given) return given.statistics;
    const { statistics } = operands();
    if (statistics) return statistics;
    return Float32Array.from({ length: 2 * reads.length * tokens * heads }, (_, at) => {
      const [row, h] = [Math.floor(at / (2 * heads)), Math.floor(at / 2) % heads];
      const { logSum, product } = gradients(Math.floor(row / tokens), h);
      return (at % 2 === 0 ? logSum : product)[row % tokens]!;
    });
  });
  const made = attentionBackwardContext(profile, call(buffer, statistics));
  const of = (which: "key" | "value") => {
    const expected = byHead(one, (context, h) => {
      const sum = new Float64Array(tokens * headSize);
      for (const [s, read] of reads.entries()) {
        if (read !== context) continue;
        for (const [at, x] of gradients(s, h, true)[which].entries()) sum[at]! += x;
      }
      return sum;
    });
    return {
      size: (contexts - first) * tokens * width,
      value: (numbers: ArrayLike<number>, at: number) =>
        numbers[Math.floor(at / width) * 2 * width + (which === "key" ? 0 : width) + (at % width)]!,
      expected: (at: number) => expected(first * tokens * width + at),
    };
  };
  return {
    call: first > 0 ? { ...made, values: { ...made.values, first_context: first } } : made,
    contents,
    outputs: [{ buffer, kind: "elem", region: regions.context }],
    results: [gradientResult(one, profile, "dk", of("key"), operands), gradientResult(one, profile, "dv", of("value"), operands)],
    flops: (5 / 8) * attentionBackwardFlops({ ...one, sequences: reads.length }),
    shape: `${contexts - first} × ${tokens} × ${heads} × ${headSize}`,
  };
}

export const attentionBackwardContextOp: Op<AttentionBackwardCase> = {
  name: "attention_backward_context",
  cases: attentionBackwardCases,
  setup: (one, profile) => setUpContext(one, profile),
};
