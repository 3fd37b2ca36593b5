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

/** RandStainNA's table from records of moments: mean and population deviation of means, and of deviations. */
export function tableOf(records: readonly Float32Array[]): RandStainTable {
  const moments = records.map(momentsOf);
  const over = (of: "mean" | "deviation") => {
    const mean = [0, 1, 2].map((c) => moments.reduce((sum, one) => sum + one[of][c]!, 0) / moments.length);
    const spread = mean.map((middle, c) =>
      Math.sqrt(moments.reduce((sum, one) => sum + (one[of][c]! - middle) ** 2, 0) / moments.length),
    );
    return [mean, spread];
  };
  const numbers = [...over("mean"), ...over("deviation")];
  return Object.fromEntries(TABLE_NAMES.map((name, at) => [name, numbers[at]!])) as unknown as RandStainTable;
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
