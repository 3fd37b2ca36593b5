import type { Space } from "../../src/ops/restyle.js";

/** Colour spaces, moments and stains in float64, written to be read and to share nothing with the kernels. */

const XYZ = [
  [0.412453, 0.35758, 0.180423],
  [0.212671, 0.71516, 0.072169],
  [0.019334, 0.119193, 0.950227],
];
const WHITE = [0.95047, 1, 1.08883];
const LMS = [
  [0.3811, 0.5783, 0.0402],
  [0.1967, 0.7244, 0.0782],
  [0.0241, 0.1288, 0.8444],
];
const OPPONENT = [
  [1 / Math.sqrt(3), 1 / Math.sqrt(3), 1 / Math.sqrt(3)],
  [1 / Math.sqrt(6), 1 / Math.sqrt(6), -2 / Math.sqrt(6)],
  [1 / Math.SQRT2, -1 / Math.SQRT2, 0],
];

export type Vector = readonly number[];
export type Rows = readonly Vector[];

export const times = (rows: Rows, x: Vector): number[] =>
  rows.map((row) => row.reduce((sum, value, k) => sum + value * x[k]!, 0));
const columns = (rows: Rows): number[][] => rows[0]!.map((_, j) => rows.map((row) => row[j]!));

/** Gauss and Jordan, with pivots. */
export function inverted(rows: Rows): number[][] {
  const n = rows.length;
  const work = rows.map((row, i) => [...row, ...Array.from({ length: n }, (_, j) => Number(i === j))]);
  for (let i = 0; i < n; i++) {
    const pivot = work.slice(i).reduce((best, row, k) => (Math.abs(row[i]!) > Math.abs(work[best]![i]!) ? i + k : best), i);
    [work[i], work[pivot]] = [work[pivot]!, work[i]!];
    const own = work[i]!.map((value) => value / work[i]![i]!);
    work[i] = own;
    for (let k = 0; k < n; k++) if (k !== i) work[k] = work[k]!.map((value, j) => value - work[k]![i]! * own[j]!);
  }
  return work.map((row) => row.slice(n));
}

/** Three levels in a space. */
export function forth(space: Space, levels: Vector): number[] {
  const rgb = levels.map((level) => level / 255);
  const raised = rgb.map((value) => Math.max(value, 1 / 255));
  switch (space) {
    case "rgb":
      return rgb;
    case "macenko":
      return levels.map((level) => -Math.log((level + 1) / 240));
    case "density":
      return raised.map((value) => -Math.log(value));
    case "decadic":
      return raised.map((value) => -Math.log10(value));
    case "opponent":
      return times(OPPONENT, times(LMS, raised).map(Math.log10));
    default: {
      const linear = rgb.map((value) => (value > 0.04045 ? ((value + 0.055) / 1.055) ** 2.4 : value / 12.92));
      const f = times(XYZ, linear)
        .map((value, k) => value / WHITE[k]!)
        .map((t) => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116));
      const lab = [116 * f[1]! - 16, 500 * (f[0]! - f[1]!), 200 * (f[1]! - f[2]!)];
      return space === "lab" ? lab : [2.55 * lab[0]!, lab[1]! + 128, lab[2]! + 128];
    }
  }
}

/** Back to RGB. */
export function back(space: Space, x: Vector): number[] {
  switch (space) {
    case "rgb":
      return [...x];
    case "macenko":
      return x.map((value) => (240 * Math.exp(-value) - 1) / 255);
    case "density":
      return x.map((value) => Math.exp(-value));
    case "decadic":
      return x.map((value) => 10 ** -value);
    case "opponent":
      return times(
        inverted(LMS),
        times(columns(OPPONENT), x).map((value) => 10 ** value),
      );
    default: {
      const clipped = x.map((value) => Math.min(255, Math.max(0, value)));
      const [l, a, b] = space === "lab" ? x : [clipped[0]! / 2.55, clipped[1]! - 128, clipped[2]! - 128];
      const y = (l! + 16) / 116;
      const t = [y + a! / 500, y, y - b! / 200].map((f) => (f > 0.2068966 ? f ** 3 : (f - 16 / 116) / 7.787));
      const linear = times(
        inverted(XYZ),
        t.map((value, k) => value * WHITE[k]!),
      );
      return linear.map((value) => (value > 0.0031308 ? 1.055 * value ** (1 / 2.4) - 0.055 : 12.92 * value));
    }
  }
}

/** Soft tissue weight of three levels. */
export function tissueOf(levels: Vector): number {
  const v = levels.map((level) => Math.log(Math.max(level, 1) / 255));
  const dark = -(v[0]! + v[1]! + v[2]!) / 3;
  const chroma = Math.max(...v) - Math.min(...v);
  const t = Math.min(1, Math.max(0, (chroma + 0.5 * Math.max(0, dark - 0.25) - 0.04) / 0.06));
  return t * t * (3 - 2 * t);
}

/** Weight, mean, and weighted sums of products around it (xx, yy, zz, xy, xz, yz), in two passes. */
export function momentsOf(values: readonly Vector[], weights: Vector): { weight: number; mean: number[]; sums: number[] } {
  const weight = weights.reduce((sum, value) => sum + value, 0);
  const mean = [0, 1, 2].map((c) => (weight > 0 ? values.reduce((sum, x, at) => sum + weights[at]! * x[c]!, 0) / weight : 0));
  const pairs = [
    [0, 0],
    [1, 1],
    [2, 2],
    [0, 1],
    [0, 2],
    [1, 2],
  ] as const;
  const sums = pairs.map(([a, b]) =>
    values.reduce((sum, x, at) => sum + weights[at]! * (x[a]! - mean[a]!) * (x[b]! - mean[b]!), 0),
  );
  return { weight, mean, sums };
}
