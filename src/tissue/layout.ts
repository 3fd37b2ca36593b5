import { bell, between, mulberry32, type Random, scramble } from "../random.js";
import { direction, gradientNoise, smoothstep } from "./numeric.js";

/** What a tile shows. `"mixed"` draws one of many compositions from the seed. */
export type TissueKind = "mixed" | "lymphoid" | "stroma" | "gland" | "tumour";

/** An ellipse with a gently irregular outline, in µm. */
export interface Blob {
  x: number;
  y: number;
  /** Half axes in µm; `a` lies along the direction (`c`, `s`). */
  a: number;
  b: number;
  c: number;
  s: number;
  /** Harmonics 2, 3 and 4 of the outline (cosine and sine parts), as fractions of the radius. */
  wobble: readonly [number, number, number, number, number, number];
}

/** A gland or a vessel: a lumen (the blob) inside a wall. */
export interface Structure extends Blob {
  kind: "gland" | "vessel";
  malignant: boolean;
  /** Thickness of the epithelium or of the vessel's wall in µm. */
  wall: number;
  /** How full of red blood cells the lumen is, 0 to 1. */
  blood: number;
}

/** How one tile is composed; all lengths in µm, all levels are fractions of the area. */
export interface Recipe {
  tumour: number;
  stroma: number;
  /** Stroma as thin septa between cells rather than as broad fields. */
  septa: boolean;
  gap: number;
  /** Glands and vessels per 10 000 µm². */
  glands: number;
  malignantGlands: boolean;
  vessels: number;
  /** Distance of lymphocytes as a multiple of touching. */
  packing: number;
  /** Share of the stroma that lymphocytes infiltrate, and their share of the tumour. */
  infiltrate: number;
  intraepithelial: number;
  /** Mean half axis of tumour nuclei and its relative spread. */
  tumourRadius: number;
  pleomorphism: number;
  /** 0: evenly dark chromatin, 1: open, vesicular nuclei. */
  vesicular: number;
  /** Free cytoplasm between tumour nuclei. */
  cytoplasm: number;
  /** Cell borders of the tumour: negative pale (shrunken cells), positive pink membranes. */
  borders: number;
  /** White clefts between collagen bundles, 0 to 1. */
  clefts: number;
  /** Voids between lymphocytes, 0 to 1. */
  looseness: number;
  /** Direction of the collagen in turns, and how much it meanders. */
  grain: number;
  waviness: number;
  haemorrhage: number;
  /** Density of fibroblasts, and share of cells with another one below the focal plane. */
  cellularity: number;
  depth: number;
  /** Pale crescents around shrunken tumour nuclei, 0 to 1. */
  halo: number;
  /** Mean chromatin density of lymphocytes (concentration of haematoxylin). */
  chromatin: number;
}

/** Region fields may reach this far (µm) beyond the tile, for the cells that its border cuts. */
export const MARGIN = 20;

/** Distance of the grid points of a field in µm. */
export const STEP = 2;

/** A smooth field over the tile and its margin, stored on a grid and interpolated bilinearly. */
export class Field {
  readonly columns: number;
  readonly rows: number;
  readonly values: Float32Array;

  constructor(width: number, height: number) {
    this.columns = Math.ceil((width + 2 * MARGIN) / STEP) + 2;
    this.rows = Math.ceil((height + 2 * MARGIN) / STEP) + 2;
    this.values = new Float32Array(this.columns * this.rows);
  }

  /** Fills the field with a function of the position in µm. */
  fill(value: (x: number, y: number) => number): this {
    for (let j = 0, k = 0; j < this.rows; j++) {
      for (let i = 0; i < this.columns; i++, k++) this.values[k] = value(i * STEP - MARGIN, j * STEP - MARGIN);
    }
    return this;
  }

  /** A mask that covers `level` of the area, where `shape` is highest; its edge is as soft as `softness` (in units of shape). */
  cover(level: number, softness: number, shape: (x: number, y: number) => number): this {
    const { values } = this;
    if (level <= 0 || level >= 1) {
      values.fill(level <= 0 ? 0 : 1);
      return this;
    }
    this.fill(shape);
    const sorted = values.slice().sort();
    const threshold = sorted[Math.floor((1 - level) * (sorted.length - 1))]!;
    for (let k = 0; k < values.length; k++) values[k] = smoothstep(threshold - softness, threshold + softness, values[k]!);
    return this;
  }

