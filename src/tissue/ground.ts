import { scramble } from "../random.js";
import { type Layout, MARGIN, STEP } from "./layout.js";
import { type Noise, smoothstep } from "./numeric.js";

/** One pixel: its place in, its tissue out. A single object is reused for all pixels. */
export interface Spot {
  /** Position in µm. */
  x: number;
  y: number;
  /** Noise with humps of about 1, 3 and 11 µm. */
  fine: number;
  middle: number;
  wide: number;
  /** Distances (µm) to the outlines of the nearest two cells, and the index of the nearest. */
  d1: number;
  d2: number;
  index: number;
  /** The distance to the nearest cell below which nothing between the cells can be seen. */
  buried: number;

  haematoxylin: number;
  eosin: number;
  /** Above 0.5 in tumour. */
  tumour: number;
  /** How much of what lies between the cells has been torn away, 0 to 1. */
  torn: number;
}

/** Collagen: wavy bundles, finer fibres in them, and the white clefts that processing tears between them. */
function collagen(noise: Noise, layout: Layout, across: number, along: number, wide: number, dust: number): number {
  const bundle = noise(along / 24 + 2.5, across / 4.6);
  const fibre = noise(along / 11 + 61, across / 1.9 + 13);
  const fibril = noise(along / 5 + 33, across / 0.95 + 71);
  const tear = Math.abs(noise(along / 42 + 91, across / 6.5 + 43));
  // Clefts open and close: none runs on for ever.
  const open = 0.9 * layout.recipe.clefts * smoothstep(-0.3, 0.3, wide + 0.7 * bundle);
  const cleft = open * smoothstep(0.15, 0, tear - 0.04 * fibre - 0.05 * bundle + 0.02);
  // Fibres are distinct in some places and a felt in others.
  const distinct = 0.75 + 1.1 * wide + 0.5 * bundle;
  return (0.48 + 0.22 * bundle + (0.2 * fibre + 0.16 * fibril) * Math.max(distinct, 0.1) + 0.16 * dust) * (1 - cleft);
}

