import { bell, between, mulberry32, type Random, scramble } from "../random.js";
import { type Blob, distanceTo, type Layout, MARGIN, type Recipe, type Structure, wobbleOf } from "./layout.js";
import { direction, smoothstep } from "./numeric.js";

/** The kinds of nuclei that are labelled. */
export type NucleusKind = "lymphocyte" | "fibroblast" | "endothelium" | "epithelium" | "tumour";

/** A nucleus, or a red blood cell, and how it takes the stain. */
export interface Cell extends Blob {
  kind: NucleusKind | "red cell";
  /** Mean concentration of haematoxylin in the nucleus; of eosin in a red blood cell. */
  dark: number;
  /** 0: even chromatin, 1: clumps on an almost empty ground. */
  mottle: number;
  /** Size of the chromatin clumps in µm. */
  clump: number;
  /** Extra concentration along the nuclear membrane. */
  rim: number;
  /** Half-width in µm of the outline's blur: cells above or below the focal plane have soft outlines. */
  soft: number;
  /** Nucleoli as offsets and radius in µm, three numbers each. */
  nucleoli: readonly number[];
  /** How far the cytoplasm reaches beyond the nucleus, in µm. */
  reach: number;
}

/** The cells of a tissue: those in the focal plane, which never overlap much, and blurred ones below it. */
export interface Population {
  cells: readonly Cell[];
  deep: readonly Cell[];
}

const BUCKET = 8;

/** Reach of the longest nucleus: nothing farther apart than twice this can touch. */
const LONGEST = 13;

/** Radius of a blob towards another point: the distance at which its ellipse ends. */
function support(blob: Blob, dx: number, dy: number, length: number): number {
  const u = ((dx * blob.c + dy * blob.s) / length) * blob.b;
  const v = ((dy * blob.c - dx * blob.s) / length) * blob.a;
  return (blob.a * blob.b) / Math.sqrt(u * u + v * v);
}

/** Cells in buckets of 8 µm, which refuse a newcomer that overlaps. */
class Crowd {
  readonly cells: Cell[] = [];
  private readonly columns: number;
  private readonly rows: number;
  private readonly first: Int32Array;
  private readonly next: number[] = [];

  constructor(width: number, height: number) {
    this.columns = Math.ceil((width + 2 * MARGIN) / BUCKET) + 1;
    this.rows = Math.ceil((height + 2 * MARGIN) / BUCKET) + 1;
    this.first = new Int32Array(this.columns * this.rows).fill(-1);
  }

  /** Whether a circle at a point has room: a cheap test that spares making the many cells that would be refused. */
  open(x: number, y: number, radius: number, spacing: number, extra: number): boolean {
    const i = Math.floor((x + MARGIN) / BUCKET);
    const j = Math.floor((y + MARGIN) / BUCKET);
    const around = Math.ceil((radius + 9 + extra) / BUCKET);
    for (let q = Math.max(0, j - around); q <= Math.min(this.rows - 1, j + around); q++) {
      for (let p = Math.max(0, i - around); p <= Math.min(this.columns - 1, i + around); p++) {
        for (let k = this.first[q * this.columns + p]!; k >= 0; k = this.next[k]!) {
          const other = this.cells[k]!;
          const dx = other.x - x;
          const dy = other.y - y;
          const near = (Math.min(other.a, other.b) + radius) * spacing + extra;
          if (dx * dx + dy * dy < near * near) return false;
        }
      }
    }
    return true;
  }

  /** Adds the cell if the centres are at least `spacing` × touching + `extra` µm apart from all others. */
  add(cell: Cell, spacing: number, extra: number): boolean {
    const i = Math.floor((cell.x + MARGIN) / BUCKET);
    const j = Math.floor((cell.y + MARGIN) / BUCKET);
    if (i < 0 || j < 0 || i >= this.columns || j >= this.rows) return false;
    const longest = Math.max(cell.a, cell.b);
    const around = Math.ceil((longest + LONGEST + extra) / BUCKET);
    for (let q = Math.max(0, j - around); q <= Math.min(this.rows - 1, j + around); q++) {
      for (let p = Math.max(0, i - around); p <= Math.min(this.columns - 1, i + around); p++) {
        for (let k = this.first[q * this.columns + p]!; k >= 0; k = this.next[k]!) {
          const other = this.cells[k]!;
          const dx = other.x - cell.x;
          const dy = other.y - cell.y;
          const square = dx * dx + dy * dy;
          const most = (longest + Math.max(other.a, other.b)) * spacing + extra;
          if (square >= most * most) continue;
          const length = Math.sqrt(square) + 1e-6;
          if (length < (support(cell, dx, dy, length) + support(other, dx, dy, length)) * spacing + extra) return false;
        }
      }
    }
    const home = j * this.columns + i;
    this.next.push(this.first[home]!);
    this.first[home] = this.cells.length;
    this.cells.push(cell);
    return true;
  }
}

