import { type Call, call, type Plan, spread } from "../gpu/call.js";
import type { Variant } from "../gpu/kernel.js";
import type { Profile } from "../gpu/profile.js";

/**
 * What the kernels of closed-form restyling share: images of any sizes packed one behind the other, cut into chunks; jobs, which are what is asked of
 * an image and then how it is done; and the write of results. All arithmetic is f32 in every tier.
 */

/** Pixels of a chunk: kernels/parts/restyled_images.wgsl has the same. */
export const CHUNK = 2048;
/** 32-bit words of an image in its table, of a chunk, of a job, and of an image's statistics. */
export const IMAGE_WORDS = 12;
export const CHUNK_WORDS = 2;
export const JOB_WORDS = 32;
export const STATISTICS_WORDS = 32;
/** The slot of a chunk that is of no image. */
export const NO_SLOT = 0xffffffff;

/** Spaces of kernels/parts/colour_spaces.wgsl. */
export const SPACES = { rgb: 0, lab: 1, lab8: 2, opponent: 3, macenko: 4, density: 5, decadic: 6 } as const;
export type Space = keyof typeof SPACES;

/** The highest level that Macenko's tissue has: its density -ln((I + 1) / 240) is .15 or more. */
export const MACENKO_DARKEST = Math.floor(240 * Math.exp(-0.15) - 1);

/** Images on the device, however many a call is of. */
export interface ImagesShape {
  channels: 1 | 3;
  /** Bytes, packed. */
  content: GPUBuffer;
  images: GPUBuffer;
}

/** And their chunks. */
export interface ChunkedShape extends ImagesShape {
  chunks: GPUBuffer;
  /** Chunks, those of no image among them. */
  count: number;
}

/** Of images whose results are written. */
export interface ResultShape extends ImagesShape {
  jobs: GPUBuffer;
  result: GPUBuffer;
  /** Images, and words that the largest result takes. */
  count: number;
  words: number;
  /** The colour of bare glass, in [0, 1], which stays as it is; without it everything is restyled. */
  background: readonly number[] | undefined;
}

type VariantParts = Partial<Pick<Variant, "entryPoint" | "constants" | "overrides" | "parts">>;

const variantOf = (kernel: string, { entryPoint = kernel, ...rest }: VariantParts): Variant => ({
  ...{ kernel, entryPoint, result: "f32", constants: {}, overrides: {} },
  ...rest,
});

/** A plan of one workgroup for each of `count`. */
export const planGroups = (
  profile: Profile,
  kernel: string,
  count: number,
  workgroupBytes: number,
  rest: VariantParts,
): Plan => ({
  variant: variantOf(kernel, rest),
  workgroups: spread(count, profile.limits.maxComputeWorkgroupsPerDimension),
  workgroupBytes,
});

/** A plan of one invocation for each of `count` in a few workgroups of 64. */
export const planFew = (kernel: string, count: number, rest: VariantParts): Plan => ({
  variant: variantOf(kernel, rest),
  workgroups: [Math.ceil(count / 64), 1, 1],
  workgroupBytes: 0,
});

/** A plan of `each` invocations for each of `count` images, which z counts. */
export function planEach(profile: Profile, kernel: string, each: number, count: number, rest: VariantParts): Plan {
  const [x, y] = spread(Math.ceil(each / 64), profile.limits.maxComputeWorkgroupsPerDimension);
  return { variant: variantOf(kernel, rest), workgroups: [x, y, count], workgroupBytes: 0 };
}

/** A plan that writes results. */
export const planResult = (
  profile: Profile,
  kernel: string,
  { channels, count, words, background }: Pick<ResultShape, "channels" | "count" | "words" | "background">,
  { overrides = {}, parts = [] }: VariantParts,
): Plan =>
  planEach(profile, kernel, words / channels, count, {
    constants: { CHANNELS: channels },
    overrides: { BACKGROUND: background ? 1 : 0, ...overrides },
    parts: ["tissue", "restyled_images", "four_pixels", ...parts],
  });

/** The parameter `white` of kernels that look at tissue. */
export const whiteOf = (background?: readonly number[] | undefined): readonly number[] => {
  const [red, green, blue] = background ?? [1, 1, 1];
  return [red!, green!, blue!, 1];
};

/** [256] vec4f by level, see kernels/parts/colour_spaces.wgsl. */
export function levelTable(): Float32Array<ArrayBuffer> {
  const table = new Float32Array(4 * 256);
  for (let level = 0; level < 256; level++) {
    const x = level / 255;
    const linear = x > 0.04045 ? ((x + 0.055) / 1.055) ** 2.4 : x / 12.92;
    const raised = Math.max(level, 1) / 255;
    table.set([linear, -Math.log((level + 1) / 240), -Math.log(raised), -Math.log10(raised)], 4 * level);
  }
  return table;
}

