import type { ModelConfig } from "../model/config.js";

/** The four terms of the training loss, unweighted. */
export type LossTerm = "identity" | "consistency" | "anatomical" | "style";
export type Losses = Record<LossTerm, number>;

export const LOSS_TERMS: readonly LossTerm[] = ["identity", "consistency", "anatomical", "style"];

/** What the published recipe weighs them with. */
export const LOSS_WEIGHTS: Readonly<Losses> = { identity: 70, consistency: 1, anatomical: 7, style: 10 };

/** AdamW's constants in the published recipe; the decay is an option. */
export const ADAMW = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 } as const;

/** Σ of the weighted terms. */
export function totalLoss(losses: Losses, weights: Losses): number {
  return LOSS_TERMS.reduce((sum, term) => sum + weights[term] * losses[term], 0);
}

/** What the device says of the steps that it has done. */
export interface StepReport {
  /** Steps done since the weights were initialised; the report is that of the last of them. */
  step: number;
  losses: Losses;
  /** Norm of the gradient of the weighted total before it was clipped. */
  gradientNorm: number;
  /**
   * Means over the steps since the last report, and what they are made of: the steps' losses, each a float32, added in float64.
   * Such a sum is exact, so that an epoch's losses do not depend on when reports were asked for.
   */
  mean: { steps: number; losses: Losses; sums: Losses };
  /** The first step whose loss or gradient was not finite: it and all later ones left the weights as they were. */
  brokenAt: number | undefined;
}

/** A batch without a backward pass. Pictures are [images, S, S, C] bytes. */
export interface Evaluation {
  losses: Losses;
  /** Stream Z decoded: picture i in the style of picture i + 1 (the last in that of the first). */
  stylized: Uint8Array;
  /** Stream A decoded. */
  reconstruction: Uint8Array;
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
  readonly config: ModelConfig;
  /** Images of a step. */
  readonly batch: number;
  /** Images that are on the device at a time; gradients accumulate over a batch. */
  readonly microBatch: number;
  /** Bytes allocated on the device. */
  readonly bytes: number;

  /**
   * One step over `images`, [batch, S, S, C] bytes; the style of each is the next one (rolled by -1). Resolves when the work is
   * handed to the device, which keeps a few steps in flight; nothing is read back.
   * @throws StylizingError `DEVICE_LOST`, `GPU`
   */
  step(images: Uint8Array, learningRate: number): Promise<void>;

  /** Waits for the steps handed over and reads their losses. */
  report(): Promise<StepReport>;

  /** Forward passes and losses of at least two images (any number, not only `batch`); weights stay as they are. */
  evaluate(images: Uint8Array): Promise<Evaluation>;

  /** Reads weights and moments back; a state written again gives the same steps to the bit. */
  readState(): Promise<TrainingState>;
  writeState(state: TrainingState): Promise<void>;
}