const SMOOTH: Blob["wobble"] = [0, 0, 0, 0, 0, 0];

const NONE: readonly number[] = [];

/** Lymphoid cells with a mean radius above this (µm) are the large pale ones. */
const LARGE = 4.2;

/** Gives a cell the area of a circle and the proportions of an ellipse. */
function stretch(cell: Cell, radius: number, ratio: number): void {
  const root = Math.sqrt(ratio);
  cell.a = radius * root;
  cell.b = radius / root;
}

/** Draws the size and shape of a cell, which is all that its place depends on. */
function make(kind: Cell["kind"], x: number, y: number, turn: readonly [number, number], recipe: Recipe, random: Random): Cell {
  const r = random;
  // One literal for all kinds, so that the inner loops see objects of one shape.
  const place = { kind, x, y, a: 3.1, b: 3.1, c: turn[0], s: turn[1], wobble: SMOOTH };
  const cell: Cell = { ...place, dark: 0.5, mottle: 0.1, clump: 1.1, rim: 0.1, soft: 0.5, nucleoli: NONE, reach: 2.5 };
  if (kind === "red cell") {
    cell.a = between(r, 2.7, 3.5);
    cell.b = cell.a * between(r, 0.6, 1);
  } else if (kind === "lymphocyte") {
    // A few large pale cells (histiocytes, dendritic cells, blasts) between the small dark ones.
    const radius = r() < 0.06 ? between(r, LARGE + 0.1, 5.5) : Math.min(LARGE, 2.85 + 0.34 * bell(r));
    stretch(cell, radius, 1 + 0.28 * Math.abs(bell(r)));
  } else if (kind === "fibroblast") {
    cell.a = between(r, 3, 6) + 3.5 * r() * r();
    cell.b = between(r, 0.8, 1.5) + 1.1 * r() * r() * r();
  } else if (kind === "endothelium") {
    cell.a = between(r, 3, 5.6);
    cell.b = between(r, 0.8, 1.5);
  } else if (kind === "epithelium") {
    cell.b = 2.8 + 0.3 * bell(r);
    cell.a = cell.b * between(r, 1.1, 1.7);
  } else {
    const size = recipe.tumourRadius * (1 + recipe.pleomorphism * bell(r));
    const radius = size < 3.4 ? 3.4 : Math.min(size, 9);
    stretch(cell, radius, 1 + 0.3 * Math.abs(bell(r)) * (0.6 + 2 * recipe.pleomorphism));
  }
  return cell;
}

/** Draws how a cell that has found its place looks: outline, chromatin, focus. */
function dress(cell: Cell, recipe: Recipe, random: Random): Cell {
  const r = random;
  const { kind } = cell;
  const radius = Math.sqrt(cell.a * cell.b);
  // Most cells are in focus; some lie above or below the focal plane.
  cell.soft = 0.35 + 0.9 * r() * r();
  cell.dark = recipe.chromatin;
  if (kind === "red cell") {
    cell.wobble = wobbleOf(r, 0.05);
    cell.dark = between(r, 0.72, 1.1);
    cell.reach = 0.4;
  } else if (kind === "lymphocyte") {
    const large = radius > LARGE;
    cell.wobble = wobbleOf(r, 0.075);
    cell.dark *= (large ? 0.5 : 1) * (1 + 0.13 * bell(r)) * (1.08 - 0.25 * (cell.soft - 0.35));
    cell.mottle = large ? 0.6 : between(r, 0.15, 0.5);
    cell.clump = between(r, 1.1, 2.1);
    cell.rim = between(r, 0, 0.14);
    if (large && r() < 0.7) cell.nucleoli = [bell(r) * 0.9, bell(r) * 0.9, between(r, 0.5, 0.8)];
    if (large) cell.reach = 4;
  } else if (kind === "fibroblast" || kind === "endothelium") {
    const [, ...bumps] = wobbleOf(r, 0.1);
    // The second harmonic draws the ends out to points: spindles, not sausages.
    cell.wobble = [between(r, 0.02, 0.2), ...bumps];
    cell.dark *= 1 - 0.6 * Math.sqrt(r());
    cell.mottle = between(r, 0.15, 0.5);
    cell.clump = between(r, 1, 2);
    cell.rim = between(r, 0, 0.15);
  } else if (kind === "epithelium") {
    cell.wobble = wobbleOf(r, 0.045);
    cell.dark *= between(r, 0.6, 0.8);
    cell.mottle = between(r, 0.25, 0.55);
    cell.clump = between(r, 1.1, 2.2);
    cell.rim = between(r, 0.04, 0.2);
    cell.reach = 7;
  } else {
    cell.wobble = wobbleOf(r, 0.045 + 0.18 * recipe.pleomorphism);
    const open = recipe.vesicular * between(r, 0.7, 1.15);
    cell.dark *= (0.78 - 0.3 * open) * (1 + 0.16 * bell(r));
    const count = r() < 0.25 + 0.65 * open ? 1 + Math.floor(2.2 * r() * r()) : 0;
    const spots: number[] = [];
    for (let n = 0; n < count; n++) {
      spots.push(bell(r) * radius * 0.28, bell(r) * radius * 0.28, between(r, 0.6, 0.85 + 0.5 * open));
    }
    cell.nucleoli = spots;
    cell.mottle = 0.38 + 0.47 * open;
    cell.clump = between(r, 1.1, 2.6);
    cell.rim = 0.04 + 0.26 * open * between(r, 0.6, 1.2);
    cell.reach = 9;
  }
  return cell;
}

