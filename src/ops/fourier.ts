import { type Call, call, type Plan } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import { type ImagesShape, planEach, planResult, type ResultShape, whiteOf } from "./restyle.js";

/** Fourier domain adaptation (Yang and Soatto, CVPR 2020) by partial sums: only the coefficients that change, forth and back. */

/** f32s of a coefficient of three channels. */
export const COEFFICIENT = 8;

/** A call over `count` images, of which the largest asks for `each` coefficients. */
export interface FourierShape {
  count: number;
  each: number;
}

/** Plans kernels/fourier_rows.wgsl. */
export const planFourierRows = ({ channels, count, each }: FourierShape & { channels: 1 | 3 }, profile: Profile): Plan =>
  planEach(profile, "fourier_rows", each, count, {
    constants: { CHANNELS: channels },
    parts: ["tissue", "restyled_images", "fourier"],
  });

export type FourierRowsOperands = FourierShape &
  ImagesShape & {
    statistics: GPUBuffer;
    /** Cosines and sines of widths and heights. */
    twiddles: GPUBuffer;
    rows: GPUBuffer;
  };

/** Low frequencies along every row. */
export function fourierRows(profile: Profile, operands: FourierRowsOperands): Call {
  const { content, images, statistics, twiddles, rows } = operands;
  return call(planFourierRows(operands, profile), { content, images, statistics, twiddles, rows }, { white: whiteOf() });
}

/** Plans kernels/fourier_columns.wgsl. */
export const planFourierColumns = ({ count, each }: FourierShape, profile: Profile): Plan =>
  planEach(profile, "fourier_columns", each, count, { parts: ["restyled_images", "fourier"] });

export type FourierColumnsOperands = FourierShape & {
  images: GPUBuffer;
  rows: GPUBuffer;
  twiddles: GPUBuffer;
  coefficients: GPUBuffer;
};

/** Low frequencies of images, from those of their rows. */
export function fourierColumns(
  profile: Profile,
  { images, rows, twiddles, coefficients, ...shape }: FourierColumnsOperands,
): Call {
  return call(planFourierColumns(shape, profile), { images, rows, twiddles, coefficients }, { images_count: shape.count });
}

/** Plans kernels/fourier_swap.wgsl. */
export const planFourierSwap = ({ count, each }: FourierShape, profile: Profile): Plan =>
  planEach(profile, "fourier_swap", each, count, { parts: ["restyled_images", "fourier"] });

export type FourierSwapOperands = FourierShape & {
  images: GPUBuffer;
  jobs: GPUBuffer;
  statistics: GPUBuffer;
  coefficients: GPUBuffer;
  changes: GPUBuffer;
};

/** What coefficients change by for the styles' amplitudes. */
export function fourierSwap(profile: Profile, operands: FourierSwapOperands): Call {
  const { images, jobs, statistics, coefficients, changes, count } = operands;
  return call(planFourierSwap(operands, profile), { images, jobs, statistics, coefficients, changes }, { images_count: count });
}

/** Plans kernels/fourier_back.wgsl. */
export const planFourierBack = ({ count, each }: FourierShape, profile: Profile): Plan =>
  planEach(profile, "fourier_back", each, count, { parts: ["restyled_images", "fourier"] });

export type FourierBackOperands = FourierShape & {
  images: GPUBuffer;
  changes: GPUBuffer;
  twiddles: GPUBuffer;
  rows: GPUBuffer;
};

/** Changes of rows, from those of images. */
export function fourierBack(profile: Profile, { images, changes, twiddles, rows, ...shape }: FourierBackOperands): Call {
  return call(planFourierBack(shape, profile), { images, changes, twiddles, rows }, { images_count: shape.count });
}

/** Plans kernels/fourier_apply.wgsl. */
export const planFourierApply = (
  shape: Pick<ResultShape, "channels" | "count" | "words" | "background">,
  profile: Profile,
): Plan => planResult(profile, "fourier_apply", shape, { parts: ["fourier"] });

/** Contents with the changes of their rows. */
export function fourierApply(profile: Profile, operands: ResultShape & { rows: GPUBuffer; twiddles: GPUBuffer }): Call {
  const { content, images, jobs, rows, twiddles, result, background } = operands;
  return call(
    planFourierApply(operands, profile),
    { content, images, jobs, rows, twiddles, result },
    { white: whiteOf(background) },
  );
}
