import { scramble } from "../random.js";
import { type Cell, placeCells } from "./cells.js";
import { groundOf, type Spot } from "./ground.js";
import { layoutOf, type TissueKind } from "./layout.js";
import { deepShadow, nearestCells } from "./maps.js";
import { gradientNoise, type Noise, smoothstep } from "./numeric.js";

/** The two stain concentrations of a tile before any stain has a colour, and what is where. */
export interface Anatomy {
  haematoxylin: Float32Array;
  eosin: Float32Array;
  tumourMask: Uint8Array;
  /** Number of ones in the mask. */
  tumourArea: number;
  cells: readonly Cell[];
}

/** Paints one cell over the ground: its body, its chromatin, its nucleoli. */
function paintCell(spot: Spot, cell: Cell, noise: Noise, soft: number): void {
  const { fine, middle, d1, d2, index } = spot;
  let h = spot.haematoxylin;
  let e = spot.eosin;
  if (cell.kind === "red cell") {
    // A disc that is thin in the middle.
    const cover = smoothstep(soft, -soft, d1);
    const disc = cell.dark * (1 - 0.3 * smoothstep(-0.8, -2.4, d1)) + 0.12 * middle;
    spot.eosin = e + cover * (disc - e);
    spot.haematoxylin = h + cover * (0.04 - h);
    return;
  }
  if (cell.kind === "lymphocyte") {
    const rim = 0.75 * smoothstep(1.3, 0.2, d1 + 0.5 * middle);
    e += rim * (0.3 + 0.08 * fine - e);
    h += rim * (0.27 - h);
  }
  // Nuclei that touch flatten against each other and keep a faint line of light between them.
  const split = 1 - 0.55 * smoothstep(0.55, 0, d2 - d1) * smoothstep(-1.6, -0.1, d1);
  const cover = smoothstep(soft, -soft, d1 + 0.25 * fine) * split;
  if (cover > 0) {
    const dx = spot.x - cell.x;
    const dy = spot.y - cell.y;
    const drift = index * 3.7;
    const coarse = noise(dx / cell.clump + drift, dy / cell.clump - drift);
    const clumps = smoothstep(-0.5, 0.6, coarse + 0.45 * noise(dx / 0.8, drift + dy / 0.8) + 0.25 * middle);
    const membrane = cell.rim * smoothstep(0.85, 0.1, Math.abs(d1 + 0.5));
    let hn = cell.dark * (1 + cell.mottle * (1.1 * clumps - 0.75)) + membrane;
    let en = 0.2 + 0.08 * fine;
    for (let n = 0; n < cell.nucleoli.length; n += 3) {
      const ox = dx - cell.nucleoli[n]!;
      const oy = dy - cell.nucleoli[n + 1]!;
      const core = smoothstep(1.25, 0.6, Math.sqrt(ox * ox + oy * oy) / cell.nucleoli[n + 2]!);
      hn += 0.38 * core;
      en += 0.28 * core;
    }
    h += cover * (hn - h);
    e += cover * (en - e);
  }
  spot.haematoxylin = h;
  spot.eosin = e;
}

/** Paints the anatomy of a seed: a pure function of kind, seed and geometry. */
export function paintAnatomy(kind: TissueKind, seed: number, width: number, height: number, mpp: number): Anatomy {
  const layout = layoutOf(kind, seed, width * mpp, height * mpp);
  const { cells, deep } = placeCells(layout, seed);
  const shadow = deepShadow(deep, width, height, mpp);
  const nearest = nearestCells(cells, width, height, mpp);
  const noise = gradientNoise(scramble(seed, 3));
  const ground = groundOf(layout, noise);
  const haematoxylin = new Float32Array(width * height);
  const eosin = new Float32Array(width * height);
  const tumourMask = new Uint8Array(width * height);
  let tumourArea = 0;
  const blank = { haematoxylin: 0, eosin: 0, tumour: 0, torn: 0 };
  const spot: Spot = { x: 0, y: 0, fine: 0, middle: 0, wide: 0, d1: 0, d2: 0, index: -1, buried: -99, ...blank };
  for (let j = 0, p = 0; j < height; j++) {
    spot.y = (j + 0.5) * mpp;
    const y = spot.y;
    for (let i = 0; i < width; i++, p++) {
      const x = (i + 0.5) * mpp;
      spot.x = x;
      spot.fine = noise(x / 0.9, y / 0.9 + 7);
      spot.middle = noise(x / 3.1 + 19, y / 3.1);
      spot.wide = noise(x / 11 + 5, y / 11 + 29);
      spot.d1 = nearest.first[p]!;
      spot.d2 = nearest.second[p]!;
      spot.index = nearest.cell[p]!;
      const cell = spot.index < 0 ? undefined : cells[spot.index];
      // An outline sharper than a pixel would show stairs.
      const soft = cell ? Math.max(cell.soft, 0.6 * mpp) : 0;
      spot.buried = cell && cell.kind !== "red cell" ? -Math.max(1.6, soft + 0.25) : -99;
      ground(spot);
      if (spot.tumour > 0.5) {
        tumourMask[p] = 1;
        tumourArea++;
      }
      const under = shadow[p]! * (1 - spot.torn);
      spot.haematoxylin += Math.min(under, 0.6);
      if (cell && spot.d1 < 2.5) paintCell(spot, cell, noise, soft);
      // The thickness of the section varies slowly.
      const thickness = 1 + 0.07 * layout.density.at(x, y) + 0.05 * spot.wide;
      haematoxylin[p] = spot.haematoxylin > 0 ? spot.haematoxylin * thickness : 0;
      eosin[p] = spot.eosin > 0 ? spot.eosin * thickness : 0;
    }
  }
  return { haematoxylin, eosin, tumourMask, tumourArea, cells };
}