/** Nuclei around a lumen: upright ones in an epithelium, flat ones in a vessel, and the blood inside a vessel. */
function lineStructure(shape: Structure, layout: Layout, crowd: Crowd, random: Random): void {
  const { recipe } = layout;
  const gland = shape.kind === "gland";
  const round = 6.2832 * Math.sqrt((shape.a * shape.a + shape.b * shape.b) / 2);
  const rows = gland ? (shape.malignant ? 3 : 2) : shape.wall > 5 ? 2 : 1;
  for (let row = 0; row < rows; row++) {
    const depth = gland ? shape.wall * (row === 0 ? 0.62 : row === 1 ? 0.4 : 0.8) : 0.7 + row * (shape.wall - 1);
    const pitch = gland ? (shape.malignant ? 7.5 : 5) : row === 0 ? 11 : 14;
    const count = Math.max(3, Math.round((round + 6.2832 * depth) / pitch));
    for (let n = 0; n < count; n++) {
      const [u, v] = direction((n + 0.4 * bell(random)) / count);
      let nx = (u / shape.a) * shape.c - (v / shape.b) * shape.s;
      let ny = (u / shape.a) * shape.s + (v / shape.b) * shape.c;
      const norm = Math.sqrt(nx * nx + ny * ny);
      nx /= norm;
      ny /= norm;
      const onLumen = {
        x: shape.x + u * shape.a * shape.c - v * shape.b * shape.s,
        y: shape.y + u * shape.a * shape.s + v * shape.b * shape.c,
      };
      const scattered = depth + (gland ? 1.1 : 0.4) * bell(random);
      // Nuclei of an epithelium stay inside it.
      const wanted = gland ? Math.min(Math.max(scattered, 2), shape.wall - 2) : scattered;
      // The outline wobbles, the ellipse does not: correct by the distance that is off.
      const off = wanted - distanceTo(shape, onLumen.x, onLumen.y);
      const kind = gland ? (shape.malignant ? "tumour" : "epithelium") : "endothelium";
      const [tc, ts] = direction(0.03 * bell(random));
      const [ax, ay] = gland ? [nx, ny] : [-ny, nx];
      const turn = [ax * tc - ay * ts, ax * ts + ay * tc] as const;
      const cell = make(kind, onLumen.x + nx * off, onLumen.y + ny * off, turn, recipe, random);
      crowd.add(cell, gland ? 0.9 : 0.8, 0);
    }
  }
  if (gland || shape.blood === 0) return;
  const tries = Math.ceil((shape.a * shape.b * shape.blood) / 2.5);
  for (let n = 0; n < tries; n++) {
    const x = shape.x + shape.a * between(random, -1, 1);
    const y = shape.y + shape.a * between(random, -1, 1);
    const inside = distanceTo(shape, x, y);
    const cell = make("red cell", x, y, direction(random()), recipe, random);
    if (inside < -2.2) crowd.add(cell, 0.82, 0);
  }
}

