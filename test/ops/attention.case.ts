import { pick } from "../../src/gpu/call.js";
import type { Profile } from "../../src/gpu/profile.js";
import { view } from "../../src/gpu/view.js";
import { type AttentionShape, attention, attentionFlops } from "../../src/ops/attention.js";
import { FLOAT16_UNIT, kept, packed } from "../support/elements.js";
import { Contents, memo, type Op, type OpCase, type Region, randomOf, surrounded } from "../support/op.js";
import { published } from "./published.js";

export interface AttentionCase extends OpCase, Omit<AttentionShape, "headSize"> {
  headSize: number;
  /** `self`: query, key and value side by side. `cross`: queries in one buffer, keys and values in another. `bank`: all sequences share one query, contexts in reverse. */
  kind: "self" | "cross" | "bank";
  /** `equal`: all keys alike. `logits`: scores up to ±80. `low`: all scores near -120, whose exp is 0 in f32. `one`: a single key takes all weight. */
  data?: "normal" | "equal" | "logits" | "low" | "one";
  /** Columns in front of the first that is used, and behind the last. */
  gap?: number;
  /** Whether buffers hold nothing but the operands: no rows of others in front, and none behind. */
  alone?: boolean;
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
  ...published(({ bench, title, batch, tokens, heads, head }): AttentionCase[] => [
    { name: `${title}: three streams`, bench, sequences: 3 * batch, tokens, heads, headSize: head, kind: "self" },
  ]),
];

type Numbers = ArrayLike<number>;

/** One head of one sequence: query, key, value [tokens, size]. The scale is the caller's. */
export function attend(tokens: number, size: number, query: Numbers, key: Numbers, value: Numbers): Float64Array {
  const output = new Float64Array(tokens * size);
  for (let t = 0; t < tokens; t++) {
    const scores = new Float64Array(tokens);
    for (let j = 0; j < tokens; j++) for (let c = 0; c < size; c++) scores[j]! += query[t * size + c]! * key[j * size + c]!;
    const highest = scores.reduce((a, b) => Math.max(a, b));
    const weights = scores.map((score) => Math.exp(score - highest));
    const total = weights.reduce((a, b) => a + b);
    for (let j = 0; j < tokens; j++)
      for (let c = 0; c < size; c++) output[t * size + c]! += (weights[j]! / total) * value[j * size + c]!;
  }
  return output;
}

function operandsOf(one: AttentionCase, profile: Profile) {
  const { sequences, tokens, heads, headSize, data = "normal" } = one;
  const width = heads * headSize;
  const rows = sequences * tokens;
  const random = randomOf(one);
  const query = random.normals(rows * width, 1 / Math.sqrt(headSize));
  const key = random.normals(rows * width);
  const value = random.normals(rows * width);
  if (data === "equal") for (let at = width; at < key.length; at++) key[at] = key[at % width]!;
  if (data === "low") {
    query.fill(1);
    for (let at = 0; at < key.length; at++) key[at] = key[at]! / Math.sqrt(headSize) - 120 / headSize;
  }
  if (data === "one") {
    query.fill(1);
    for (let s = 0; s < sequences; s++)
      key.fill(100, (s * tokens + Math.floor(tokens / 2)) * width, (s * tokens + Math.floor(tokens / 2) + 1) * width);
  }
  if (data === "logits") {
    const pairs = Array.from({ length: sequences * heads }, (_, at): [Float32Array, Float32Array] => {
      const [s, h] = [Math.floor(at / heads), at % heads];
      return [headOf(one, query, queryOf(one, s), h), headOf(one, key, contextOf(one, s), h)];
    });
    const largest = largestScore(pairs, tokens, headSize);
    for (let at = 0; at < query.length; at++) query[at]! *= 80 / largest;
  }
  // After everything that sets them, so that the reference starts from what the device is given.
  for (const operand of [query, key, value]) operand.set(kept(profile, operand));
  return { query, key, value };
}

const contextOf = ({ kind, sequences }: AttentionCase, s: number): number =>
  kind === "self" ? s : kind === "cross" ? (s + 1) % sequences : sequences - 1 - s;
const queryOf = ({ kind }: AttentionCase, s: number): number => (kind === "bank" ? 0 : s);

/** One head of one block of an operand [blocks · tokens, heads · headSize]: [tokens, headSize]. */
export function headOf(
  { tokens, heads, headSize }: Pick<AttentionShape, "tokens" | "heads" | "headSize">,
  operand: Numbers,
  block: number,
  head: number,
): Float32Array {
  const width = heads * headSize;
  return Float32Array.from(
    { length: tokens * headSize },
    (_, at) => operand[(block * tokens + Math.floor(at / headSize)) * width + head * headSize + (at % headSize)]!,
  );
}

/** The largest |query · key| of pairs of heads. */
export function largestScore(pairs: readonly (readonly [Numbers, Numbers])[], tokens: number, size: number): number {
  let largest = 0;
  for (const [query, key] of pairs) {
    for (let t = 0; t < tokens; t++) {
      for (let j = 0; j < tokens; j++) {
        let score = 0;
        for (let c = 0; c < size; c++) score += query[t * size + c]! * key[j * size + c]!;
        largest = Math.max(largest, Math.abs(score));
      }
    }
  }
  return largest;
}

