import { type Call, call, type Plan } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import { type ChunkedShape, MACENKO_DARKEST, planFew, planGroups, SPACES, whiteOf } from "./restyle.js";

/** Stains of Macenko et al., "A method for normalizing histology slides for quantitative analysis" (ISBI 2009). */

/** Two selections in three passes of 8 bits: 4 targets of 256 counts for each image and pass. */
export const STAIN_COUNTS = 2 * 3 * 4 * 256;
/** 32-bit words of an image's four targets. */
export const TARGET_WORDS = 16;

/** Steps of kernels/stain_fit.wgsl, in their order. */
export type StainStep = "plane" | "stains" | "most";

/** Plans kernels/stain_fit.wgsl. */
export const planStainFit = ({ count, step }: { count: number; step: StainStep }): Plan =>
  planFew("stain_fit", count, { entryPoint: `stain_${step}` });

export interface StainFitOperands {
  count: number;
  step: StainStep;
  /** [slots, 16] u32. */
  targets: GPUBuffer;
  /** [slots, 32] f32. */
  statistics: GPUBuffer;
}

/** One step of the fit of every image, between those over pixels. */
export function stainFit(_: Profile, { targets, statistics, ...shape }: StainFitOperands): Call {
  return call(planStainFit(shape), { targets, statistics }, { images_count: shape.count });
}

/** What percentiles are of: angles of tissue, or concentrations of all pixels. */
export const SELECTIONS = { angles: 0, concentrations: 1 } as const;

export interface StainCountsShape {
  channels: 1 | 3;
  /** Chunks. */
  count: number;
  of: keyof typeof SELECTIONS;
}

/** Plans kernels/stain_counts.wgsl. */
export const planStainCounts = ({ channels, count, of }: StainCountsShape, profile: Profile): Plan =>
  planGroups(profile, "stain_counts", count, 4 * 1024, {
    constants: { CHANNELS: channels },
    overrides: { SPACE: SPACES.macenko, STEP: SELECTIONS[of] },
    parts: ["tissue", "colour_spaces", "restyled_images"],
  });

export type StainCountsOperands = ChunkedShape &
  StainCountsShape & {
    tables: GPUBuffer;
    statistics: GPUBuffer;
    targets: GPUBuffer;
    /** [6, slots, 4, 256] u32. */
    counts: GPUBuffer;
    slots: number;
    /** 0, 1, 2: from the highest bits down. */
    bits: number;
  };

/** How many pixels have which 8 bits of a key. */
export function stainCounts(profile: Profile, operands: StainCountsOperands): Call {
  const { content, images, chunks, tables, statistics, targets, counts, count, slots, bits } = operands;
  return call(
    planStainCounts(operands, profile),
    { content, images, chunks, tables, statistics, targets, counts },
    { chunk_count: count, slots, bits, darkest: MACENKO_DARKEST, white: whiteOf() },
  );
}

export interface StainSelectShape {
  slots: number;
  of: keyof typeof SELECTIONS;
}

/** Plans kernels/stain_select.wgsl. */
export const planStainSelect = ({ slots, of }: StainSelectShape): Plan =>
  planFew("stain_select", 4 * slots, { overrides: { STEP: SELECTIONS[of] } });

export type StainSelectOperands = StainSelectShape & Pick<StainCountsOperands, "counts" | "targets" | "bits">;

/** In which bin every target is. */
export function stainSelect(_: Profile, { counts, targets, bits, ...shape }: StainSelectOperands): Call {
  return call(planStainSelect(shape), { counts, targets }, { slots: shape.slots, bits });
}

export const STAIN_RECIPES = { normalise: 0, augment: 1 } as const;

export interface StainRecipeShape {
  count: number;
  recipe: keyof typeof STAIN_RECIPES;
}

/** Plans kernels/stain_recipe.wgsl. */
export const planStainRecipe = ({ count, recipe }: StainRecipeShape): Plan =>
  planFew("stain_recipe", count, { overrides: { METHOD: STAIN_RECIPES[recipe] }, parts: ["restyle_jobs"] });

/** Jobs become recipes, by stains. */
export function stainRecipe(_: Profile, operands: StainRecipeShape & { statistics: GPUBuffer; jobs: GPUBuffer }): Call {
  const { statistics, jobs, count } = operands;
  return call(planStainRecipe(operands), { statistics, jobs }, { images_count: count });
}
