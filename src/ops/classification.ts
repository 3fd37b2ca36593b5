import { type Call, call, type Plan, spread } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import type { View } from "../gpu/view.js";

/** What a classifier needs beside the ops of any transformer: its loss, and what its CLS token looks at. */

export interface CrossEntropyShape {
  rows: number;
  /** Width of the gradient. */
  result: View["type"];
}

/** Plans kernels/cross_entropy.wgsl. */
export function planCrossEntropy({ rows, result }: CrossEntropyShape, profile: Profile): Plan {
  // As in layer norm.
  const lanes = profile.software ? 4 : 32;
  const rowsEach = profile.software ? 16 : 4;
  return {
    variant: {
      kernel: "cross_entropy",
      entryPoint: "cross_entropy",
      constants: {},
      result,
      overrides: { LANES: lanes, ROWS: rowsEach },
      parts: ["lane_sum", "lane_max"],
    },
    workgroups: spread(Math.ceil(rows / rowsEach), profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 4 * lanes * rowsEach,
  };
}

export interface CrossEntropyOperands {
  /** [rows, classes padded to 4] f32; what the padding holds does not count. */
  logits: View;
  /** Those that count. */
  classes: number;
  /**
   * [rows] pairs of u32: the label, and the bits of the f32 that the row's loss is multiplied by: 1 / sum over the batch of the
   * labels' class weights.
   */
  targets: GPUBuffer;
  /** f32 [classes padded to 4]. */
  classWeights: GPUBuffer;
  /** Losses of the rows, f32 [1, 4 · rows]: three zeros behind each. */
  partials: View;
  /** [rows, classes padded to 4]: dL/dlogits times `lossScale`; zero in the padding. */
  gradient: View;
  /** Share of the target that all classes have alike. */
  smoothing: number;
  lossScale: number;
}

/**
 * Cross-entropy of softmax(logits) with labels, row by row, and its gradient.
 * @throws RangeError where logits or gradient have no room for the classes.
 */
export function crossEntropy(profile: Profile, operands: CrossEntropyOperands): Call {
  const { logits, classes, targets, classWeights, partials, gradient, smoothing, lossScale } = operands;
  if (!(classes >= 1 && classes <= logits.cols && classes <= gradient.cols))
    throw new RangeError(`cross-entropy: ${classes} classes in ${logits.cols} logits and ${gradient.cols} gradients a row`);
  return call(
    planCrossEntropy({ rows: logits.rows, result: gradient.type }, profile),
    { logits, targets, class_weights: classWeights, partials, gradient },
    {
      ...{ rows: logits.rows, classes, cols: gradient.cols },
      label_share: 1 - smoothing + smoothing / classes,
      other_share: smoothing / classes,
      loss_scale: lossScale,
    },
  );
}

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