/** How a pixel counts in moments: all alike, by its soft tissue weight, or where it is Macenko's tissue. */
export const WEIGHTS = { all: 0, tissue: 1, macenko: 2 } as const;

export interface MomentsShape {
  channels: 1 | 3;
  count: number;
  space: Space;
  weight: keyof typeof WEIGHTS;
}

/** Bytes of workgroup memory of 64 lanes with moments each. */
const MOMENTS_BYTES = 48 * 64;

/** Plans kernels/colour_moments.wgsl. */
export const planColourMoments = ({ channels, count, space, weight }: MomentsShape, profile: Profile): Plan =>
  planGroups(profile, "colour_moments", count, MOMENTS_BYTES, {
    constants: { CHANNELS: channels },
    overrides: { SPACE: SPACES[space], WEIGHT: WEIGHTS[weight] },
    parts: ["tissue", "colour_spaces", "restyled_images", "moments"],
  });

export type ColourMomentsOperands = ChunkedShape &
  MomentsShape & {
    tables: GPUBuffer;
    /** [chunks, 12] f32. */
    sums: GPUBuffer;
  };

/** Mean and covariance of every chunk. */
export function colourMoments(profile: Profile, operands: ColourMomentsOperands): Call {
  const { content, images, chunks, tables, sums, count } = operands;
  return call(
    planColourMoments(operands, profile),
    { content, images, chunks, tables, sums },
    { chunk_count: count, darkest: MACENKO_DARKEST, white: whiteOf() },
  );
}

/** Plans kernels/colour_statistics.wgsl. */
export const planColourStatistics = (count: number, profile: Profile): Plan =>
  planGroups(profile, "colour_statistics", count, MOMENTS_BYTES, { parts: ["restyled_images", "moments"] });

export interface ColourStatisticsOperands {
  sums: GPUBuffer;
  images: GPUBuffer;
  count: number;
  /** [slots, 32] f32. */
  statistics: GPUBuffer;
}

/** Statistics of images from those of their chunks. */
export function colourStatistics(profile: Profile, { sums, images, count, statistics }: ColourStatisticsOperands): Call {
  return call(planColourStatistics(count, profile), { sums, images, statistics }, { images_count: count });
}

/** Recipes that go by mean and deviation: kernels/moment_recipe.wgsl. */
export const MOMENT_RECIPES = { transfer: 0, modified: 1, brightness: 2, tissue: 3 } as const;

export interface MomentRecipeShape {
  count: number;
  recipe: keyof typeof MOMENT_RECIPES;
  /** Whether statistics are of tissue, without which an image declines. */
  weighted: boolean;
}

/** Plans kernels/moment_recipe.wgsl. */
export const planMomentRecipe = ({ count, recipe, weighted }: MomentRecipeShape): Plan =>
  planFew("moment_recipe", count, {
    overrides: { METHOD: MOMENT_RECIPES[recipe], WEIGHTED: weighted ? 1 : 0 },
    parts: ["restyle_jobs"],
  });

export type MomentRecipeOperands = MomentRecipeShape & {
  statistics: GPUBuffer;
  jobs: GPUBuffer;
  /** The deviation below which a channel is flat. */
  flat: number;
};

/** Jobs become recipes, by mean and deviation. */
export function momentRecipe(_: Profile, { statistics, jobs, flat, ...shape }: MomentRecipeOperands): Call {
  return call(planMomentRecipe(shape), { statistics, jobs }, { images_count: shape.count, flat });
}

/** How much of a recipe's change a pixel takes: there is none, all, or by its soft tissue weight. */
export const CHANGES = { none: 0, all: 1, tissue: 2 } as const;

export type RecolourShape = Pick<ResultShape, "channels" | "count" | "words" | "background"> & {
  space: Space;
  change: keyof typeof CHANGES;
};

/** Plans kernels/recolour.wgsl. */
export const planRecolour = (shape: RecolourShape, profile: Profile): Plan =>
  planResult(profile, "recolour", shape, {
    overrides: { SPACE: SPACES[shape.space], CHANGE: CHANGES[shape.change] },
    parts: ["colour_spaces"],
  });

/** Colours by the jobs' recipes. */
export function recolour(profile: Profile, operands: ResultShape & RecolourShape & { tables: GPUBuffer }): Call {
  const { content, images, tables, jobs, result, background } = operands;
  return call(planRecolour(operands, profile), { content, images, tables, jobs, result }, { white: whiteOf(background) });
}
