import type { Cell } from "./cells.js";
import { distanceTo } from "./layout.js";
import { smoothstep } from "./numeric.js";

/** For every pixel the nearest cell, and the signed distances (µm) to the outlines of the nearest two. */
export interface Nearest {
  cell: Int32Array;
  first: Float32Array;
  second: Float32Array;
}

const FAR = 30;

/** Finds the nearest cells of all pixels that lie within some cell's reach. */
export function nearestCells(cells: readonly Cell[], width: number, height: number, mpp: number): Nearest {
  const cell = new Int32Array(width * height).fill(-1);
  const first = new Float32Array(width * height).fill(FAR);
  const second = new Float32Array(width * height).fill(FAR);
  for (let k = 0; k < cells.length; k++) {
    const { x, y, a, b, c, s, wobble, reach } = cells[k]!;
    const [w0, w1, w2, w3, w4, w5] = wobble;
    const ex = 1.15 * Math.sqrt(a * a * c * c + b * b * s * s) + reach;
    const ey = 1.15 * Math.sqrt(a * a * s * s + b * b * c * c) + reach;
    const i0 = Math.max(0, Math.ceil((x - ex) / mpp - 0.5));
    const i1 = Math.min(width - 1, Math.floor((x + ex) / mpp - 0.5));
    const j0 = Math.max(0, Math.ceil((y - ey) / mpp - 0.5));
    const j1 = Math.min(height - 1, Math.floor((y + ey) / mpp - 0.5));
    for (let j = j0; j <= j1; j++) {
      const dy = (j + 0.5) * mpp - y;
      for (let i = i0; i <= i1; i++) {
        // distanceTo, spelled out: this is the innermost loop of the painter.
        const dx = (i + 0.5) * mpp - x;
        const u = (dx * c + dy * s) / a;
        const v = (dy * c - dx * s) / b;
        const q = Math.sqrt(u * u + v * v) + 1e-6;
        const c1 = u / q;
        const s1 = v / q;
        const c2 = c1 * c1 - s1 * s1;
        const s2 = 2 * c1 * s1;
        const wave =
          w0 * c2 + w1 * s2 + w2 * (c2 * c1 - s2 * s1) + w3 * (s2 * c1 + c2 * s1) + w4 * (c2 * c2 - s2 * s2) + w5 * 2 * c2 * s2;
        const gu = c1 / a;
        const gv = s1 / b;
        const d = (q - 1 - wave) / Math.sqrt(gu * gu + gv * gv);
        const p = j * width + i;
        if (d < first[p]!) {
          second[p] = first[p]!;
          first[p] = d;
          cell[p] = k;
        } else if (d < second[p]!) second[p] = d;
      }
    }
  }
  return { cell, first, second };
}

/** Haematoxylin of the nuclei below the focal plane. */
export function deepShadow(cells: readonly Cell[], width: number, height: number, mpp: number): Float32Array {
  const shadow = new Float32Array(width * height);
  for (const cell of cells) {
    const radius = 1.15 * Math.max(cell.a, cell.b) + cell.reach;
    const j1 = Math.min(height - 1, Math.floor((cell.y + radius) / mpp - 0.5));
    const i1 = Math.min(width - 1, Math.floor((cell.x + radius) / mpp - 0.5));
    for (let j = Math.max(0, Math.ceil((cell.y - radius) / mpp - 0.5)); j <= j1; j++) {
      for (let i = Math.max(0, Math.ceil((cell.x - radius) / mpp - 0.5)); i <= i1; i++) {
        const d = distanceTo(cell, (i + 0.5) * mpp, (j + 0.5) * mpp);
        if (d < cell.soft) shadow[j * width + i]! += cell.dark * smoothstep(cell.soft, -cell.soft, d);
      }
    }
  }
  return shadow;
}
