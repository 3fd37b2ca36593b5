import { type Call, call, type Plan, spread } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import type { Placement } from "../image/types.js";
import { planInvocations } from "./images.js";

/**
 * Guided detail (He, Sun and Tang, "Guided image filtering", 2013; He and Sun, "Fast guided filter", 2015): what a model painted
 * small says how colours change around every pixel, and the content keeps its detail at any size. All arithmetic is f32 in
 * every tier.
 */

/** Images, or tiles of an image, in slots of one size. */
export interface GuidedSize {
  slots: number;
  height: number;
  width: number;
}

/** Slots of a call, and what is known of all. */
export interface GuidedSlots extends GuidedSize {
  /** Number of the first one. */
  firstSlot: number;
  /** Of the box windows of (2 · radius + 1)² pixels. */
  radius: number;
  /** Of all slots, see {@link placeWords}. */
  places: GPUBuffer;
}

/** Where a slot's pixels come from. */
export interface Place {
  /** What is image in the slot; around it is padding. */
  rectangle: Placement;
  /** Column and row of the slot's first pixel in its images. */
  column: number;
  row: number;
  /** Numbers of its content and of its painting. */
  content: number;
  painted: number;
}

/** 32-bit words of a place, as the kernels read it. */
export const PLACE_WORDS = 8;

/** Places as the kernels read them. */
export const placeWords = (places: readonly Place[]): Uint32Array<ArrayBuffer> =>
  new Uint32Array(
    places.flatMap(({ rectangle: { left, top, width, height }, column, row, content, painted }) => [
      ...[left, top, width, height],
      ...[column, row, content, painted],
    ]),
  );

/** vec4s of a pixel's moments, and of its map of colours. */
export const MOMENTS4 = 6;
export const MAP4 = 3;

const planPerPixel = (
  { slots, height, width }: GuidedSize,
  profile: Profile,
  kernel: string,
  overrides: Record<string, number> = {},
): Plan =>
  planInvocations(profile, { kernel, entryPoint: kernel, result: "f32", overrides, parts: ["guided"] }, slots * height * width);

/** Plans kernels/guided_moments.wgsl. */
export const planGuidedMoments = (size: GuidedSize, profile: Profile): Plan => planPerPixel(size, profile, "guided_moments");

/** Plans kernels/guided_fit.wgsl. */
export const planGuidedFit = (size: GuidedSize, profile: Profile): Plan => planPerPixel(size, profile, "guided_fit");

/** Plans kernels/guided_smooth.wgsl. */
export const planGuidedSmooth = (size: GuidedSize & { vertical: boolean }, profile: Profile): Plan =>
  planPerPixel(size, profile, "guided_smooth", { VERTICAL: size.vertical ? 1 : 0 });

export type GuidedMomentsOperands = GuidedSlots & {
  channels: 1 | 3;
  /** Sides of the images that slots lie in. */
  rows: number;
  columns: number;
  /** [images, rows, columns, C] bytes. */
  content: GPUBuffer;
  /** [images, rows, columns, C] f32 in [0, 1]. */
  painted: GPUBuffer;
  /** [call's slots, H, W, 24] f32. */
  moments: GPUBuffer;
};

/** Means along rows of content, painting and their products. */
export function guidedMoments(profile: Profile, operands: GuidedMomentsOperands): Call {
  const { slots, firstSlot, height, width, radius, channels, content, painted, places, moments } = operands;
  return call(
    planGuidedMoments(operands, profile),
    { content, painted, places, moments },
    { slots, first_slot: firstSlot, height, width, channels, radius, rows: operands.rows, columns: operands.columns },
  );
}

export type GuidedFitOperands = GuidedSlots & {
  moments: GPUBuffer;
  /** What is added to the content's covariance: how little contrast counts as none. */
  epsilon: number;
  /** [call's slots, H, W, 12] f32. */
  coefficients: GPUBuffer;
};

/** The affine map of colours around every pixel. */
export function guidedFit(profile: Profile, operands: GuidedFitOperands): Call {
  const { slots, firstSlot, height, width, radius, moments, epsilon, places, coefficients } = operands;
  return call(
    planGuidedFit(operands, profile),
    { moments, places, coefficients },
    { slots, first_slot: firstSlot, height, width, radius, epsilon },
  );
}

