import { mulberry32, shuffle } from "../random.js";

/**
 * Noise and the few transcendental functions of the tissue painter. Everything is made of integer arithmetic, `+ - * /` and
 * `Math.sqrt`, which IEEE 754 and ECMAScript pin down to the last bit. `Math.sin`, `Math.exp` and `Math.pow` are not pinned
 * down, and one flipped bit in an overlap test would move a whole nucleus on another machine.
 */

/** Smooth noise over the plane: zero mean, standard deviation about 0.3, practically within [-1, 1], one hump per unit. */
export type Noise = (x: number, y: number) => number;

/** A unit vector at `turns` full turns from the x axis. Close to, not exactly, `(cos, sin)`: the norm is exact. */
export function direction(turns: number): readonly [number, number] {
  const t = turns - Math.floor(turns);
  const half = t < 0.5 ? t : t - 0.5;
  const p = 16 * half * (0.5 - half);
  // Bhaskara's approximation of the sine of half a turn, and the cosine by the same formula a quarter turn later.
  const sine = ((t < 0.5 ? 1 : -1) * 4 * p) / (5 - p);
  const later = t + 0.25 - Math.floor(t + 0.25);
  const other = later < 0.5 ? later : later - 0.5;
  const q = 16 * other * (0.5 - other);
  const cosine = ((later < 0.5 ? 1 : -1) * 4 * q) / (5 - q);
  const norm = Math.sqrt(sine * sine + cosine * cosine);
  return [cosine / norm, sine / norm];
}

/** Gradient noise after Perlin, with a permutation drawn from the seed. It repeats after 256 units. */
export function gradientNoise(seed: number): Noise {
  const random = mulberry32(seed);
  const table = new Uint8Array(512);
  for (let i = 0; i < 256; i++) table[i] = i;
  shuffle(table.subarray(0, 256), random);
  table.copyWithin(256, 0, 256);
  const gx = new Float64Array(256);
  const gy = new Float64Array(256);
  for (let i = 0; i < 256; i++) {
    const [c, s] = direction(i / 256);
    gx[i] = 1.4 * c;
    gy[i] = 1.4 * s;
  }
  return (x, y) => {
    const fx = Math.floor(x);
    const fy = Math.floor(y);
    const u = x - fx;
    const v = y - fy;
    const ix = fx & 255;
    const iy = fy & 255;
    const left = table[ix]!;
    const right = table[(ix + 1) & 255]!;
    const a = table[left + iy]!;
    const b = table[right + iy]!;
    const c = table[left + iy + 1]!;
    const d = table[right + iy + 1]!;
    const na = gx[a]! * u + gy[a]! * v;
    const nb = gx[b]! * (u - 1) + gy[b]! * v;
    const nc = gx[c]! * u + gy[c]! * (v - 1);
    const nd = gx[d]! * (u - 1) + gy[d]! * (v - 1);
    const su = u * u * u * (u * (u * 6 - 15) + 10);
    const sv = v * v * v * (v * (v * 6 - 15) + 10);
    const top = na + (nb - na) * su;
    const bottom = nc + (nd - nc) * su;
    return top + (bottom - top) * sv;
  };
}

/** 0 below `low`, 1 above `high`, smooth between; `low > high` gives the falling step. */
export function smoothstep(low: number, high: number, x: number): number {
  let t = (x - low) / (high - low);
  t = t < 0 ? 0 : Math.min(t, 1);
  return t * t * (3 - 2 * t);
}

/** e to the power of x, the same bits on every machine. */
export function exponential(x: number): number {
  const k = Math.floor(x / Math.LN2 + 0.5);
  const r = x - k * Math.LN2;
  let sum = 1;
  for (let n = 14; n >= 1; n--) sum = 1 + (sum * r) / n;
  for (let i = 0; i < k; i++) sum *= 2;
  for (let i = 0; i > k; i--) sum /= 2;
  return sum;
}

/** The natural logarithm of a positive number, the same bits on every machine. */
export function logarithm(x: number): number {
  let k = 0;
  let m = x;
  for (; m > 1.5; k++) m /= 2;
  for (; m < 0.75; k--) m *= 2;
  const z = (m - 1) / (m + 1);
  let sum = 0;
  for (let n = 25; n >= 1; n -= 2) sum = sum * z * z + 1 / n;
  return 2 * z * sum + k * Math.LN2;
}
