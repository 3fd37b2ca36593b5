import { StylizingError } from "../errors.js";
import { bucket, type Call, type Candidate, type Plan, pick } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import { isAligned8, type View } from "../gpu/view.js";

export interface AttentionShape {
  /** Sequences of queries. */
  sequences: number;
  tokens: number;
  heads: number;
  /** Padded size of a head: a multiple of 4. */
  headSize: number;
  /** Whether every column and stride of the placement is a multiple of 8, as matrix units need; true where it is left out. */
  aligned8?: boolean;
}

const PARTS = ["attention_parameters"];

/** Queries of a workgroup; fixed by the kernels' registers. */
const QUERIES = 16;
const QUAD_QUERIES = 8;
/** vec4 columns of a head that one workgroup of the quad kernel writes. */
const QUAD_SLICE4 = 16;
/** Keys of a tile where they cannot all be resident: enough to keep every invocation busy. */
const STREAMED_KEYS = 128;

/** Invocations of the smallest workgroup, and keys of the smallest tile worth having. */
const NARROWEST = 32;

function powerOfTwoAtLeast(value: number): number {
  return 2 ** Math.ceil(Math.log2(value));
}

/** Subgroups of the matrix kernel's workgroup, 16 queries each; the default first. */
const MATRIX_SUBGROUPS = [2, 1, 3, 4];

/**
 * The matrix kernel, kernels/attention_matrix.wgsl, where it can be had: heads of 16, 32, 48 or 64, offsets in eights, and all
 * keys' scores in workgroup memory.
 */
function matrixCandidates(shape: AttentionShape, profile: Profile): Candidate[] {
  const { tokens, headSize, heads, sequences } = shape;
  if (headSize % 16 !== 0 || headSize > 64 || shape.aligned8 === false) return [];
  const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } = profile.limits;
  const head4 = headSize / 4;
  const tiles = Math.ceil(tokens / 16);
  const bytes = (subgroups: number) => subgroups * (256 * Math.max(4 * tiles + 1, head4 + 1) + 128) + 256 * (head4 / 2 + 1);
  return MATRIX_SUBGROUPS.filter(
    (subgroups) => bytes(subgroups) <= maxComputeWorkgroupStorageSize && 32 * subgroups <= maxComputeInvocationsPerWorkgroup,
  ).map((subgroups) => ({
    name: `matrix ${subgroups}`,
    plan: {
      variant: {
        kernel: "attention_matrix",
        entryPoint: "attend",
        constants: { HEAD4: head4, SUBGROUPS: subgroups, KEY_TILES: tiles },
        result: "elem",
        overrides: {},
        parts: PARTS,
        matrix: true,
      },
      workgroups: [Math.ceil(tiles / subgroups), heads, sequences],
      workgroupBytes: bytes(subgroups),
    },
  }));
}

/**
 * The ways to compute attention; the first is the default. Matrix units take it where the profile has them and the shape
 * suits, software adapters the quad kernel (kernels/attention_quad.wgsl), others kernels/attention.wgsl: all keys are
 * resident, and the softmax one pass, where their scores fit the adapter's workgroup memory; beyond that tiles of keys
 * stream through.
 * @throws StylizingError `GPU` where not even the queries of one head fit it.
 */
export function attentionCandidates(shape: AttentionShape, profile: Profile): Candidate[] {
  if (shape.headSize % 4 !== 0) throw new RangeError(`attention: headSize is ${shape.headSize}, not a multiple of 4`);
  if (profile.matrix) {
    const candidates = matrixCandidates(shape, profile);
    if (candidates.length > 0) return candidates;
  }
  if (profile.software && profile.subgroups) return [{ name: "quad", plan: planQuad(shape) }];
  return [{ name: "workgroup", plan: planWorkgroup(shape, profile) }];
}

/** The candidate called `choice`, or the default. */
export function planAttention(shape: AttentionShape, profile: Profile, choice?: string): Plan {
  return pick(attentionCandidates(shape, profile), choice);
}

function planQuad(shape: AttentionShape): Plan {
  const head4 = shape.headSize / 4;
  return {
    variant: {
      kernel: "attention_quad",
      entryPoint: "attend",
      constants: { HEAD4: head4 },
      result: "elem",
      overrides: {},
      parts: PARTS,
    },
    workgroups: [Math.ceil(shape.tokens / QUAD_QUERIES) * Math.ceil(head4 / QUAD_SLICE4), shape.heads, shape.sequences],
    workgroupBytes: 0,
  };
}