export type GuidedSmoothOperands = GuidedSlots & {
  vertical: boolean;
  /** [call's slots, H, W, 12] f32, both. */
  input: GPUBuffer;
  output: GPUBuffer;
};

/** The mean of the maps along rows or columns. */
export function guidedSmooth(profile: Profile, operands: GuidedSmoothOperands): Call {
  const { slots, firstSlot, height, width, radius, input, output, places } = operands;
  return call(
    planGuidedSmooth(operands, profile),
    { input, places, output },
    { slots, first_slot: firstSlot, height, width, radius },
  );
}

export interface GuidedApplyOperands {
  height: number;
  width: number;
  channels: 1 | 3;
  /** Slots of this call, and the first of them: of each, one piece. */
  slots: number;
  firstSlot: number;
  /** Bytes; where its pieces lie `pieces` says. */
  content: GPUBuffer;
  coefficients: GPUBuffer;
  /** Of all slots, see {@link pieceWords}. */
  pieces: GPUBuffer;
  result: GPUBuffer;
  /** That the largest piece may take, see {@link resultWordsOf}. */
  words: number;
  /** The colour of bare glass, in [0, 1], which stays as it is; without it everything is painted. */
  background: readonly number[] | undefined;
}

/** Plans kernels/guided_apply.wgsl. */
export function planGuidedApply(
  { slots, words, channels, background }: Pick<GuidedApplyOperands, "slots" | "words" | "channels" | "background">,
  profile: Profile,
): Plan {
  const [x, y] = spread(Math.ceil(words / channels / 64), profile.limits.maxComputeWorkgroupsPerDimension);
  return {
    variant: {
      kernel: "guided_apply",
      entryPoint: "guided_apply",
      result: "f32",
      constants: { CHANNELS: channels },
      overrides: { BACKGROUND: background ? 1 : 0 },
      parts: ["tissue"],
    },
    workgroups: [x, y, slots],
    workgroupBytes: 0,
  };
}

/** The maps, between their pixels, applied to the content at its own size: bytes to bytes. */
export function guidedApply(profile: Profile, operands: GuidedApplyOperands): Call {
  const { height, width, content, coefficients, pieces, result, firstSlot, background } = operands;
  const [red, green, blue] = background ?? [1, 1, 1];
  return call(
    planGuidedApply(operands, profile),
    { content, coefficients, pieces, result },
    { height, width, first_slot: firstSlot, white: [red!, green!, blue!, 1] },
  );
}

/** A tile of an image at its full resolution. */
export interface Piece {
  /** Where its content and its result begin, in words. */
  contentWord: number;
  resultWord: number;
  /** Sides of what is written, and where its first pixel lies in the content. */
  width: number;
  height: number;
  column: number;
  row: number;
  /** Sides of the content. */
  contentWidth: number;
  contentHeight: number;
  /** Pixel (x, y) of the piece lies at (x + ½) · scale + offset among the maps of its slot. */
  scale: readonly [x: number, y: number];
  offset: readonly [x: number, y: number];
  /** Least and most of that place. */
  bounds: readonly [x0: number, x1: number, y0: number, y1: number];
}

/** Words that the result of a piece takes: its rows fill four pixels. */
export const resultWordsOf = (width: number, height: number, channels: number): number =>
  Math.ceil(width / 4) * channels * height;

/** 32-bit words of a piece, as the kernel reads it. */
export const PIECE_WORDS = 16;

/** Pieces as the kernel reads them. */
export function pieceWords(pieces: readonly Piece[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(pieces.length * PIECE_WORDS);
  const floats = new Float32Array(words.buffer);
  for (const [
    index,
    { contentWord, resultWord, width, height, column, row, contentWidth, contentHeight, ...map },
  ] of pieces.entries()) {
    const at = index * PIECE_WORDS;
    words.set([contentWord, resultWord, width, height, column, row, contentWidth, contentHeight], at);
    floats.set([...map.scale, ...map.offset, ...map.bounds], at + 8);
  }
  return words;
}
