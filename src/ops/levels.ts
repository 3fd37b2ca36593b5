import { type Call, call, type Plan } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import { type ChunkedShape, planGroups, planResult, type ResultShape, whiteOf } from "./restyle.js";

/** Levels by table: Colorist (Doerrich et al., arXiv 2608.18915) and histogram matching. */

/** Counts of an image: of 256 levels in three channels. */
export const LEVEL_COUNTS = 3 * 256;
/** 32-bit words of an image's means and deviations, its own and those asked for. */
export const LEVEL_NUMBERS = 12;

/** Plans kernels/level_counts.wgsl. */
export const planLevelCounts = ({ channels, count }: Pick<ChunkedShape, "channels" | "count">, profile: Profile): Plan =>
  planGroups(profile, "level_counts", count, 4 * LEVEL_COUNTS, {
    constants: { CHANNELS: channels },
    parts: ["tissue", "restyled_images"],
  });

/** Histograms of every image: [slots, 3, 256] u32. */
export function levelCounts(profile: Profile, operands: ChunkedShape & { counts: GPUBuffer }): Call {
  const { content, images, chunks, counts, count } = operands;
  return call(planLevelCounts(operands, profile), { content, images, chunks, counts }, { chunk_count: count, white: whiteOf() });
}

export const LEVEL_RECIPES = { colorist: 0, match: 1 } as const;

export interface LevelTablesShape {
  /** Images. */
  count: number;
  recipe: keyof typeof LEVEL_RECIPES;
}

/** Plans kernels/level_tables.wgsl. */
export const planLevelTables = ({ count, recipe }: LevelTablesShape): Plan => ({
  variant: {
    ...{ kernel: "level_tables", entryPoint: "level_tables", result: "f32", constants: {} },
    overrides: { METHOD: LEVEL_RECIPES[recipe] },
    parts: ["restyle_jobs"],
  },
  workgroups: [3, count, 1],
  workgroupBytes: 8 * 256,
});

export type LevelTablesOperands = LevelTablesShape & {
  counts: GPUBuffer;
  jobs: GPUBuffer;
  /** [images, 3, 256] f32. */
  table: GPUBuffer;
  /** [images, 12] f32. */
  numbers: GPUBuffer;
};

/** Where each level goes, by image and channel. */
export function levelTables(_: Profile, { counts, jobs, table, numbers, ...shape }: LevelTablesOperands): Call {
  return call(planLevelTables(shape), { counts, jobs, table, numbers }, { images_count: shape.count });
}

/** Plans kernels/relevel.wgsl. */
export const planRelevel = (shape: Pick<ResultShape, "channels" | "count" | "words" | "background">, profile: Profile): Plan =>
  planResult(profile, "relevel", shape, {});

/** Levels by their tables. */
export function relevel(profile: Profile, operands: ResultShape & { table: GPUBuffer }): Call {
  const { content, images, table, jobs, result, background } = operands;
  return call(planRelevel(operands, profile), { content, images, table, jobs, result }, { white: whiteOf(background) });
}
