import { type Call, call, type Plan, spread } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";

/** The optimiser's kernels: the gradient's norm, clipping, and AdamW's update, all over flat f32 arrays. */

/** Workgroups that share a sum of squares, and so its partial sums. */
export const NORM_PARTIALS = 256;
/** Words of the buffers that kernels/finish_step.wgsl describes. */
export const SETTINGS_WORDS = 8;
/** Steps whose losses are kept until somebody reads them. */
export const HISTORY = 1024;
/** Words of the state that is kept from step to step. */
export const stateWords = (terms: number): number => 4 + terms * HISTORY;

/** Plans kernels/sum_squares.wgsl. */
export function planSumSquares(): Plan {
  return {
    variant: {
      kernel: "sum_squares",
      entryPoint: "sum",
      constants: {},
      overrides: {},
      result: "f32",
      parts: ["lane_sum"],
    },
    workgroups: [NORM_PARTIALS, 1, 1],
    workgroupBytes: 256,
  };
}

/** Partial sums of squares of `count` numbers, a multiple of 4. */
export function sumSquares(
  _: Profile,
  { values, partials, count }: { values: GPUBuffer; partials: GPUBuffer; count: number },
): Call {
  return call(planSumSquares(), { values, partials }, { count });
}

/** Plans kernels/finish_step.wgsl. */
export function planFinishStep(terms = 4): Plan {
  return {
    variant: {
      kernel: "finish_step",
      entryPoint: "finish",
      constants: { HISTORY, TERMS: terms },
      overrides: {},
      result: "f32",
      parts: ["lane_sum"],
    },
    workgroups: [1, 1, 1],
    workgroupBytes: 256,
  };
}

export interface FinishStepOperands {
  partials: GPUBuffer;
  losses: GPUBuffer;
  /** As `stepSettings` fills it. */
  settings: GPUBuffer;
  /** [stateWords(terms)]. */
  state: GPUBuffer;
  /** Loss terms. */
  terms: number;
  /** The largest norm that a gradient keeps. */
  clip: number;
}

/** The gradient's norm and its clipping, the step's losses, and whether all of it is finite. */
export function finishStep(_: Profile, { clip, terms, ...buffers }: FinishStepOperands): Call {
  return call(planFinishStep(terms), { ...buffers }, { count: NORM_PARTIALS, clip });
}

/** Plans kernels/adamw.wgsl. */
export function planAdamW(count: number, decoupled: boolean, profile: Profile): Plan {
  return {
    variant: {
      kernel: "adamw",
      entryPoint: "update",
      constants: {},
      overrides: decoupled ? {} : { DECOUPLED: 0 },
      result: "f32",
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
  /** Whether decay is AdamW's, beside the gradient; else it is an L2 term of it, as Adam's is. */
  decoupled: boolean;
}

export interface AdamWOperands {
  gradients: GPUBuffer;
  settings: GPUBuffer;
  state: GPUBuffer;
  weights: GPUBuffer;
  /** Moments. */
  first: GPUBuffer;
  second: GPUBuffer;
  /** A bit for every 64 numbers, in words of 32: whether they decay. */
  decayed: GPUBuffer;
  count: number;
  constants: AdamW;
}

/** One step of AdamW, or of Adam with L2 decay, over `count` numbers, a multiple of 4. */
export function adamW(profile: Profile, { count, constants, ...buffers }: AdamWOperands): Call {
  const { beta1, beta2, epsilon, weightDecay } = constants;
  const values = { count, beta1, beta2, rest1: 1 - beta1, rest2: 1 - beta2, epsilon, decay: weightDecay };
  return call(planAdamW(count, constants.decoupled, profile), { ...buffers }, values);
}

/** What kernels/finish_step.wgsl and kernels/adamw.wgsl read of one step, [SETTINGS_WORDS]. @param step from 1 */
export function stepSettings(step: number, learningRate: number, { beta1, beta2 }: AdamW, lossScale = 1): Float32Array {
  const settings = new Float32Array(SETTINGS_WORDS);
  new Uint32Array(settings.buffer)[0] = step;
  settings.set([learningRate, 1 / (1 - beta1 ** step), 1 / Math.sqrt(1 - beta2 ** step), lossScale], 1);
  return settings;
}
