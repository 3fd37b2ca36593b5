import { numbersOf, type View, view } from "../gpu/view.js";
import type { Recorder } from "../net/recorder.js";
import { sumRows } from "../ops/rows.js";

/** A term of a loss: what the log, the curve and the flags call it, and what it counts in the total. */
export interface LossTerm {
  readonly name: string;
  readonly weight: number;
}

/** Partial sums of the terms of a batch, term after term in one buffer, and their totals. */
export class PartialSums {
  readonly #r: Recorder;
  #count = 0;
  readonly #ends: number[] = [];

  constructor(r: Recorder) {
    this.#r = r;
  }

  /** Room for the next term: as many numbers as its parts need each. */
  term(counts: readonly number[]): View[] {
    const places = counts.map((count) => {
      const first = this.#count;
      this.#count += count;
      return { first, count };
    });
    this.#ends.push(this.#count);
    const { buffer } = this.#r.scratch("loss partials", 1, this.#count, "f32");
    return places.map(({ first, count }) => numbersOf(buffer, count, first));
  }

  /** Adds the terms to `losses`, a number each. */
  total(losses: GPUBuffer): void {
    const { buffer } = this.#r.scratch("loss partials", 1, this.#count, "f32");
    for (const [index, end] of this.#ends.entries()) {
      const first = this.#ends[index - 1] ?? 0;
      const x = view(buffer, "f32", 1, end - first, { first });
      this.#r.emit(sumRows, { x, y: numbersOf(losses, 1, index), accumulate: true });
    }
  }
}
