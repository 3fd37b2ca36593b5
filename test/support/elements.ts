import type { Profile } from "../../src/gpu/profile.js";
import type { View } from "../../src/gpu/view.js";
import { float16BitsToFloat32, float32ToFloat16Bits } from "../../src/hub/half.js";
import { F32_BOUND } from "./compare.js";

/** Numbers as the tiers keep them: `elem` ones are halves in a 16-bit tier. */

/** Half the distance between 1 and the next f32: the relative error of one rounding. */
export const UNIT = 2 ** -24;
/** The same of halves. */
export const HALF_UNIT = 2 ** -11;

export type Kind = View["type"];

export const isHalf = (profile: Profile, kind: Kind): boolean => kind === "elem" && profile.elementBytes === 2;

/** Numbers as an operand of that kind holds them. */
export const kept = (profile: Profile, values: Float32Array, kind: Kind = "elem"): Float32Array =>
  isHalf(profile, kind) ? float16BitsToFloat32(float32ToFloat16Bits(values)) : values;

/** The words of a buffer of such an operand; an even count of halves. */
export const packed = (profile: Profile, values: Float32Array, kind: Kind = "elem"): Float32Array | Uint32Array =>
  isHalf(profile, kind) ? new Uint32Array(float32ToFloat16Bits(values).buffer) : values;

/** The numbers in such words. */
export const numbersIn = (profile: Profile, words: Uint32Array, kind: Kind): Float32Array =>
  isHalf(profile, kind)
    ? float16BitsToFloat32(new Uint16Array(words.buffer, words.byteOffset, 2 * words.length))
    : new Float32Array(words.buffer, words.byteOffset, words.length);

/** What rounding a result to halves costs it above the bound of f32; below 2^-14 halves lose their last bits. */
export function halfSlack(reference: Float64Array): (at: number) => number {
  const f32 = F32_BOUND * reference.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return (at) => HALF_UNIT * Math.max(Math.abs(reference[at]!), 2 ** -14) + f32;
}

/** The same for a result of that kind: nothing where it is not rounded. */
export const roundedSlack =
  (profile: Profile, kind: Kind = "elem") =>
  (reference: Float64Array) =>
    isHalf(profile, kind) ? { slack: halfSlack(reference) } : {};
