import { pick } from "../../src/gpu/call.js";
import type { Profile } from "../../src/gpu/profile.js";
import { columnsOf } from "../../src/gpu/view.js";
import { clsAttention } from "../../src/ops/classification.js";
import { kept, UNIT } from "../support/elements.js";
import { Contents, inUnits, memo, type Op, type OpCase, randomOf } from "../support/op.js";
import { beside, headOf } from "./attention.case.js";
import { published } from "./published.js";

export interface ClsAttentionCase extends OpCase {
  sequences: number;
  tokens: number;
  heads: number;
  headSize: number;
  /** Whether queries, keys and values are columns of one buffer. */
  together?: boolean;
  /** Columns in front of the first that is used, and behind the last. */
  gap?: number;
  outputOffset?: number;
  /** `equal`: all keys alike. `logits`: scores up to ±80. `low`: all near -120, whose exp is 0 in f32. `own`: CLS looks at itself. `last`: it looks at the last patch alone. */
  data?: "normal" | "equal" | "logits" | "low" | "own" | "last";
}

export const clsAttentionCases: readonly ClsAttentionCase[] = [
  { name: "one patch", sequences: 1, tokens: 2, heads: 1, headSize: 4 },
  { name: "one patch of several sequences", sequences: 3, tokens: 2, heads: 2, headSize: 12, together: true },
  { name: "four patches", sequences: 2, tokens: 5, heads: 3, headSize: 4 },
  { name: "seven heads of 20", sequences: 3, tokens: 17, heads: 7, headSize: 20, together: true },
  { name: "offsets and gaps", sequences: 2, tokens: 38, heads: 3, headSize: 20, gap: 8, outputOffset: 5 },
  { name: "offsets and gaps in one buffer", sequences: 2, tokens: 38, heads: 3, headSize: 12, together: true, gap: 12 },
  { name: "one token past the lanes", sequences: 2, tokens: 65, heads: 2, headSize: 8, outputOffset: 3 },
  { name: "equal keys", sequences: 1, tokens: 37, heads: 2, headSize: 32, data: "equal" },
  { name: "scores of ±80", sequences: 2, tokens: 82, heads: 2, headSize: 64, data: "logits" },
  { name: "scores of -120", sequences: 1, tokens: 65, heads: 2, headSize: 64, data: "low", together: true },
  { name: "CLS looks at itself", sequences: 2, tokens: 26, heads: 2, headSize: 16, data: "own" },
  { name: "the last patch takes all", sequences: 2, tokens: 26, heads: 2, headSize: 16, data: "last" },
  { name: "a published sequence", sequences: 1, tokens: 197, heads: 3, headSize: 64, together: true },
  { name: "ten thousand tokens", sequences: 1, tokens: 10_007, heads: 2, headSize: 8 },
  ...published(({ bench, title, batch, tokens, heads, head }): ClsAttentionCase[] => [
    { name: `${title}: the last block`, bench, sequences: batch, tokens, heads, headSize: head, together: true },
  ]),
];

function operandsOf(one: ClsAttentionCase, profile: Profile) {
  const { sequences, tokens, heads, headSize, data = "normal" } = one;
  const width = heads * headSize;
  const count = sequences * tokens * width;
  const random = randomOf(one);
  const query = random.normals(count, 1 / Math.sqrt(headSize));
  const key = random.normals(count);
  const cls = (at: number) => Math.floor(at / width) % tokens === 0;
  if (data === "equal") for (let at = width; at < count; at++) key[at] = key[at % width]!;
  if (data === "low") {
    query.fill(1);
    for (let at = 0; at < count; at++) key[at] = key[at]! / Math.sqrt(headSize) - 120 / headSize;
  }
  if (data === "own") for (let at = 0; at < count; at++) if (cls(at)) key[at] = 12 * query[at]!;
  if (data === "last")
    for (let at = (tokens - 1) * width; at < count; at++) if (cls(at + width)) key[at] = 200 * query[at - (tokens - 1) * width]!;
  if (data === "logits") {
    let largest = 0;
    for (let s = 0; s < sequences; s++)
      for (let h = 0; h < heads; h++)
        for (const { score } of scoresOf(one, headOf(one, query, s, h), headOf(one, key, s, h)))
          largest = Math.max(largest, Math.abs(score));
    for (let at = 0; at < count; at++) query[at]! *= 80 / largest;
  }
  // Nobody may read another token's query.
  if (!one.bench) for (let at = 0; at < count; at++) if (!cls(at)) query[at] = Number.NaN;
  return { query: kept(profile, query), key: kept(profile, key) };
}

