import type { Draw } from "./types.js";

/** `count` numbers uniform in [low, high), from draw `first` on, one each. */
export const uniforms = (draw: Draw, first: number, count: number, low: number, high: number): number[] =>
  Array.from({ length: count }, (_, at) => low + (high - low) * draw(first + at));

/** Of RandStainNA's z. */
export const DISTRIBUTIONS = ["normal", "laplace", "uniform"] as const;
export type Distribution = (typeof DISTRIBUTIONS)[number];

/**
 * Number `at` of standard draws, of draws 2 · at and, for normal ones, 2 · at + 1:
 * normal by Box and Muller, √(-2 ln(1 - u)) · cos(2π v); Laplace of scale 1 by its inverse, -sign(u - ½) · ln(1 - 2|u - ½|); uniform in [-1, 1), 2u - 1.
 */
export function standard(distribution: Distribution, draw: Draw, at: number): number {
  const u = draw(2 * at);
  if (distribution === "uniform") return 2 * u - 1;
  if (distribution === "normal") return Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * draw(2 * at + 1));
  // A draw of 0 would be infinitely far: the least there is stands for it.
  const apart = Math.max(u, 2 ** -33) - 0.5;
  return -Math.sign(apart) * Math.log(1 - 2 * Math.abs(apart));
}
