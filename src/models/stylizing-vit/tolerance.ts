import type { Tier } from "../../gpu/profile.js";

/**
 * By how much the results of one model on one device may differ where they should be the same, of the largest value: f32 by the
 * order of its sums, 16-bit tiers by what 11 bits of mantissa leave of a whole model (about 4e-3).
 */
export const MODEL_TOLERANCE: Readonly<Record<Tier, number>> = { f32: 5e-5, f16: 1e-2, matrix: 1e-2 };
