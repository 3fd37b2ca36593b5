import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { resizeAxis, resizePositions } from "../../src/models/vit/positions.js";
import { goldenFolder, relativeError } from "../support/fixtures.js";
import { readTensors } from "../support/vit.js";

/** DINO's rule, written once more: for each place of the new grid the sixteen trained ones around it, with `scale` as its code has it. */
function expected(table: Float32Array, width: number, side: number, rows: number, columns: number, more = 0.1): Float64Array {
  const a = -0.75;
  const kernel = (x: number) => {
    const t = Math.abs(x);
    if (t <= 1) return (a + 2) * t ** 3 - (a + 3) * t ** 2 + 1;
    return t < 2 ? a * t ** 3 - 5 * a * t ** 2 + 8 * a * t - 4 * a : 0;
  };
  const inside = (i: number) => Math.min(Math.max(i, 0), side - 1);
  const out = new Float64Array((1 + rows * columns) * width);
  out.set(table.subarray(0, width));
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const y = ((row + 0.5) * side) / (rows + more) - 0.5;
      const x = ((column + 0.5) * side) / (columns + more) - 0.5;
      for (let dy = Math.floor(y) - 1; dy <= Math.floor(y) + 2; dy++)
        for (let dx = Math.floor(x) - 1; dx <= Math.floor(x) + 2; dx++)
          for (let i = 0; i < width; i++)
            out[(1 + row * columns + column) * width + i]! +=
              kernel(y - dy) * kernel(x - dx) * table[(1 + inside(dy) * side + inside(dx)) * width + i]!;
    }
  return out;
}

const noise = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898) * Math.cos(i * 4.1414));

describe("positions for another grid", () => {
  it.skipIf(!goldenFolder("dino-nano"))("are PyTorch's for the small crops of dino-nano", async () => {
    const folder = goldenFolder("dino-nano")!;
    const golden = (await readTensors(join(folder, "case.safetensors"))).get("positions")!;
    const table = (await readTensors(join(folder, "weights.safetensors"))).get("student.backbone.pos_embed")!;
    expect(relativeError(resizePositions(table, 64, 4, 2, 2), golden)).toBeLessThan(1e-6);
    // Without + 0.1 they are others: this test would see it.
    expect(relativeError(expected(table, 64, 4, 2, 2, 0), golden)).toBeGreaterThan(1e-2);
  });

  it.each([
    [4, 2, 2],
    [4, 5, 7],
    [14, 6, 6],
    [14, 16, 3],
    [1, 2, 3],
  ])("from %i × itself to %i × %i follow DINO's rule, and CLS stays", (side, rows, columns) => {
    const table = noise((1 + side * side) * 5);
    const resized = resizePositions(table, 5, side, rows, columns);
    expect(relativeError(resized, expected(table, 5, side, rows, columns))).toBeLessThan(1e-6);
    expect(resized.subarray(0, 5)).toEqual(table.subarray(0, 5));
    // Four neighbours along an axis however much smaller the grid is: no antialiasing. Their weights sum to one.
    const axis = resizeAxis(rows, side);
    for (let i = 0; i < rows; i++) {
      const row = Array.from(axis.subarray(i * side, (i + 1) * side));
      expect(row.filter((weight) => weight !== 0).length).toBeLessThanOrEqual(4);
      expect(row.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
    }
  });

  it("for their own grid are themselves, and for the same number of patches in another shape are not", () => {
    const table = noise(17 * 3);
    expect(resizePositions(table, 3, 4, 4, 4)).toBe(table);
    expect(relativeError(resizePositions(table, 3, 4, 2, 8), table)).toBeGreaterThan(0.1);
  });
});