  at(x: number, y: number): number {
    let u = (x + MARGIN) / STEP;
    let v = (y + MARGIN) / STEP;
    u = u < 0 ? 0 : Math.min(u, this.columns - 1.001);
    v = v < 0 ? 0 : Math.min(v, this.rows - 1.001);
    const i = u | 0;
    const j = v | 0;
    return this.mix(j * this.columns + i, u - i, v - j);
  }

  /** Interpolates between the four grid points from index `k` on; all fields of a layout share their grid. */
  mix(k: number, fu: number, fv: number): number {
    const f = this.values;
    const below = k + this.columns;
    const top = f[k]! + (f[k + 1]! - f[k]!) * fu;
    const bottom = f[below]! + (f[below + 1]! - f[below]!) * fu;
    return top + (bottom - top) * fv;
  }

  /** The grid point nearest to a position, for lookups of things that cannot be interpolated. */
  nearest(x: number, y: number): number {
    const i = Math.min(Math.max(Math.round((x + MARGIN) / STEP), 0), this.columns - 1);
    const j = Math.min(Math.max(Math.round((y + MARGIN) / STEP), 0), this.rows - 1);
    return this.values[j * this.columns + i]!;
  }
}

/** Where which tissue lies, before any cell is placed. */
export interface Layout {
  width: number;
  height: number;
  recipe: Recipe;
  structures: readonly Structure[];
  tumour: Field;
  stroma: Field;
  gap: Field;
  /** Distance in µm to the outer border of the nearest structure (negative inside), at most `REACH`, and its index or -1. */
  outer: Field;
  owner: Field;
  /** Coordinates across and along the collagen fibres, in µm. */
  across: Field;
  along: Field;
  /** Slow variation of cell density and section thickness, about -1 to 1. */
  density: Field;
}

/** How far (µm) a gland or a vessel bends the fibres around it. */
export const REACH = 26;

/** Signed distance in µm from a point to the outline of a blob: exact near the outline, negative inside. */
export function distanceTo(blob: Blob, x: number, y: number): number {
  const dx = x - blob.x;
  const dy = y - blob.y;
  const u = (dx * blob.c + dy * blob.s) / blob.a;
  const v = (dy * blob.c - dx * blob.s) / blob.b;
  const q = Math.sqrt(u * u + v * v) + 1e-6;
  const c1 = u / q;
  const s1 = v / q;
  const c2 = c1 * c1 - s1 * s1;
  const s2 = 2 * c1 * s1;
  const w = blob.wobble;
  const outline =
    1 +
    w[0] * c2 +
    w[1] * s2 +
    w[2] * (c2 * c1 - s2 * s1) +
    w[3] * (s2 * c1 + c2 * s1) +
    w[4] * (c2 * c2 - s2 * s2) +
    w[5] * 2 * c2 * s2;
  const gu = c1 / blob.a;
  const gv = s1 / blob.b;
  return (q - outline) / Math.sqrt(gu * gu + gv * gv);
}

/** Six random harmonics, weaker the faster they turn, with a standard deviation of about `amount`. */
export function wobbleOf(random: Random, amount: number): Blob["wobble"] {
  const w = (k: number) => (2 * random() - 1) * 1.7 * amount * k;
  return [w(0.7), w(0.7), w(0.6), w(0.6), w(0.35), w(0.35)];
}

