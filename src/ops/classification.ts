// temporary
import type { Call } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import type { View } from "../gpu/view.js";
export interface CrossEntropyOperands {
  logits: View;
  classes: number;
  targets: GPUBuffer;
  classWeights: GPUBuffer;
  partials: View;
  gradient: View;
  smoothing: number;
  lossScale: number;
}
export function crossEntropy(_: Profile, operands: CrossEntropyOperands): Call {
  throw new Error(String(operands));
}
export interface ClsAttentionOperands {
  sequences: number;
  tokens: number;
  heads: number;
  q: View;
  k: View;
  y: View;
}
export function clsAttention(_: Profile, operands: ClsAttentionOperands): Call {
  throw new Error(String(operands));
}
