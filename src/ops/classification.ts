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
export declare function crossEntropy(profile: Profile, operands: CrossEntropyOperands): Call;
export interface ClsAttentionOperands {
  sequences: number;
  tokens: number;
  heads: number;
  q: View;
  k: View;
  y: View;
}
export declare function clsAttention(profile: Profile, operands: ClsAttentionOperands): Call;
