/**
 * All seeded randomness, the same bits on every machine. There are two families, and results that must not change hang on each:
 *
 * - {@link mix32} and the hashes made of it, pure functions of whole numbers that need no state: hashed weights (a published
 *   specification with golden files), orders of epochs and crops, `--pair random`.
 * - {@link mulberry32}, a stream, with {@link scramble} to seed it: drawn tissue, and with it the demo and its model's training.
 */

/** Mixes 32 bits (the finaliser of splitmix32). One to one. */
export function mix32(bits: number): number {
  let x = Math.imul(bits ^ (bits >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

/** The FNV-1a hash of a text's UTF-8 bytes, 32 bits. */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** 32 well-mixed bits, a pure function of whole numbers. */
export function hash32(...numbers: readonly number[]): number {
  let x = 0x9e3779b9;
  for (const number of numbers) {
    // Both halves count: a seed may be any safe integer.
    for (const word of [number, Math.floor(number / 2 ** 32)]) x = mix32((Math.imul(x, 0x85ebca6b) + (word | 0)) | 0);
  }
  return x >>> 0;
}

/** [0, 1), a pure function of whole numbers. */
export const fraction = (...numbers: readonly number[]): number => hash32(...numbers) / 2 ** 32;

/** A whole number below `count`, a pure function of seed and index: the style that `--pair random` chooses. */
export function indexBelow(count: number, seed: number, index: number): number {
  const bits = mix32((Math.imul(seed, 0x9e3779b9) + Math.imul(index + 1, 0x85ebca6b)) | 0);
  return Math.floor((bits / 2 ** 32) * count);
}

/** The numbers below `count` in a seeded order, a pure function of its arguments. */
export function permutation(count: number, ...seed: readonly number[]): Uint32Array {
  const start = hash32(...seed);
  return shuffle(
    Uint32Array.from({ length: count }, (_, i) => i),
    (i) => fraction(start, i),
  );
}

/** Fisher and Yates, in place; `draw` gives a number in [0, 1) for each place, from the last to the second. */
export function shuffle<T extends Uint8Array | Uint32Array>(values: T, draw: (place: number) => number): T {
  for (let i = values.length - 1; i > 0; i--) {
    const j = Math.floor(draw(i) * (i + 1));
    const held = values[i]!;
    values[i] = values[j]!;
    values[j] = held;
  }
  return values;
}

/** Draws the next number of a stream, uniform in [0, 1). */
export type Random = () => number;

/** The mulberry32 generator of Tommy Ettinger. */
export function mulberry32(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/** Scrambles two 32-bit integers into one (the finaliser of MurmurHash3). */
export function scramble(a: number, b: number): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b ^ (b >>> 15), 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Folds any finite number, negative, fractional or beyond 32 bits, into a 32-bit seed. */
export function foldSeed(seed: number, purpose: number): number {
  const whole = Math.floor(seed);
  const low = scramble(whole >>> 0, purpose);
  const high = scramble(Math.floor(whole / 0x1_0000_0000) >>> 0, Math.floor((seed - whole) * 0x1_0000_0000) >>> 0);
  return scramble(low, high);
}

/** Uniform in [low, high). */
export function between(random: Random, low: number, high: number): number {
  return low + (high - low) * random();
}

/** Nearly Gaussian with zero mean and unit variance, and never beyond 3.5 (a sum of four uniforms). */
export function bell(random: Random): number {
  return (random() + random() + random() + random() - 2) * 1.7320508;
}
