import { StylizingError } from "../errors.js";
import { type Plan, u32, type Word } from "../gpu/dispatch.js";
import type { Profile } from "../gpu/profile.js";

export interface AttentionShape {
  /** Sequences of queries. */
  sequences: number;
  tokens: number;
  heads: number;
  /** Padded size of a head: a multiple of 4. */
  headSize: number;
}

/** Strides and first columns of the operands, in elements; multiples of 4. */
export interface AttentionPlacement {
  queryColumn?: number;
  queryStride: number;
  keyColumn: number;
  valueColumn: number;
  contextStride: number;
  outputStride: number;
}

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

/**
 * Plans attention. Software adapters take the quad kernel (kernels/attention_quad.wgsl), others kernels/attention.wgsl: all
 * keys are resident, and the softmax one pass, where their scores fit the adapter's workgroup memory; beyond that tiles of
 * keys stream through.
 * @throws StylizingError `GPU` where not even the queries of one head fit it.
 */
export function planAttention(shape: AttentionShape, profile: Profile): Plan {
  if (shape.headSize % 4 !== 0) throw new RangeError(`attention: headSize is ${shape.headSize}, not a multiple of 4`);
  const head4 = shape.headSize / 4;
  if (profile.software && profile.subgroups) {
    return {
      variant: {
        kernel: "attention_quad",
        entryPoint: "attend",
        constants: { HEAD4: head4 },
        result: "elem",
        overrides: {},
        bindings: ["read", "read", "read", "write"],
        subgroups: true,
      },
      workgroups: [Math.ceil(shape.tokens / QUAD_QUERIES) * Math.ceil(head4 / QUAD_SLICE4), shape.heads, shape.sequences],
      workgroupBytes: 0,
    };
  }
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
      bindings: ["read", "read", "read", "write"],
    },
    workgroups: [Math.ceil(shape.tokens / QUERIES) * Math.ceil(head4 / cols4), shape.heads, shape.sequences],
    workgroupBytes: bytes(keys),
  };
}

/** The parameter block; buffers bind as query, context, sequences, output. */
export function attentionParameters(shape: AttentionShape, placement: AttentionPlacement): Word[] {
  return [
    shape.tokens,
    (placement.queryColumn ?? 0) / 4,
    placement.queryStride / 4,
    placement.keyColumn / 4,
    placement.valueColumn / 4,
    placement.contextStride / 4,
    placement.outputStride / 4,
  ].map(u32);
}

/** Floating-point operations of both products. */
export function attentionFlops(shape: AttentionShape): number {
  return 4 * shape.sequences * shape.heads * shape.tokens * shape.tokens * shape.headSize;
}
