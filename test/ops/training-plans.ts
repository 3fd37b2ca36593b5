import type { Plan } from "../../src/gpu/dispatch.js";
import type { Profile } from "../../src/gpu/profile.js";

/** Plans of the kernels for weights: folding, optimiser, products of the backward pass. */
export const trainingPlans = (_profile: Profile): Plan[] => [];