/** Makes the function that paints everything but nuclei into a spot. */
export function groundOf(layout: Layout, noise: Noise): (spot: Spot) => void {
  const { recipe, structures } = layout;
  return (spot) => {
    const { x, y, fine, middle, wide, d1, d2, index, buried } = spot;
    const u = (x + MARGIN) / STEP;
    const v = (y + MARGIN) / STEP;
    const column = Math.floor(u);
    const row = Math.floor(v);
    const fu = u - column;
    const fv = v - row;
    const k = row * layout.stroma.columns + column;
    let stroma = layout.stroma.mix(k, fu, fv);
    let tumour = layout.tumour.mix(k, fu, fv) * (1 - stroma);
    const outer = layout.outer.mix(k, fu, fv) + 0.5 * middle;
    if (d1 < buried && outer > 14) {
      // A nucleus will hide all of this.
      spot.tumour = tumour;
      spot.torn = 0;
      return;
    }
    const thin = layout.density.mix(k, fu, fv);
    const opening = layout.gap.mix(k, fu, fv) + 0.2 * middle + 0.05 * fine;
    let empty = smoothstep(0.35, 0.75, opening);

    // Between lymphocytes: a torn mesh of processes and cytoplasm.
    const tear = recipe.looseness * (0.55 + 0.5 * smoothstep(-0.7, 0.7, -thin)) - 0.42;
    const hole = smoothstep(-0.2, 0.3, middle + 0.4 * wide + 0.16 * fine + tear) * smoothstep(0.2, 1.3, d1);
    let e = (0.3 + 0.16 * wide + 0.1 * middle + 0.1 * fine) * (1 - 0.9 * hole);
    let h = (0.17 + 0.07 * middle + 0.06 * fine) * (1 - 0.92 * hole);

    if (tumour > 0.01) {
      // Granular cytoplasm, paler or denser along the borders of the cells.
      const between = smoothstep(0.9, 0, d2 - d1 + 0.5 * middle) * smoothstep(0.8, 2.2, d1);
      const away = smoothstep(0, 8, d1);
      const tint = 0.82 + 0.36 * ((scramble(index, 77) & 255) / 255);
      const halo =
        1 - recipe.halo * smoothstep(1.7, 0.6, d1) * smoothstep(-0.3, 0.4, d1) * smoothstep(-0.15, 0.3, wide + 0.6 * middle);
      const grains = noise(x / 1.7 + 44, y / 1.7 + 15);
      const et =
        (0.37 * tint + 0.16 * wide + 0.15 * middle + 0.16 * grains - 0.12 * away * middle + between * 0.2 * recipe.borders) *
        halo;
      const ht = (0.2 * tint + 0.1 * middle + 0.08 * grains + 0.07 * wide + between * 0.1 * recipe.borders) * halo;
      e += tumour * (et - e);
      h += tumour * (ht - h);
      const vacuole = smoothstep(0.42, 0.6, noise(x / 7 + 83, y / 7 + 41) + 0.2 * middle) * smoothstep(2, 5, d1);
      empty = Math.max(empty, 0.85 * tumour * vacuole);
    }
    let wall = 0;
    if (outer < 14) {
      // Collagen wraps every gland and vessel.
      const sheath = smoothstep(12, 2, outer + 5 * wide);
      if (sheath > stroma) stroma = Math.max(sheath * (1 - tumour), stroma);
      wall = smoothstep(0.5, -0.5, outer);
    }
    if (stroma > 0.01) {
      const dust = 0.6 * fine + 0.7 * middle;
      const fibres = collagen(noise, layout, layout.across.mix(k, fu, fv), layout.along.mix(k, fu, fv), wide, dust);
      e += stroma * (fibres * (1 + 0.25 * wide) - e);
      h += stroma * ((0.03 + 0.1 * fibres) * (1 + 0.8 * wide) - h);
    }
    if (wall > 0) {
      const shape = structures[layout.owner.nearest(x, y)];
      if (shape) {
        const lumen = outer + shape.wall;
        const gland = shape.kind === "gland";
        const apex = gland ? smoothstep(4, 0.5, lumen) : 0;
        const ew = gland
          ? 0.34 + 0.12 * middle + 0.1 * fine + 0.14 * apex
          : 0.56 + 0.2 * noise(outer / 0.9, wide * 3) + 0.1 * middle;
        const hw = gland ? 0.22 + 0.08 * middle + 0.05 * fine - 0.1 * apex : 0.12 + 0.04 * middle;
        // The basement membrane is a thin pink line.
        const membrane = gland ? 0.18 * smoothstep(1.4, 0.3, Math.abs(outer + 0.6)) : 0;
        e += wall * (ew + membrane - e);
        h += wall * (hw - h);
        empty *= 1 - wall;
        const inside = smoothstep(0.7, -0.7, lumen + 0.5 * fine);
        const serum = gland ? smoothstep(0, 0.5, wide + middle * 0.4) * 0.25 : shape.blood * 0.38;
        e += inside * (serum * (1 + 0.3 * wide) - e);
        h += inside * (0.02 - h);
        tumour *= 1 - wall;
        if (shape.malignant) tumour += wall * (1 - inside);
      }
    }
    // Whatever is torn away leaves the cells that still hold their own cytoplasm.
    const torn = empty * (1 - smoothstep(1.4, 0.3, d1));
    // A lining along the border, and a haze of protein inside.
    const lining = 0.16 * smoothstep(0.05, 0.35, opening) * smoothstep(0.75, 0.45, opening);
    const haze = empty * 0.05 * smoothstep(-0.3, 0.6, wide + 0.4 * middle);
    spot.eosin = e * (1 - torn) + lining + haze;
    spot.haematoxylin = h * (1 - torn);
    // A nucleus at the edge of a tear belongs to its tissue.
    spot.tumour = empty < 0.5 || d1 < 0 ? tumour : 0;
    spot.torn = torn;
  };
}
