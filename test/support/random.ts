/** FNV-1a, so that a case's name can seed its numbers. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (const character of text) h = Math.imul(h ^ character.codePointAt(0)!, 0x01000193);
  return h >>> 0;
}

/** Seeded numbers, the same on every machine: mulberry32. */
export class Random {
  #state: number;

  constructor(seed: number | string) {
    this.#state = (typeof seed === "string" ? hash(seed) : seed) >>> 0;
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return low + (((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * (high - low);
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
