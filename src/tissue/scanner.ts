import { foldSeed, mulberry32 } from "../random.js";
import { type Hospital, jitterHospital, type Triple } from "./hospitals.js";
import { direction, exponential, logarithm } from "./numeric.js";

/** Optical densities per step of the table below, and the density that counts as opaque. */
const DENSITY_STEPS = 512;
const DENSITY_MAX = 5;

/** Transmitted light by optical density (Beer–Lambert: 10 to the power of minus the density). */
const TRANSMITTANCE = Float64Array.from({ length: DENSITY_MAX * DENSITY_STEPS + 2 }, (_, i) =>
  exponential((-Math.LN10 * i) / DENSITY_STEPS),
);

const RESPONSE_STEPS = 1024;

function response(gamma: number): Float64Array {
  return Float64Array.from({ length: RESPONSE_STEPS + 2 }, (_, i) =>
    i === 0 ? 0 : exponential(gamma * logarithm(i / RESPONSE_STEPS)),
  );
}

function unit([r, g, b]: Triple, strength: number): Triple {
  const norm = strength / Math.sqrt(r * r + g * g + b * b);
  return [r * norm, g * norm, b * norm];
}

/** Blurs one plane with a Gaussian of `sigma` pixels; the borders repeat. */
function blur(plane: Float32Array, width: number, height: number, sigma: number): Float32Array {
  if (sigma < 0.2) return plane.slice();
  const radius = Math.ceil(2 * sigma + 0.2);
  const kernel = Float64Array.from({ length: radius + 1 }, (_, i) => exponential((-i * i) / (2 * sigma * sigma)));
  let sum = kernel[0]!;
  for (let r = 1; r <= radius; r++) sum += 2 * kernel[r]!;
  for (let r = 0; r <= radius; r++) kernel[r] = kernel[r]! / sum;
  const line = new Float32Array(width + 2 * radius);
  const rows = new Float32Array(plane.length);
  for (let y = 0; y < height; y++) {
    const row = y * width;
    line.fill(plane[row]!, 0, radius);
    for (let x = 0; x < width; x++) line[radius + x] = plane[row + x]!;
    line.fill(plane[row + width - 1]!, radius + width);
    for (let x = 0; x < width; x++) {
      const at = radius + x;
      let v = kernel[0]! * line[at]!;
      for (let r = 1; r <= radius; r++) v += kernel[r]! * (line[at - r]! + line[at + r]!);
      rows[row + x] = v;
    }
  }
  const out = new Float32Array(plane.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) out[y * width + x] = kernel[0]! * rows[y * width + x]!;
    for (let r = 1; r <= radius; r++) {
      const up = (y < r ? 0 : y - r) * width;
      const down = (y + r < height ? y + r : height - 1) * width;
      for (let x = 0; x < width; x++) out[y * width + x]! += kernel[r]! * (rows[up + x]! + rows[down + x]!);
    }
  }
  return out;
}

/**
 * Stains two concentration maps and scans them: optical densities, transmitted light, optics, scanner, 8 bits.
 * @param seed draws this tile's deviation from the hospital, its noise and the direction of its illumination
 * @returns `[height, width, 3]` bytes
 */
export function scan(
  haematoxylin: Float32Array,
  eosin: Float32Array,
  width: number,
  height: number,
  micronsPerPixel: number,
  hospital: Hospital,
  seed: number,
): Uint8Array {
  const tile = jitterHospital(hospital, seed);
  const hs = unit(tile.haematoxylin, tile.haematoxylinStrength);
  const es = unit(tile.eosin, tile.eosinStrength);
  const random = mulberry32(foldSeed(seed, 0x5ca));
  const [lx, ly] = direction(random());
  const planes: Float32Array[] = [];
  const sigma = tile.blur / micronsPerPixel;
  for (let channel = 0; channel < 3; channel++) {
    const plane = new Float32Array(width * height);
    for (let y = 0, p = 0; y < height; y++) {
      for (let x = 0; x < width; x++, p++) {
        const density = haematoxylin[p]! * hs[channel]! + eosin[p]! * es[channel]!;
        const t = Math.min(density, DENSITY_MAX) * DENSITY_STEPS;
        const k = t | 0;
        const light = TRANSMITTANCE[k]! + (TRANSMITTANCE[k + 1]! - TRANSMITTANCE[k]!) * (t - k);
        const slope = 0.5 + 0.5 * (lx * ((2 * x) / width - 1) + ly * ((2 * y) / height - 1)) * Math.SQRT1_2;
        plane[p] = light * (1 - tile.illumination * slope);
      }
    }
    const seen = blur(plane, width, height, sigma);
    if (tile.sharpening > 0) {
      const softer = blur(seen, width, height, 1.2 * Math.max(sigma, 0.5));
      for (let p = 0; p < seen.length; p++) seen[p]! += tile.sharpening * (seen[p]! - softer[p]!);
    }
    planes.push(seen);
  }
  const curve = response(tile.gamma);
  const record = (light: number) => {
    const t = (tile.glare + (1 - tile.glare) * light) * RESPONSE_STEPS;
    const bounded = t < 0 ? 0 : Math.min(t, RESPONSE_STEPS);
    const k = bounded | 0;
    return curve[k]! + (curve[k + 1]! - curve[k]!) * (bounded - k);
  };
  const [red, green, blue] = planes as [Float32Array, Float32Array, Float32Array];
  const [wr, wg, wb] = tile.whitePoint;
  const data = new Uint8Array(width * height * 3);
  // The difference of two bytes is triangular noise with a standard deviation of 104.5.
  const grain = tile.noise / 104.5;
  for (let p = 0, k = 0; p < red.length; p++, k += 3) {
    const r = record(red[p]!) * wr;
    const g = record(green[p]!) * wg;
    const b = record(blue[p]!) * wb;
    const grey = 0.3 * r + 0.59 * g + 0.11 * b;
    const bits = (random() * 0x1_0000_0000) >>> 0;
    const more = (random() * 0x1_0000_0000) >>> 0;
    data[k] = byte(grey + tile.saturation * (r - grey) + grain * ((bits & 255) - ((bits >>> 8) & 255)));
    data[k + 1] = byte(grey + tile.saturation * (g - grey) + grain * (((bits >>> 16) & 255) - (bits >>> 24)));
    data[k + 2] = byte(grey + tile.saturation * (b - grey) + grain * ((more & 255) - ((more >>> 8) & 255)));
  }
  return data;
}

function byte(v: number): number {
  return v < 0 ? 0 : v > 255 ? 255 : Math.floor(v + 0.5);
}
