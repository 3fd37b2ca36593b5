import { StylizingError } from "../errors.js";
import { type Call, call, type Plan } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import type { View } from "../gpu/view.js";
import { type AttentionOperands, attentionOperands } from "./attention.js";

/**
 * Attention's backward pass in two dispatches, as FlashAttention-2 has it (Dao 2023): over queries, which leaves statistics, and
 * then over contexts. Scores are recomputed in both.
 */

export interface AttentionBackwardShape {
  /** Sequences of queries. */
  sequences: number;
  /** Contexts whose keys and values get a gradient. */
  contexts: number;
  tokens: number;
  heads: number;
  /** Padded size of a head: a multiple of 4. */
  headSize: number;
}

/** What a context's entry among the readers holds in the place of a sequence that is not there. */
export const NO_READER = 0xffffffff;

/** The most blocks of 4 rows that a workgroup owns, and rows of the tiles that stream past them; the first that fits is taken. */
const TILES: readonly (readonly [most: number, streamed: number])[] = [
  [4, 16],
  [4, 8],
  [2, 8],
  [1, 8],
  [1, 4],
  [1, 1],
];
/** A CPU pays for every workgroup and for every barrier of a tile, and not for workgroup memory. */
const SOFTWARE_TILES = [[8, 32], [4, 32], ...TILES] as const;
/** Lanes of a block where its head has fewer vec4s. */
const FEWEST_LANES = 8;

interface Tile {
  blocks: number;
  lanes: number;
  streamed: number;
  bytes: number;
}

function tileOf(
  { headSize, tokens }: AttentionBackwardShape,
  profile: Profile,
  bytesOf: (head4: number, blocks: number, lanes: number, streamed: number) => number,
): Tile {
  if (headSize % 4 !== 0) throw new RangeError(`attention backward: headSize is ${headSize}, not a multiple of 4`);
  const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX } = profile.limits;
  const head4 = headSize / 4;
  const lanes = Math.max(FEWEST_LANES, head4);
  let bytes = 0;
  const total = Math.ceil(tokens / 4);
  for (const [most, streamed] of profile.software ? SOFTWARE_TILES : TILES) {
    // As many workgroups as the most blocks need, but no more blocks in each than those leave: 17 tokens are 3 + 2, not 4 + 1.
    const blocks = Math.ceil(total / Math.ceil(total / most));
    bytes = bytesOf(head4, blocks, lanes, streamed);
    const fits = blocks * lanes <= Math.min(maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX);
    if (fits && bytes <= maxComputeWorkgroupStorageSize) return { blocks, lanes, streamed, bytes };
  }
  throw new StylizingError(
    "GPU",
    `Attention's gradient with heads of ${headSize} needs ${bytes} bytes of workgroup memory and ${lanes} invocations, ` +
      `and this device has ${maxComputeWorkgroupStorageSize} and ${maxComputeInvocationsPerWorkgroup}.`,
    "Use more heads, or a device created with a higher maxComputeWorkgroupStorageSize.",
  );
}

/**
 * Plans dL/dq and the statistics that dL/dk and dL/dv need: kernels/attention_backward_query.wgsl. Every sequence must have
 * rows of queries of its own.
 * @throws StylizingError `GPU` where not even one block of queries fits the device's workgroup memory.
 */
export function planAttentionBackwardQuery(shape: AttentionBackwardShape, profile: Profile): Plan {
  const { blocks, lanes, streamed, bytes } = tileOf(
    shape,
    profile,
    (head4, blocks, lanes, streamed) => 16 * (8 * blocks * head4 + 2 * streamed * (head4 + 1) + blocks * (streamed + lanes)),
  );
  return {
    variant: {
      kernel: "attention_backward_query",
      entryPoint: "differentiate_queries",
      constants: { HEAD4: shape.headSize / 4 },
      result: "elem",
      overrides: { BLOCKS: blocks, LANES: lanes, KEYS: streamed },
    },
    workgroups: [Math.ceil(shape.tokens / (4 * blocks)), shape.heads, shape.sequences],
    workgroupBytes: bytes,
  };
}

/**
 * Plans dL/dk and dL/dv of every context, zero where nobody reads it: kernels/attention_backward_context.wgsl.
 * @throws StylizingError `GPU` where not even one block of keys fits the device's workgroup memory.
 */
export function planAttentionBackwardContext(shape: AttentionBackwardShape, profile: Profile): Plan {
  const { blocks, lanes, streamed, bytes } = tileOf(
    shape,
    profile,
    (head4, blocks, _, streamed) => 16 * (8 * blocks * head4 + 2 * streamed * (head4 + 1 + blocks)) + 8 * streamed,
  );
  return {
    variant: {
      kernel: "attention_backward_context",
      entryPoint: "differentiate_contexts",
      constants: { HEAD4: shape.headSize / 4 },
      result: "elem",
      overrides: { BLOCKS: blocks, LANES: lanes, QUERIES: streamed },
    },
    workgroups: [Math.ceil(shape.tokens / (4 * blocks)), shape.heads, shape.contexts],
    workgroupBytes: bytes,
  };
}

/** Floating-point operations of the eight GEMMs of both dispatches, three of which recompute scores. */
export function attentionBackwardFlops(shape: AttentionBackwardShape): number {
  return 16 * shape.sequences * shape.heads * shape.tokens * shape.tokens * shape.headSize;
}

export interface AttentionBackwardOperands extends AttentionOperands {
  contexts: number;
  /**
   * [contexts] four u32: first row of a context, one sequence that reads it, another, unused; `NO_READER` for none.
   */
  readers: GPUBuffer;
  /** dL/dy, elem, laid out as y is. */
  dy: View;
  dq: View;
  dk: View;
  dv: View;
  /** [sequences · tokens, heads] f32 pairs that the queries' kernel leaves to the contexts'. */
  statistics: GPUBuffer;
  /** What dL/dq is multiplied by: 1/√d where q was scaled by it and the gradient before scaling is wanted. */
  scale: number;
}

const shapeOf = ({ sequences, contexts, tokens, heads, q }: AttentionBackwardOperands): AttentionBackwardShape => ({
  sequences,
  contexts,
  tokens,
  heads,
  headSize: q.cols / heads,
});

/** dL/dq, and statistics for `attentionBackwardContext`. Every sequence must have rows of queries of its own. */
export function attentionBackwardQuery(profile: Profile, operands: AttentionBackwardOperands): Call {
  const { tokens, dy, dq, statistics, scale } = operands;
  return call(
    planAttentionBackwardQuery(shapeOf(operands), profile),
    { ...attentionOperands(operands), output_gradient: dy, query_gradient: dq, statistics },
    { tokens, first_sequence: 0, scale },
  );
}

/** dL/dk and dL/dv of every context, zero where nobody reads it. */
export function attentionBackwardContext(profile: Profile, operands: AttentionBackwardOperands): Call {
  const { tokens, dy, dk, dv, statistics, readers } = operands;
  return call(
    planAttentionBackwardContext(shapeOf(operands), profile),
    {
      ...attentionOperands(operands),
      readers,
      output_gradient: dy,
      statistics,
      context_gradient: dk,
      key_gradient: dk,
      value_gradient: dv,
    },
    { tokens, first_context: 0 },
  );
}
