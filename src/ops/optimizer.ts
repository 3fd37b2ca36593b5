import { f32, type Plan, spread, u32, type Word } from "../gpu/dispatch.js";
import type { Profile } from "../gpu/profile.js";

/** The optimiser's kernels: the gradient's norm, clipping, and AdamW's update, all over flat f32 arrays. */

/** Workgroups that share a sum of squares, and so its partial sums. */
export const NORM_PARTIALS = 256;
/** Words of the buffers that kernels/finish_step.wgsl describes. */
export const SETTINGS_WORDS = 8;
/** Steps whose losses are kept until somebody reads them. */
export const HISTORY = 1024;
export const STATE_WORDS = 4 + 4 * HISTORY;

/** Plans kernels/sum_squares.wgsl; buffers bind as values, partials ([NORM_PARTIALS] f32). */
export function planSumSquares(): Plan {
  return {
    variant: {
      kernel: "sum_squares",
      entryPoint: "sum",
      constants: {},
      overrides: {},
      result: "f32",
      bindings: ["read", "write"],
    },
    workgroups: [NORM_PARTIALS, 1, 1],
    workgroupBytes: 256,
  };
}

/** @param count numbers, a multiple of 4 */
export const sumSquaresParameters = (count: number): Word[] => [u32(count / 4)];

/** Plans kernels/finish_step.wgsl; buffers bind as partials, losses, settings, state. */
export function planFinishStep(): Plan {
  return {
    variant: {
      kernel: "finish_step",
      entryPoint: "finish",
      constants: { HISTORY },
      overrides: {},
      result: "f32",
      bindings: ["read", "read", "read", "write"],
    },
    workgroups: [1, 1, 1],
    workgroupBytes: 256,
  };
}

/** @param clip the largest norm that a gradient keeps */
export const finishStepParameters = (clip: number): Word[] => [u32(NORM_PARTIALS), f32(clip)];

/** Plans kernels/adamw.wgsl; buffers bind as gradients, settings, state, weights, first and second moments. */
export function planAdamW(count: number, profile: Profile): Plan {
  return {
    variant: {
      kernel: "adamw",
      entryPoint: "update",
      constants: {},
      overrides: {},
      result: "f32",
      bindings: ["read", "read", "read", "write", "write", "write"],
    },
    workgroups: spread(Math.ceil(count / 4 / 64), profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 0,
  };
}

export interface AdamW {
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
}

export const adamWParameters = (count: number, { beta1, beta2, epsilon, weightDecay }: AdamW): Word[] => [
  u32(count / 4),
  ...[beta1, beta2, 1 - beta1, 1 - beta2, epsilon, weightDecay].map(f32),
];

/** What kernels/finish_step.wgsl and kernels/adamw.wgsl read of one step, [SETTINGS_WORDS]. @param step from 1 */
export function stepSettings(step: number, learningRate: number, { beta1, beta2 }: AdamW, lossScale = 1): Float32Array {
  const settings = new Float32Array(SETTINGS_WORDS);
  new Uint32Array(settings.buffer)[0] = step;
  settings.set([learningRate, 1 / (1 - beta1 ** step), 1 / Math.sqrt(1 - beta2 ** step), lossScale], 1);
  return settings;
}
