import type { FoldPlacement } from "../../src/ops/weights.js";
import { type OpCase, randomOf } from "../support/op.js";
import { published } from "./published.js";

/** Trained weights as they lie in a flat array, for the ops between them and the matrices of GEMMs. */

export interface FoldCase extends OpCase {
  /** Outputs and inputs of the matrix. */
  rows: number;
  cols: number;
  /** Whether there is no LayerNorm in front. */
  bare?: boolean;
}

const SIZES = [
  [4, 4],
  [36, 20],
  [64, 32],
  [100, 132],
] as const;

export const foldSizes: readonly FoldCase[] = [
  ...SIZES.map(([rows, cols]) => ({ name: `${rows} × ${cols}`, rows, cols })),
  ...published(
    ({ bench, title, width, hidden }): FoldCase[] => [{ name: `${title}: fc1`, bench, rows: hidden, cols: width }],
    [1],
  ),
];

export interface FlatWeights {
  values: Float32Array;
  place: Required<FoldPlacement> & { norm: { gamma: number; beta: number } };
}

/** Where a matrix [rows, cols] lies, its bias behind it, then gamma and beta; and how long the array is. */
export function placeOf({ rows, cols }: FoldCase): FlatWeights["place"] & { length: number } {
  const weight = 64;
  const bias = weight + rows * cols + 4;
  const gamma = bias + rows + 8;
  const beta = gamma + cols + 4;
  return { weight, bias, norm: { gamma, beta }, length: beta + cols + 12 };
}

/** Random ones, NaN around all of them. */
export function flatWeights(one: FoldCase, seed: string): FlatWeights {
  const { rows, cols } = one;
  const { length, ...place } = placeOf(one);
  const random = randomOf({ ...one, name: seed });
  const values = new Float32Array(length).fill(Number.NaN);
  values.set(random.normals(rows * cols), place.weight);
  values.set(random.normals(rows), place.bias);
  values.set(random.normals(cols, 0.3, 1), place.norm.gamma);
  values.set(random.normals(cols), place.norm.beta);
  return { values, place };
}