/** Places all cells of a tissue: first what has a fixed place, then the large cells, then what fills the space between. */
export function placeCells(layout: Layout, seed: number): Population {
  const { width, height, recipe } = layout;
  const random = mulberry32(scramble(seed, 2));
  const crowd = new Crowd(width, height);
  for (const shape of layout.structures) lineStructure(shape, layout, crowd, random);

  /** Throws one candidate per square of `pitch` µm, several rounds over. */
  const scatter = (pitch: number, rounds: number, visit: (x: number, y: number) => void) => {
    for (let round = 0; round < rounds; round++) {
      for (let y = -MARGIN; y < height + MARGIN; y += pitch) {
        for (let x = -MARGIN; x < width + MARGIN; x += pitch) visit(x + pitch * random(), y + pitch * random());
      }
    }
  };
  const solid = (x: number, y: number) => layout.outer.at(x, y) > 1.5 && layout.gap.at(x, y) < 0.45;
  const fibres = (x: number, y: number, spread: number) => {
    const gx = layout.across.at(x + 2, y) - layout.across.at(x - 2, y);
    const gy = layout.across.at(x, y + 2) - layout.across.at(x, y - 2);
    const norm = Math.sqrt(gx * gx + gy * gy) + 1e-9;
    const [tc, ts] = direction(spread * bell(random));
    return [(gy * tc + gx * ts) / norm, (gy * ts - gx * tc) / norm] as const;
  };

  if (recipe.tumour > 0) {
    scatter(5, 4, (x, y) => {
      if (layout.tumour.at(x, y) * (1 - layout.stroma.at(x, y)) < 0.55 || !solid(x, y)) return;
      if (!crowd.open(x, y, 0.7 * recipe.tumourRadius, 0.9, 0)) return;
      const cell = make("tumour", x, y, direction(random() * random() + recipe.grain), recipe, random);
      // The cell's room: crowded in places, with plenty of cytoplasm in others.
      const room = recipe.cytoplasm * (0.5 + 1.3 * layout.density.at(x, y) + 0.7 * bell(random));
      crowd.add(cell, 0.9, Math.max(room, 0));
    });
  }
  if (recipe.stroma > 0) {
    scatter(8, 3, (x, y) => {
      if (layout.stroma.at(x, y) < 0.5 || !solid(x, y) || random() > recipe.cellularity * (1 + 1.2 * layout.density.at(x, y)))
        return;
      if (!crowd.open(x, y, 0.8, 1.05, 1.5)) return;
      crowd.add(make("fibroblast", x, y, fibres(x, y, 0.03), recipe, random), 1.05, 1.5);
    });
  }
  scatter(4, 7, (x, y) => {
    const stroma = layout.stroma.at(x, y);
    const gap = layout.gap.at(x, y);
    const thin = layout.density.at(x, y);
    const tumour = layout.tumour.at(x, y) * (1 - stroma);
    if (layout.outer.at(x, y) < 1.5) return;
    let share = 1;
    if (tumour > 0.4) share = recipe.intraepithelial * 0.06;
    else if (stroma > 0.5) share = recipe.infiltrate * smoothstep(0.15, 0.75, thin) + 0.004;
    if (gap > 0.4) share *= 0.05;
    if (random() >= share) return;
    if (random() < recipe.haemorrhage * smoothstep(0.1, 0.5, -thin) || (gap > 0.4 && random() < recipe.haemorrhage)) {
      if (crowd.open(x, y, 2, 0.85, 0)) crowd.add(make("red cell", x, y, direction(random()), recipe, random), 0.85, 0);
      return;
    }
    const spacing = recipe.packing + 0.12 * recipe.looseness * smoothstep(0, 0.8, -thin);
    const extra = recipe.looseness * 1.8 * smoothstep(0.1, 0.9, -thin) * random();
    if (!crowd.open(x, y, 2.25, spacing, extra)) return;
    const cell = make("lymphocyte", x, y, stroma > 0.4 ? fibres(x, y, 0.07) : direction(random()), recipe, random);
    crowd.add(cell, spacing, extra);
  });
  for (const cell of crowd.cells) dress(cell, recipe, random);

  // A section is thicker than the focal plane: pale, blurred nuclei show through from below, and may overlap.
  const deep: Cell[] = [];
  for (const { kind, x, y } of crowd.cells) {
    if (random() >= recipe.depth || kind === "fibroblast" || kind === "endothelium") continue;
    const [c, s] = direction(random());
    const away = between(random, 2.5, 6);
    const below = make(kind, x + c * away, y + s * away, direction(random()), recipe, random);
    if (!solid(below.x, below.y)) continue;
    dress(below, recipe, random);
    below.soft = between(random, 1.1, 2.2);
    below.dark *= between(random, 0.3, 0.6);
    below.reach = below.soft;
    deep.push(below);
  }
  return { cells: crowd.cells, deep };
}
