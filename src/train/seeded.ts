/** 32 well-mixed bits, a pure function of whole numbers: the same on every machine. */
export function hash32(...numbers: readonly number[]): number {
  let x = 0x9e3779b9;
  for (const number of numbers) {
    // Both halves count: a seed may be any safe integer.
    for (const word of [number, Math.floor(number / 2 ** 32)]) {
      x = (Math.imul(x, 0x85ebca6b) + (word | 0)) | 0;
      x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
      x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
      x ^= x >>> 15;
    }
  }
  return x >>> 0;
}

/** [0, 1), a pure function of whole numbers. */
export const fraction = (...numbers: readonly number[]): number => hash32(...numbers) / 2 ** 32;

/** The numbers below `count` in a seeded order (Fisher and Yates), a pure function of its arguments. */
export function permutation(count: number, ...seed: readonly number[]): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  const start = hash32(...seed);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(fraction(start, i) * (i + 1));
    const kept = order[i]!;
    order[i] = order[j]!;
    order[j] = kept;
  }
  return order;
}