function planWorkgroup(shape: AttentionShape, profile: Profile): Plan {
  const head4 = shape.headSize / 4;
  const available = profile.limits.maxComputeWorkgroupStorageSize;
  const widest = Math.min(256, profile.limits.maxComputeInvocationsPerWorkgroup, profile.limits.maxComputeWorkgroupSizeX);
  let width = Math.min(widest, Math.max(NARROWEST, powerOfTwoAtLeast(4 * head4)));
  const bytes = (keys: number) => 16 * (16 * head4 + 4 * keys + width + 8);
  // A narrow workgroup writes a slice of the columns: wide heads leave no room for a wide one.
  while (bytes(NARROWEST) > available && width > NARROWEST) width /= 2;
  let keys = Math.ceil(shape.tokens / 4) * 4;
  if (bytes(keys) > available) {
    keys = STREAMED_KEYS;
    while (keys > 4 && bytes(keys) > available) keys /= 2;
  }
  if (bytes(keys) > available) {
    throw new StylizingError(
      "GPU",
      `Attention with heads of ${shape.headSize} needs ${bytes(keys)} bytes of workgroup memory, and this device has ${available}.`,
      "Use more heads, or a device created with a higher maxComputeWorkgroupStorageSize.",
    );
  }
  const cols4 = width / 4;
  return {
    variant: {
      kernel: "attention",
      entryPoint: "attend",
      constants: { HEAD4: head4 },
      result: "elem",
      overrides: { WIDTH: width, KEYS: keys, COLS4: cols4 },
      parts: PARTS,
    },
    workgroups: [Math.ceil(shape.tokens / QUERIES) * Math.ceil(head4 / cols4), shape.heads, shape.sequences],
    workgroupBytes: bytes(keys),
  };
}

/** What a tuner knows attention by. */
export function attentionKey({ sequences, tokens, heads, headSize }: AttentionShape): string {
  return `attention ${bucket(sequences)}x${tokens}x${heads}x${headSize}`;
}

/** Floating-point operations of both GEMMs. */
export function attentionFlops(shape: AttentionShape): number {
  return 4 * shape.sequences * shape.heads * shape.tokens * shape.tokens * shape.headSize;
}

/** Attention reaches a fraction of the rate of large GEMMs; this is a cautious one. */
const SHARE_OF_GEMM_RATE = 0.1;

export interface AttentionOperands {
  sequences: number;
  tokens: number;
  heads: number;
  /** [sequences] pairs of u32: first row of a sequence's queries, first row of the context that it attends to. */
  index: GPUBuffer;
  /** [rows, heads · head size] elem, side by side or in buffers of their own; keys and values in one buffer, with one stride. */
  q: View;
  k: View;
  v: View;
  /** [sequences · tokens, heads · head size] elem, from its first row on. */
  y: View;
}

/** The operands of an attention kernel and its two backward kernels, by the names that they have there. */
export function attentionOperands({ index, q, k, v, y }: AttentionOperands): Record<string, View | GPUBuffer> {
  if (k.buffer !== v.buffer || k.stride !== v.stride)
    throw new RangeError("attention: keys and values lie in different matrices");
  return { query: q, context: k, key: k, value: v, sequences: index, output: y };
}

/** y = softmax(q · kᵀ) · v by head and sequence; queries are scaled already. */
export function attention(profile: Profile, operands: AttentionOperands): Call {
  const { tokens, heads, q, k, v, y } = operands;
  const size = { tokens, heads, headSize: q.cols / heads, aligned8: isAligned8(q, k, v, { ...y, first: 0 }) };
  const of = (first: number, sequences: number): Call => {
    const shape = { ...size, sequences };
    return {
      key: attentionKey(shape),
      candidates: attentionCandidates(shape, profile),
      operands: attentionOperands(operands),
      values: { tokens, first_sequence: first },
      flops: 0,
    };
  };
  const flops = attentionFlops({ ...size, sequences: 1 }) / SHARE_OF_GEMM_RATE;
  return { ...of(0, operands.sequences), bands: { count: operands.sequences, unit: 1, flops, of } };
}
