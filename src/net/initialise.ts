import { hashedUniform } from "../hub/hashed.js";

/** How a tensor begins, as a pure function of its key and a seed. */
export type Initial = { constant: number } | { uniform: number } | { normal: number } | { values: () => Float32Array };

/** The bound of Xavier's uniform initialisation (Glorot and Bengio 2010). */
export const xavier = (inputs: number, outputs: number): Initial => ({ uniform: Math.sqrt(6 / (inputs + outputs)) });

/** PyTorch's default for matrices, convolutions and their biases: Kaiming uniform with a = √5, which is U(±1/√fan_in). */
export const fanIn = (inputs: number): Initial => ({ uniform: 1 / Math.sqrt(inputs) });

/** `count` normal numbers of the given deviation, by the transform of Box and Muller. */
function hashedNormal(key: string, count: number, seed: number, deviation: number): Float32Array {
  const radius = hashedUniform(`${key}.radius`, count, seed);
  const angle = hashedUniform(`${key}.angle`, count, seed);
  // (1 - u) / 2 lies in (0, 1]: its logarithm is finite.
  return radius.map((u, i) => deviation * Math.sqrt(-2 * Math.log((1 - u) / 2)) * Math.cos(Math.PI * angle[i]!));
}

/** @throws StylizingError `ARGUMENT` where the seed is no whole number. */
export function initialValues(initial: Initial, key: string, count: number, seed: number): Float32Array {
  if ("constant" in initial) return new Float32Array(count).fill(initial.constant);
  if ("uniform" in initial) return hashedUniform(key, count, seed).map((u) => initial.uniform * u);
  if ("normal" in initial) return hashedNormal(key, count, seed, initial.normal);
  return initial.values();
}
