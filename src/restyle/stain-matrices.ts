/** Matrices of stains by hand, in float64: what is the same for every image is computed once, here. */

export type Matrix = readonly (readonly number[])[];

/** Hematoxylin, eosin and DAB after Ruifrok and Johnston (2001), rounded to two digits as in public code; rows, not normalised. */
const HED: Matrix = [
  [0.65, 0.7, 0.29],
  [0.07, 0.99, 0.11],
  [0.27, 0.57, 0.78],
];

/** Hematoxylin and eosin of albumentations' HEStain. */
export const PRESETS: Readonly<Record<string, Matrix>> = {
  ruifrok: [
    [0.644211, 0.716556, 0.266844],
    [0.092789, 0.954111, 0.283111],
  ],
  macenko: [
    [0.5626, 0.7201, 0.4062],
    [0.2159, 0.8012, 0.5581],
  ],
  standard: [
    [0.65, 0.7, 0.29],
    [0.07, 0.99, 0.11],
  ],
  high_contrast: [
    [0.55, 0.88, 0.11],
    [0.12, 0.86, 0.49],
  ],
  h_heavy: [
    [0.75, 0.61, 0.32],
    [0.04, 0.93, 0.36],
  ],
  e_heavy: [
    [0.6, 0.75, 0.28],
    [0.17, 0.95, 0.25],
  ],
  dark: [
    [0.78, 0.55, 0.28],
    [0.09, 0.97, 0.21],
  ],
  light: [
    [0.57, 0.71, 0.38],
    [0.15, 0.89, 0.42],
  ],
};

/** What Macenko's normalisation aims at where nothing is said: rows H and E, and their 99th percentiles. */
export const MACENKO_TARGET = { stains: PRESETS.macenko!, most: [1.9705, 1.0308] } as const;

const transpose = (m: Matrix): number[][] => m[0]!.map((_, j) => m.map((row) => row[j]!));
const times = (a: Matrix, b: Matrix): number[][] =>
  a.map((row) => b[0]!.map((_, j) => row.reduce((sum, value, k) => sum + value * b[k]![j]!, 0)));

export const cross = ([a, b, c]: readonly number[], [d, e, f]: readonly number[]): number[] => [
  b! * f! - c! * e!,
  c! * d! - a! * f!,
  a! * e! - b! * d!,
];
export const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, k) => sum + value * b[k]!, 0);

/** Of 3 × 3, by cross products. */
function inverse(m: Matrix): number[][] {
  const [a, b, c] = m as [number[], number[], number[]];
  const columns = [cross(b, c), cross(c, a), cross(a, b)];
  const determinant = dot(a, columns[0]!);
  return transpose(columns.map((column) => column.map((value) => value / determinant)));
}

/** Six rows of a recipe: A with b, C with d, see kernels/parts/restyle_jobs.wgsl. */
const recipe = (a: Matrix, b: readonly number[], c: Matrix = [], d: readonly number[] = []): number[][] =>
  [0, 1, 2, 3, 4, 5].map((row) => (row < 3 ? [...a[row]!, b[row]!] : [...(c[row - 3] ?? [0, 0, 0]), d[row - 3] ?? 0]));

/** s' = α s + β of s = D · HED⁻¹, back to densities. */
export function hedRecipe(scale: readonly number[], shift: readonly number[]): number[][] {
  const there = transpose(inverse(HED));
  const back = transpose(HED);
  return recipe(
    times(
      back,
      there.map((row, k) => row.map((value) => scale[k]! * value)),
    ),
    back.map((row) => dot(row, shift)),
  );
}

/** C' = C + w (C (α - 1) + β) of C = (S Sᵀ + 1e-6)⁻¹ S D, back to densities. */
export function stainRecipe(stains: Matrix, scale: readonly number[], shift: readonly number[]): number[][] {
  const [h, e] = stains as [number[], number[]];
  const [hh, he, ee] = [dot(h, h) + 1e-6, dot(h, e), dot(e, e) + 1e-6];
  const determinant = hh * ee - he * he;
  const there = [
    h.map((value, k) => (ee * value - he * e[k]!) / determinant),
    e.map((value, k) => (hh * value - he * h[k]!) / determinant),
  ];
  const back = transpose(stains);
  const changed = there.map((row, k) => row.map((value) => (scale[k]! - 1) * value));
  return recipe(
    times(back, there),
    [0, 0, 0],
    times(back, changed),
    back.map((row) => dot(row, shift)),
  );
}
