import { between, fnv1a, mulberry32 } from "../../src/random.js";

/** Seeded numbers, the same on every machine; a case's name can seed its numbers. */
export class Random {
  readonly #next: () => number;

  constructor(seed: number | string) {
    this.#next = mulberry32(typeof seed === "string" ? fnv1a(seed) : seed);
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    return between(this.#next, low, high);
  }

  /** A whole number in [0, limit). */
  integer(limit: number): number {
    return Math.floor(this.uniform(0, limit));
  }

  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  normals(count: number, scale = 1, mean = 0): Float32Array {
    return Float32Array.from({ length: count }, () => mean + scale * this.normal());
  }

  uniforms(count: number, low = 0, high = 1): Float32Array {
    return Float32Array.from({ length: count }, () => this.uniform(low, high));
  }
}
