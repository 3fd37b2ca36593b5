import { type Call, call, type Plan, spread } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import type { View } from "../gpu/view.js";

/** What a classifier needs beside the ops of any transformer: its loss, and what its CLS token looks at. */

export interface ClsAttentionShape {
  sequences: number;
  heads: number;
}

/** Plans kernels/cls_attention.wgsl. */
export function planClsAttention({ sequences, heads }: ClsAttentionShape, profile: Profile): Plan {
  const lanes = profile.software ? 16 : 64;
  return {
    variant: {
      kernel: "cls_attention",
      entryPoint: "attend_from_cls",
      constants: {},
      result: "f32",
      overrides: { LANES: lanes },
      parts: ["lane_sum", "lane_max"],
    },
    workgroups: spread(sequences * heads, profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 4 * lanes,
  };
}

export interface ClsAttentionOperands {
  sequences: number;
  tokens: number;
  heads: number;
  /** [sequences · tokens, heads · head size] elem, views of one matrix or of two; queries are scaled already. */
  q: View;
  k: View;
  /** [sequences, heads, tokens - 1] f32, contiguous. */
  y: View;
}

/**
 * What the CLS token, token 0, looks at: its row of softmax(q · kᵀ) without its own column, by head and sequence.
 * @throws RangeError where heads are no multiple of 4 wide, or there is no token but CLS.
 */
export function clsAttention(profile: Profile, { sequences, tokens, heads, q, k, y }: ClsAttentionOperands): Call {
  const headSize = q.cols / heads;
  if (headSize % 4 !== 0 || k.cols !== q.cols || tokens < 2)
    throw new RangeError(`CLS attention: ${tokens} tokens, ${heads} heads in ${q.cols} columns of q and ${k.cols} of k`);
  return call(
    planClsAttention({ sequences, heads }, profile),
    { query: q, key: k, output: y },
    { sequences, tokens, heads, head: headSize },
  );
}
