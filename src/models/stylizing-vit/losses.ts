/** The four terms of the training loss, unweighted. */
export type LossName = "identity" | "consistency" | "anatomical" | "style";
export type Losses = Record<LossName, number>;

export const LOSS_NAMES: readonly LossName[] = ["identity", "consistency", "anatomical", "style"];

/** What the published recipe weighs them with. */
export const LOSS_WEIGHTS: Readonly<Losses> = { identity: 70, consistency: 1, anatomical: 7, style: 10 };
