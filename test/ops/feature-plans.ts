import type { Plan } from "../../src/gpu/dispatch.js";
import type { Profile } from "../../src/gpu/profile.js";

/** Plans of the kernels for feature maps, losses and the decoder's backward pass. */
export const featurePlans = (_profile: Profile): Plan[] => [];
