import type { Gpu } from "../gpu/gpu.js";

/** What losses are multiplied by in 16-bit tiers, an image of the batch: a power of two, far from what overflows. */
const LOSS_SCALE = 1024;

/** The scale of a batch's losses. Gradients of single numbers are of the order of 1 / (batch · numbers): in float16 they would vanish. */
export const lossScaleOf = ({ profile }: Gpu, batch: number): number => (profile.elementBytes === 2 ? LOSS_SCALE * batch : 1);
