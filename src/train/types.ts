import type { Outputs } from "../models/task.js";
import type { TaskConfig } from "../models/tasks.js";

/** The terms of a loss by name, unweighted. */
export type LossSums = Record<string, number>;

/** AdamW's constants in the published recipe; the decay is an option. */
export const ADAMW = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: true } as const;

/** Σ of the weighted terms. */
export function totalLoss(losses: Readonly<LossSums>, weights: Readonly<LossSums>): number {
  return Object.entries(weights).reduce((sum, [term, weight]) => sum + weight * losses[term]!, 0);
}

/** Every term at zero. */
export const noLosses = (terms: Iterable<string>): LossSums => Object.fromEntries(Array.from(terms, (term) => [term, 0]));

/** What decides a run's numbers, beside the model's configuration. */
export interface Recipe {
  epochs: number;
  batch: number;
  lr: number;
  weightDecay: number;
  clip: number;
  lossWeights: LossSums;
  seed: number;
  crop: "whole" | "random";
  crops: number;
  flips: boolean;
  validationImages: number;
  /** AdamW where it is left out; Adam has decay as an L2 term. */
  optimizer?: "adamw" | "adam";
  /** When the learning rate changes; once an epoch where it is left out. */
  schedule?: "epoch" | "step";
  /** Steps of linear warm-up, and where the cosine ends, of `schedule: "step"`. */
  warmup?: number;
  minLr?: number;
  /** What chooses the best epoch: a metric, or `loss` where it is left out. */
  best?: string;
  /** The model whose weights were the first ones. */
  init?: string | undefined;
  /** What the task adds. */
  [option: string]: unknown;
}

/** What the device says of the steps that it has done. */
export interface StepReport {
  /** Steps done since the weights were initialised; the report is that of the last of them. */
  step: number;
  losses: LossSums;
  /** Norm of the gradient of the weighted total before it was clipped. */
  gradientNorm: number;
  /**
   * Means over the steps since the last report, and what they are made of: the steps' losses, each a float32, added in float64.
   * Such a sum is exact, so that an epoch's losses do not depend on when reports were asked for.
   */
  mean: { steps: number; losses: LossSums; sums: LossSums };
  /** The first step whose loss or gradient was not finite: it and all later ones left the weights as they were. */
  brokenAt: number | undefined;
}

/** A batch without a backward pass. */
export interface Evaluation {
  losses: LossSums;
  outputs: Outputs;
}

/** Everything that a run needs to go on, by published key and in published shapes. */
export interface TrainingState {
  /** Steps done. */
  step: number;
  parameters: Map<string, Float32Array>;
  /** AdamW's first and second moments. */
  firstMoments: Map<string, Float32Array>;
  secondMoments: Map<string, Float32Array>;
}

/** The device's side of training: weights, moments, forward and backward passes. It knows no files and no epochs. */
export interface TrainingEngine extends AsyncDisposable {
  readonly config: TaskConfig;
  /** Images of a step. */
  readonly batch: number;
  /** Images that are on the device at a time; gradients accumulate over a batch. */
  readonly microBatch: number;
  /** Bytes allocated on the device. */
  readonly bytes: number;

  /**
   * One step over `images`, [batch, S, S, C] bytes, with a label each where the task takes labels. Resolves when the work is handed to the device, which keeps a few steps in
   * flight; nothing is read back.
   * @throws StylizingError `DEVICE_LOST`, `GPU`
   */
  step(images: Uint8Array, learningRate: number, labels?: Uint32Array): Promise<void>;

  /** Waits for the steps handed over and reads their losses. */
  report(): Promise<StepReport>;

  /** Forward passes and losses of any number of images that the task takes; weights stay as they are. */
  evaluate(images: Uint8Array, labels?: Uint32Array): Promise<Evaluation>;

  /** Reads weights and moments back; a state written again gives bit-exact steps. */
  readState(): Promise<TrainingState>;
  writeState(state: TrainingState): Promise<void>;
}