/** Scores of token 0 of one head, and the sum of their summands' sizes. */
function scoresOf({ tokens, headSize }: ClsAttentionCase, query: Float32Array, key: Float32Array) {
  return Array.from({ length: tokens }, (_, j) => {
    let [score, size] = [0, 0];
    for (let c = 0; c < headSize; c++) {
      score += query[c]! * key[j * headSize + c]!;
      size += Math.abs(query[c]! * key[j * headSize + c]!);
    }
    return { score, size };
  });
}

/**
 * The first row of one head's softmax without its own column, and what rounding costs each number, from WGSL's own bounds, with
 * u half a unit in the last place: a score is off by (headSize / 4 + 2)u of its summands' sizes, exp(-d) by (6 + 5d)u, a sum by the
 * mean of that and `steps` roundings, the quotient by 5u. What lies below 2⁻¹²⁶ may be zero.
 */
function mapOf(one: ClsAttentionCase, query: Float32Array, key: Float32Array, steps: number) {
  const scores = scoresOf(one, query, key);
  const highest = scores.reduce((most, { score }) => Math.max(most, score), Number.NEGATIVE_INFINITY);
  const weights = scores.map(({ score }) => Math.exp(score - highest));
  const total = weights.reduce((a, b) => a + b);
  const errors = scores.map(({ score, size }) => ((one.headSize / 4 + 2) * size + 6 + 5 * (highest - score)) * UNIT);
  const mean = weights.reduce((sum, weight, j) => sum + (weight / total) * errors[j]!, steps * UNIT);
  return {
    values: weights.slice(1).map((weight) => weight / total),
    slack: weights.slice(1).map((weight, j) => (weight / total) * (errors[j + 1]! + mean + 5 * UNIT) + 2 ** -125),
  };
}

export const clsAttentionOp: Op<ClsAttentionCase> = {
  name: "cls_attention",
  cases: clsAttentionCases,
  setup(one, profile) {
    const { sequences, tokens, heads, headSize, together = false, gap = 0, outputOffset = 0 } = one;
    const width = heads * headSize;
    const rows = sequences * tokens;
    const patches = tokens - 1;
    const operands = memo(() => operandsOf(one, profile));
    const contents = new Contents();
    const matrix = (parts: number, values: () => Float32Array, front = gap, behind = gap) =>
      contents.matrix(profile, "elem", rows, parts * width, values, { first: front, stride: front + parts * width + behind });
    const all = () => {
      const { query, key } = operands();
      return beside(width, query, key, new Float32Array(rows * width).fill(Number.NaN));
    };
    const packed = together ? matrix(3, all) : undefined;
    const q = packed ? columnsOf(packed, 0, width) : matrix(1, () => operands().query);
    const k = packed ? columnsOf(packed, width, width) : matrix(1, () => operands().key, 2 * gap, 3 * gap);
    const y = contents.output(profile, "f32", 1, sequences * heads * patches, { first: outputOffset });
    const call = clsAttention(profile, { sequences, tokens, heads, q, k, y: y.view });
    const lanes = pick(call.candidates).variant.overrides.LANES!;
    const steps = Math.ceil(tokens / lanes) + Math.log2(lanes);
    const maps = memo(() =>
      Array.from({ length: sequences * heads }, (_, at) =>
        memo(() => {
          const [s, h] = [Math.floor(at / heads), at % heads];
          return mapOf(one, headOf(one, operands().query, s, h), headOf(one, operands().key, s, h), steps);
        }),
      ),
    );
    return {
      call,
      contents,
      outputs: [y.output],
      results: [
        {
          size: sequences * heads * patches,
          expected: inUnits(patches, (map) => maps()[map]!().values),
          tolerance: () => ({ bound: 0, slack: inUnits(patches, (map) => maps()[map]!().slack) }),
          place: (at) => {
            const map = Math.floor(at / patches);
            return `sequence ${Math.floor(map / heads)}, head ${map % heads}, patch ${at % patches}`;
          },
        },
      ],
      flops: 2 * rows * width,
      // One query a sequence, and the keys.
      bytes: profile.elementBytes * (rows + sequences) * width + 4 * sequences * heads * patches,
      shape: `${sequences} × ${tokens} × ${heads} × ${headSize}`,
    };
  },
};