/**
 * Values of [blocks · tokens, heads · headSize], from what gives a block's head as [tokens, headSize]: computed once for each head
 * that somebody asks for.
 */
export function byHead(
  { tokens, heads, headSize }: Pick<AttentionShape, "tokens" | "heads" | "headSize">,
  of: (block: number, head: number) => Numbers,
): (at: number) => number {
  const width = heads * headSize;
  const made = new Map<number, Numbers>();
  return (at) => {
    const [row, column] = [Math.floor(at / width), at % width];
    const [block, head] = [Math.floor(row / tokens), Math.floor(column / headSize)];
    let values = made.get(block * heads + head);
    if (!values) {
      values = of(block, head);
      made.set(block * heads + head, values);
    }
    return values[(row % tokens) * headSize + (column % headSize)]!;
  };
}

/** Operands [rows, width] side by side. */
export function beside(width: number, ...operands: readonly Float32Array[]): Float32Array {
  const stride = width * operands.length;
  const all = new Float32Array(operands[0]!.length * operands.length);
  for (const [which, operand] of operands.entries())
    for (let row = 0; row < operand.length / width; row++)
      all.set(operand.subarray(row * width, (row + 1) * width), row * stride + which * width);
  return all;
}

export const attentionOp: Op<AttentionCase> = {
  name: "attention",
  cases: attentionCases,
  setup(one, profile) {
    const { sequences, tokens, heads, headSize, kind, gap = 0 } = one;
    const width = heads * headSize;
    const rows = sequences * tokens;
    const operands = memo(() => operandsOf(one, profile));
    // The first rows of both buffers belong to nobody.
    const skipped = one.alone ? { query: 0, context: 0 } : { query: 1, context: kind === "self" ? 1 : 3 };
    const region = (parts: number, skip: number): Region => {
      const stride = 2 * gap + parts * width;
      return { offset: skip * stride + gap, stride, rows, cols: parts * width };
    };
    // Kernels that take keys in tiles meet the numbers behind the last sequence, and may not let them count.
    const longer = (rows: Float32Array) => {
      if (one.alone) return rows;
      const all = new Float32Array(rows.length + 16 * (3 * width + 2 * gap)).fill(Number.NaN);
      all.set(rows);
      return all;
    };
    const contents = new Contents();
    const buffer = (parts: number, skip: number, of: () => Float32Array[], behind: (rows: Float32Array) => Float32Array) =>
      contents.add(() => packed(profile, behind(surrounded(beside(width, ...of()), region(parts, skip)))));
    const self = kind === "self";
    const queries = self
      ? buffer(3, skipped.query, () => [operands().query, operands().key, operands().value], longer)
      : buffer(
          1,
          skipped.query,
          () => [operands().query],
          (rows) => rows,
        );
    const context = self ? queries : buffer(2, skipped.context, () => [operands().key, operands().value], longer);
    const index = contents.add(() =>
      Uint32Array.from(
        Array.from({ length: sequences }, (_, s) => [
          skipped.query + queryOf(one, s) * tokens,
          skipped.context + contextOf(one, s) * tokens,
        ]).flat(),
      ),
    );
    const part = (of: GPUBuffer, parts: number, which: number) =>
      view(of, "elem", rows, width, { first: gap + which * width, stride: region(parts, 0).stride });
    const y = contents.output(profile, "elem", rows, width);
    const call = attention(profile, {
      ...{ sequences, tokens, heads, index },
      q: part(queries, self ? 3 : 1, 0),
      k: part(context, self ? 3 : 2, self ? 1 : 0),
      v: part(context, self ? 3 : 2, self ? 2 : 1),
      y: y.view,
    });
    // The result is rounded, and on matrix units the weights before it: each moves a mean of values by at most this.
    const roundings = profile.elementBytes === 4 ? 0 : pick(call.candidates).variant.matrix ? 2 : 1;
    const largest = memo(() => operands().value.reduce((most, x) => Math.max(most, Math.abs(x)), 0));
    return {
      call,
      contents,
      outputs: [y.output],
      results: [
        {
          size: rows * width,
          expected: byHead(one, (s, h) => {
            const { query, key, value } = operands();
            const [q, c] = [queryOf(one, s), contextOf(one, s)];
            return attend(tokens, headSize, headOf(one, query, q, h), headOf(one, key, c, h), headOf(one, value, c, h));
          }),
          tolerance: () => (roundings > 0 ? { slack: () => roundings * FLOAT16_UNIT * largest() } : {}),
          place: (at) => {
            const [row, column] = [Math.floor(at / width), at % width];
            const head = `head ${Math.floor(column / headSize)}, column ${column % headSize}`;
            return `sequence ${Math.floor(row / tokens)}, token ${row % tokens}, ${head}`;
          },
        },
      ],
      flops: attentionFlops(one),
      shape: `${sequences} × ${tokens} × ${heads} × ${headSize}`,
    };
  },
};