function recipeOf(kind: TissueKind, random: Random): Recipe {
  const r = random;
  const base: Recipe = {
    tumour: 0,
    stroma: 0,
    septa: true,
    gap: 0,
    glands: 0,
    malignantGlands: false,
    vessels: between(r, 0.2, 1),
    packing: between(r, 0.88, 1.1),
    infiltrate: between(r, 0, 0.35),
    intraepithelial: between(r, 0, 0.12),
    tumourRadius: between(r, 4.4, 6.4),
    pleomorphism: between(r, 0.08, 0.24),
    vesicular: r(),
    cytoplasm: between(r, 0.3, 4.2),
    borders: between(r, -1, 1),
    clefts: between(r, 0.2, 1),
    looseness: between(r, 0.1, 1),
    grain: r(),
    waviness: between(r, 3, 9),
    haemorrhage: r() < 0.3 ? between(r, 0.05, 0.35) : 0.01,
    cellularity: between(r, 0.03, 0.26),
    depth: between(r, 0.1, 0.5),
    halo: r() < 0.5 ? 0 : between(r, 0.2, 0.9),
    chromatin: between(r, 0.78, 1),
  };
  const pick = kind === "mixed" ? r() : { lymphoid: 0.1, stroma: 0.5, gland: 0.7, tumour: 0.9 }[kind];
  if (pick < 0.36) {
    const sinus = r() < 0.35 ? between(r, 0.06, 0.22) : between(r, 0, 0.03);
    return { ...base, stroma: r() < 0.25 ? 0 : between(r, 0.05, 0.22), gap: sinus };
  }
  if (pick < 0.52 && kind === "mixed") {
    // Nests of tumour among lymphocytes: the border that a metastasis shows.
    const stroma = between(r, 0.1, 0.32);
    return { ...base, tumour: between(r, 0.25, 0.7), stroma, gap: between(r, 0, 0.05), infiltrate: between(r, 0.2, 0.5) };
  }
  if (pick < 0.66) {
    const field = { stroma: between(r, 0.6, 0.97), septa: r() < 0.3, gap: between(r, 0, 0.16), infiltrate: between(r, 0, 0.4) };
    return { ...base, ...field, vessels: between(r, 0.6, 2.4), haemorrhage: base.haemorrhage * 0.4 };
  }
  if (pick < 0.82) {
    const malignantGlands = kind === "mixed" && r() < 0.4;
    const field = { stroma: between(r, 0.85, 1), septa: false, gap: between(r, 0, 0.05), infiltrate: between(r, 0, 0.25) };
    return { ...base, ...field, malignantGlands, glands: between(r, 1.6, 3.6), vessels: between(r, 0.1, 0.6) };
  }
  const septa = { tumour: r() < 0.5 ? 1 : between(r, 0.65, 0.98), stroma: between(r, 0.04, 0.36), gap: between(r, 0, 0.06) };
  return { ...base, ...septa, vessels: between(r, 0.1, 0.5) };
}

function structuresOf(recipe: Recipe, width: number, height: number, random: Random): Structure[] {
  const area = ((width + 2 * MARGIN) * (height + 2 * MARGIN)) / 10_000;
  const placed: Structure[] = [];
  // One bucket per 100 µm keeps the search short however large the tile is; no structure is wider than that.
  const columns = Math.ceil((width + 2 * MARGIN) / 100) + 2;
  const buckets = new Map<number, Structure[]>();
  const bucketOf = (x: number, y: number) => Math.floor((y + MARGIN) / 100 + 1) * columns + Math.floor((x + MARGIN) / 100 + 1);
  const place = (kind: Structure["kind"], wanted: number) => {
    const whole = Math.floor(wanted + random());
    for (let attempt = 0, found = 0; attempt < whole * 8 && found < whole; attempt++) {
      const gland = kind === "gland";
      const size = gland ? between(random, 5, 19) : 2.5 + 9 * random() * random();
      const [c, s] = direction(gland ? random() : recipe.grain + 0.06 * bell(random));
      const stretch = gland ? between(random, 1, 1.9) : between(random, 1, 2.6);
      const wall = gland ? between(random, 10, 14) : between(random, 1.2, 2) + size * between(random, 0.05, 0.4);
      const x = between(random, -MARGIN, width + MARGIN);
      const y = between(random, -MARGIN, height + MARGIN);
      const wobble = wobbleOf(random, gland ? 0.13 : 0.09);
      const malignant = gland && recipe.malignantGlands;
      const blood = random() < 0.6 ? between(random, 0.4, 1) : 0;
      const made: Structure = {
        kind,
        malignant,
        x,
        y,
        a: size * stretch,
        b: size / Math.sqrt(stretch),
        c,
        s,
        wobble,
        wall,
        blood,
      };
      const home = bucketOf(x, y);
      let free = true;
      for (let dy = -1; dy <= 1 && free; dy++) {
        for (let dx = -1; dx <= 1 && free; dx++) {
          for (const other of buckets.get(home + dy * columns + dx) ?? []) {
            const near = distanceTo(other, x, y) - other.wall - made.wall - (made.a + made.b) / 2;
            if (near < 4) free = false;
          }
        }
      }
      if (!free) continue;
      found++;
      placed.push(made);
      const bucket = buckets.get(home);
      if (bucket) bucket.push(made);
      else buckets.set(home, [made]);
    }
  };
  place("gland", recipe.glands * area);
  place("vessel", recipe.vessels * area);
  return placed;
}

