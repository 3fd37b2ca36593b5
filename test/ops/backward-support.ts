import type { Profile } from "../../src/gpu/profile.js";
import { float16BitsToFloat32, float32ToFloat16Bits } from "../../src/hub/half.js";
import { F32_BOUND } from "../support/compare.js";
import { asFloats, type Region } from "../support/run-op.js";

/** Half the distance between 1 and the next half: the relative error of one rounding to 16 bits. */
export const HALF_UNIT = 2 ** -11;

export const isHalf = (profile: Profile, kind: "f32" | "elem") => kind === "elem" && profile.elementBytes === 2;

/** Numbers as an operand of that kind keeps them in the tier. */
export const kept = (profile: Profile, values: Float32Array, kind: "f32" | "elem" = "elem"): Float32Array =>
  isHalf(profile, kind) ? float16BitsToFloat32(float32ToFloat16Bits(values)) : values;

/** The words of a buffer of such an operand. */
export const packed = (profile: Profile, values: Float32Array, kind: "f32" | "elem" = "elem"): Float32Array | Uint32Array =>
  isHalf(profile, kind) ? new Uint32Array(float32ToFloat16Bits(values).buffer) : values;

/** A region of such elements in words. */
export function inWords(profile: Profile, { offset, stride, rows, cols }: Region, kind: "f32" | "elem" = "elem"): Region {
  const each = isHalf(profile, kind) ? 2 : 1;
  return { offset: offset / each, stride: stride / each, rows, cols: cols / each };
}

/** The numbers in a region's words. */
export const numbers = (profile: Profile, words: Uint32Array, kind: "f32" | "elem" = "elem"): Float32Array =>
  isHalf(profile, kind)
    ? float16BitsToFloat32(new Uint16Array(words.buffer, words.byteOffset, 2 * words.length))
    : asFloats(words);

/** What rounding a result to halves costs above the bound of f32; nothing in a tier that does not. */
export function roundedSlack(profile: Profile, reference: Float64Array): ((at: number) => number) | undefined {
  if (profile.elementBytes === 4) return undefined;
  const f32 = F32_BOUND * reference.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return (at) => HALF_UNIT * Math.max(Math.abs(reference[at]!), 2 ** -14) + f32;
}

/** Puts the words of `values` into a region of `before`: what an op adds to. */
export function fill(before: Uint32Array, { offset, stride, rows, cols }: Region, values: Float32Array): void {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let row = 0; row < rows; row++) {
    before.set(words.subarray(row * cols, (row + 1) * cols), offset + row * stride);
  }
}
