import { type RandStainTable, TABLE_NAMES } from "./methods.js";
import { MACENKO_TARGET, type Matrix } from "./stain-matrices.js";
import type { Params } from "./types.js";
import type { Way } from "./ways.js";

/** What statistics say, as they are read back: kernels/colour_statistics.wgsl, stain_fit.wgsl and level_tables.wgsl have the layouts. */

const three = (record: Float32Array, at: number): number[] => [...record.subarray(at, at + 3)];

/** Mean and population deviation of a record of moments, and its mean weight. */
export const momentsOf = (record: Float32Array): { mean: number[]; deviation: number[]; weight: number } => ({
  mean: three(record, 0),
  deviation: three(record, 4),
  weight: record[7]!,
});

/** Stains of a record and their 99th percentiles; undefined where there are none. */
export function stainsOf(record: Float32Array): { stains: number[][]; most: number[] } | undefined {
  if (record[27] === 0) return undefined;
  return { stains: [three(record, 16), three(record, 20)], most: [record[19]!, record[23]!] };
}

/** RandStainNA's table, image by image: mean and population deviation of means, and of deviations (Welford, 1962). */
export class TableAccumulator {
  #count = 0;
  readonly #means = new Float64Array(6);
  readonly #squares = new Float64Array(6);

  get count(): number {
    return this.#count;
  }

  /** @param records of moments, one an image */
  add(records: readonly Float32Array[]): void {
    for (const { mean, deviation } of records.map(momentsOf)) {
      this.#count++;
      for (const [at, value] of [...mean, ...deviation].entries()) {
        const apart = value - this.#means[at]!;
        this.#means[at]! += apart / this.#count;
        this.#squares[at]! += apart * (value - this.#means[at]!);
      }
    }
  }

  table(): RandStainTable {
    const means = [...this.#means];
    const deviations = [...this.#squares].map((sum) => Math.sqrt(sum / this.#count));
    const numbers = [means.slice(0, 3), deviations.slice(0, 3), means.slice(3), deviations.slice(3)];
    return Object.fromEntries(TABLE_NAMES.map((name, at) => [name, numbers[at]!])) as unknown as RandStainTable;
  }
}

/** All numbers of a result: those that were settled, and what its style said of those that were not. */
export function paramsWith(
  way: Way,
  params: Params,
  { own, style }: { own: Float32Array; style: Float32Array | undefined },
): Params {
  if (way.kind === "levels" && way.recipe === "colorist") {
    const column = (at: number) => [0, 1, 2].map((c) => own[4 * c + at]!);
    return { targetMean: column(2), targetDeviation: column(3), ...params };
  }
  if (way.kind === "moments" && style) {
    const { mean, deviation } = momentsOf(style);
    return { targetMean: mean, targetDeviation: deviation, ...params };
  }
  if (way.kind === "stains" && way.recipe === "normalise") {
    const found = style && stainsOf(style);
    if (style && !found) return params;
    const { stains, most } = found ?? MACENKO_TARGET;
    return { targetStains: stains as Matrix, targetMost: [...most], ...params };
  }
  return params;
}
