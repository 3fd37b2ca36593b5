import type { Losses } from "./types.js";

/** Unweighted terms and their weighted sum. */
export type LossReport = Losses & { total: number };

/** What an epoch came to: a line of `log.jsonl`. */
export interface EpochReport {
  /** From 1. */
  epoch: number;
  /** Steps since the weights were initialised. */
  step: number;
  learningRate: number;
  /** Means over the epoch's steps, each with the weights as they then were. */
  training: LossReport;
  /** Means over the validation pictures, with the weights at the epoch's end. */
  validation: LossReport;
  /** Norm of the last step's gradient before it was clipped. */
  gradientNorm: number;
  /** Of the validation pictures' reconstructions: decibels (at most 100 a picture), and structural similarity. */
  psnr: number;
  ssim: number;
  /** Distance of the colours of validation pictures' results from their styles' (`colourDistance`). */
  colour: number;
  /** Whether no epoch before had a lower total loss on the validation pictures: its weights are the model. */
  best: boolean;
  /** Of training and validation together. */
  seconds: number;
  imagesPerSecond: number;
}

export type TrainingProgress =
  | {
      kind: "step";
      /** From 1. */
      epoch: number;
      epochs: number;
      /** Steps done of this epoch's `steps`. */
      step: number;
      steps: number;
      /** Means over the steps since the last report. */
      losses: LossReport;
      learningRate: number;
      gradientNorm: number;
      imagesPerSecond: number;
      /** Until the last epoch's end. */
      secondsLeft: number;
    }
  | ({ kind: "epoch" } & EpochReport)
  | { kind: "note"; text: string };
