import { createHash } from "node:crypto";

/**
 * Which of very many texts were there before: 64 bits of a hash each, since the texts themselves would not fit the memory. Of a million
 * texts two different ones are taken for one with a chance of 3e-8.
 */
export class Seen {
  #slots = new BigUint64Array(1024);
  #count = 0;

  /** Whether it is there for the first time. */
  add(text: string): boolean {
    // 0 is an empty slot.
    const hash = createHash("sha1").update(text).digest().readBigUInt64LE() || 1n;
    if (!this.#put(hash)) return false;
    if (++this.#count * 2 > this.#slots.length) {
      const old = this.#slots;
      this.#slots = new BigUint64Array(old.length * 2);
      for (const one of old) if (one !== 0n) this.#put(one);
    }
    return true;
  }

  #put(hash: bigint): boolean {
    const most = this.#slots.length - 1;
    for (let at = Number(hash & 0xffffffffn) & most; ; at = (at + 1) & most) {
      if (this.#slots[at] === hash) return false;
      if (this.#slots[at] !== 0n) continue;
      this.#slots[at] = hash;
      return true;
    }
  }
}
