/** Guided detail and windows in float64, written to be read: He, Sun and Tang (2013); He and Sun (2015). */

export interface Rectangle {
  left: number;
  top: number;
  width: number;
  height: number;
}

type Numbers = ArrayLike<number>;

/** Means along one axis of [height, width, each] over 2 · radius + 1 entries, clipped at the rectangle's border; NaN outside of it. */
export function boxAlong(
  x: Numbers,
  size: { height: number; width: number; each: number },
  at: Rectangle,
  radius: number,
  vertical: boolean,
) {
  const { height, width, each } = size;
  const out = new Float64Array(height * width * each).fill(Number.NaN);
  const [first, length] = vertical ? [at.top, at.height] : [at.left, at.width];
  for (let y = at.top; y < at.top + at.height; y++) {
    for (let x0 = at.left; x0 < at.left + at.width; x0++) {
      const place = vertical ? y : x0;
      const [from, to] = [Math.max(place - radius, first), Math.min(place + radius, first + length - 1)];
      for (let c = 0; c < each; c++) {
        let sum = 0;
        for (let k = from; k <= to; k++) sum += x[((vertical ? k : y) * width + (vertical ? x0 : k)) * each + c]!;
        out[(y * width + x0) * each + c] = sum / (to - from + 1);
      }
    }
  }
  return out;
}

/** The 21 products of a pixel that the fit takes means of, as guided_moments.wgsl orders them, and three zeros. */
export function products(i: readonly number[], q: readonly number[]): number[] {
  const pairs = [0, 1, 2].flatMap((a) => [0, 1, 2].filter((b) => b >= a).map((b) => i[a]! * i[b]!));
  const cross = q.flatMap((painted) => i.map((guide) => guide * painted));
  return [...i, ...q, ...pairs, ...cross, 0, 0, 0];
}

/** Solves a 3 × 3 system by Gaussian elimination with pivots. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, i) => [...row, right[i]!]);
  for (let k = 0; k < 3; k++) {
    const pivot = [...rows.keys()].slice(k).reduce((a, b) => (Math.abs(rows[b]![k]!) > Math.abs(rows[a]![k]!) ? b : a));
    [rows[k], rows[pivot]] = [rows[pivot]!, rows[k]!];
    for (let i = k + 1; i < 3; i++) {
      const factor = rows[i]![k]! / rows[k]![k]!;
      for (let j = k; j < 4; j++) rows[i]![j]! -= factor * rows[k]![j]!;
    }
  }
  const x = [0, 0, 0];
  for (let i = 2; i >= 0; i--) {
    let sum = rows[i]![3]!;
    for (let j = i + 1; j < 3; j++) sum -= rows[i]![j]! * x[j]!;
    x[i] = sum / rows[i]![i]!;
  }
  return x;
}

/** From a pixel's 21 means: (A_rc, A_gc, A_bc, b_c) for c of r, g, b. */
export function fitMap(means: Numbers, epsilon: number): number[] {
  const m = Array.from(means);
  const [i, q] = [m.slice(0, 3), m.slice(3, 6)];
  const place = [
    [6, 7, 8],
    [7, 9, 10],
    [8, 10, 11],
  ];
  const covariance = place.map((row, a) => row.map((at, b) => m[at]! - i[a]! * i[b]! + (a === b ? epsilon : 0)));
  return q.flatMap((mean, c) => {
    const cross = i.map((guide, a) => m[12 + 3 * c + a]! - guide * mean);
    const a = solve(covariance, cross);
    return [...a, mean - a.reduce((sum, value, k) => sum + value * i[k]!, 0)];
  });
}

/** The smoothed maps [height, width, 12] of images [height, width, 3] in [0, 1]. */
export function coefficients(
  content: Numbers,
  painted: Numbers,
  size: { height: number; width: number },
  at: Rectangle,
  radius: number,
  epsilon: number,
) {
  const { height, width } = size;
  const all = new Float64Array(height * width * 24);
  for (let k = 0; k < height * width; k++) {
    const of = (x: Numbers) => [x[3 * k]!, x[3 * k + 1]!, x[3 * k + 2]!];
    all.set(products(of(content), of(painted)), 24 * k);
  }
  const box = (x: Numbers, each: number) =>
    boxAlong(boxAlong(x, { height, width, each }, at, radius, false), { height, width, each }, at, radius, true);
  const means = box(all, 24);
  const maps = new Float64Array(height * width * 12).fill(Number.NaN);
  for (let y = at.top; y < at.top + at.height; y++)
    for (let x = at.left; x < at.left + at.width; x++) {
      const k = y * width + x;
      maps.set(fitMap(means.subarray(24 * k, 24 * (k + 1)), epsilon), 12 * k);
    }
  return box(maps, 12);
}

/** The soft tissue weight of a colour in [0, 1]. */
export function tissueWeight(rgb: readonly number[], white: readonly number[] = [1, 1, 1]): number {
  const v = rgb.map((value, c) => Math.log(Math.max(value / white[c]!, 1 / 255)));
  const dark = -(v[0]! + v[1]! + v[2]!) / 3;
  const x = Math.max(...v) - Math.min(...v) + 0.5 * Math.max(0, dark - 0.25);
  const t = Math.min(1, Math.max(0, (x - 0.04) / 0.06));
  return t * t * (3 - 2 * t);
}