/** Composes the tissue of a tile of `width` × `height` µm. */
export function layoutOf(kind: TissueKind, seed: number, width: number, height: number): Layout {
  const random = mulberry32(seed);
  const recipe = recipeOf(kind, random);
  const noise = gradientNoise(scramble(seed, 1));
  const field = () => new Field(width, height);
  // Domain warping: straight noise has round blobs, warped noise has bays and tongues.
  const bend = (x: number, y: number) => noise(x / 38 + 31.7, y / 38 + 5.1);
  const warped = (x: number, y: number, scale: number, shift: number) => {
    const u = x + 22 * bend(x, y);
    const v = y + 22 * bend(y + 71, x - 13);
    return noise(u / scale + shift, v / scale - shift) + 0.35 * noise((u * 2.3) / scale - shift, (v * 2.3) / scale + shift);
  };
  const tumour = field().cover(recipe.tumour, 0.03, (x, y) => warped(x, y, 85, 11.3) + 0.04 * noise(x / 6, y / 6));
  const stromaShape = recipe.septa
    ? (x: number, y: number) => -Math.abs(warped(x, y, 62, 47.9)) - 0.16 * noise(x / 90, y / 90)
    : (x: number, y: number) => warped(x, y, 75, 83.2);
  const stroma = field().cover(recipe.stroma, 0.05, (x, y) => stromaShape(x, y) + 0.03 * noise(x / 5 + 9, y / 5));
  const gapShape = (x: number, y: number) => warped(x, y, 48, 137.6) + 0.12 * noise(x / 7, y / 7 + 4);
  const gap = field().cover(recipe.gap, 0.05, gapShape);
  const density = field().fill((x, y) => 1.6 * noise(x / 34 + 7.7, y / 34 + 3.3) + 0.9 * noise(x / 13, y / 13 + 21.5));

  const structures = structuresOf(recipe, width, height, random);
  const outer = field();
  const owner = field();
  outer.values.fill(REACH);
  owner.values.fill(-1);
  for (const [index, shape] of structures.entries()) {
    const reach = 1.5 * Math.max(shape.a, shape.b) + shape.wall + REACH;
    const i0 = Math.max(0, Math.floor((shape.x - reach + MARGIN) / STEP));
    const i1 = Math.min(outer.columns - 1, Math.ceil((shape.x + reach + MARGIN) / STEP));
    const j0 = Math.max(0, Math.floor((shape.y - reach + MARGIN) / STEP));
    const j1 = Math.min(outer.rows - 1, Math.ceil((shape.y + reach + MARGIN) / STEP));
    for (let j = j0; j <= j1; j++) {
      for (let i = i0; i <= i1; i++) {
        const d = distanceTo(shape, i * STEP - MARGIN, j * STEP - MARGIN) - shape.wall;
        const k = j * outer.columns + i;
        if (d >= outer.values[k]!) continue;
        outer.values[k] = d;
        owner.values[k] = index;
      }
    }
  }
  const [c, s] = direction(recipe.grain);
  const across = field().fill((x, y) => {
    const near = 1 - outer.at(x, y) / REACH;
    const turn = noise(x / 60 + 3, y / 60 + 91) + 0.17 * noise(x / 17 + 17, y / 17);
    // Close to a gland or a vessel this term is the steepest, so that fibres run around it.
    return y * c - x * s + recipe.waviness * 2 * turn + (near > 0 ? 17 * near * near : 0);
  });
  const along = field().fill((x, y) => x * c + y * s + 6 * noise(x / 40 + 55, y / 40));
  return { width, height, recipe, structures, tumour, stroma, gap, outer, owner, across, along, density };
}
