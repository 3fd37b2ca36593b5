import type { Plan } from "../../src/gpu/dispatch.js";
import type { Profile } from "../../src/gpu/profile.js";

/** Plans of the backward kernels of the encoder's ops. */
export const backwardPlans = (_profile: Profile): Plan[] => [];
