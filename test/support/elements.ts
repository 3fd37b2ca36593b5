import type { Profile } from "../../src/gpu/profile.js";
import type { View } from "../../src/gpu/view.js";
import { float16BitsToFloat32, float32ToFloat16Bits } from "../../src/hub/float16.js";
import { F32_BOUND } from "./compare.js";

/** Numbers as the tiers keep them: `elem` ones are float16 in a 16-bit tier. */

/** Half the distance between 1 and the next f32: the relative error of one rounding. */
export const UNIT = 2 ** -24;
/** The same of float16. */
export const FLOAT16_UNIT = 2 ** -11;

export type Kind = View["type"];

export const isFloat16 = (profile: Profile, kind: Kind): boolean => kind === "elem" && profile.elementBytes === 2;

/** Numbers as an operand of that kind holds them. */
export const kept = (profile: Profile, values: Float32Array, kind: Kind = "elem"): Float32Array =>
  isFloat16(profile, kind) ? float16BitsToFloat32(float32ToFloat16Bits(values)) : values;

/** The words of a buffer of such an operand; an even count of float16 numbers. */
export const packed = (profile: Profile, values: Float32Array, kind: Kind = "elem"): Float32Array | Uint32Array =>
  isFloat16(profile, kind) ? new Uint32Array(float32ToFloat16Bits(values).buffer) : values;

/** The numbers in such words. */
export const numbersIn = (profile: Profile, words: Uint32Array, kind: Kind): Float32Array =>
  isFloat16(profile, kind)
    ? float16BitsToFloat32(new Uint16Array(words.buffer, words.byteOffset, 2 * words.length))
    : new Float32Array(words.buffer, words.byteOffset, words.length);

/** What rounding a result to float16 costs it above the bound of f32; below 2^-14 float16 numbers lose their last bits. */
export function float16Slack(reference: Float64Array): (at: number) => number {
  const f32 = F32_BOUND * reference.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return (at) => FLOAT16_UNIT * Math.max(Math.abs(reference[at]!), 2 ** -14) + f32;
}

/** The same for a result of that kind: nothing where it is not rounded. */
export const roundedSlack =
  (profile: Profile, kind: Kind = "elem") =>
  (reference: Float64Array) =>
    isFloat16(profile, kind) ? { slack: float16Slack(reference) } : {};
