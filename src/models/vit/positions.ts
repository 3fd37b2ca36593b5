/**
 * Position embeddings for another grid than they were trained for, as DINO has it (`interpolate_pos_encoding`, Caron et al., arXiv
 * 2104.14294): bicubic (A = -0.75), the border replicated, no antialiasing, and source = (i + ½) / scale - ½ with scale = (size +
 * 0.1) / side. timm's, which antialiases and takes the sizes alone, has nothing in common with it on rough tables.
 */

const A = -0.75;

/** Weights of the four neighbours at -1, 0, 1, 2 of a place `t` in [0, 1) behind the second. */
function cubic(t: number): [number, number, number, number] {
  const near = (x: number) => ((A + 2) * x - (A + 3)) * x * x + 1;
  const far = (x: number) => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;
  return [far(t + 1), near(t), near(1 - t), far(2 - t)];
}

/** What `size` places along an axis take of its `side` trained ones: [size, side], at most four weights a row. */
export function resizeAxis(size: number, side: number): Float64Array {
  const matrix = new Float64Array(size * side);
  const scale = (size + 0.1) / side;
  for (let i = 0; i < size; i++) {
    const source = (i + 0.5) / scale - 0.5;
    const first = Math.floor(source);
    for (const [k, weight] of cubic(source - first).entries()) {
      const at = Math.min(Math.max(first - 1 + k, 0), side - 1);
      matrix[i * side + at]! += weight;
    }
  }
  return matrix;
}

/**
 * Resizes a table of positions.
 * @param table [1 + side², width], CLS first, which keeps its row
 * @returns [1 + rows · columns, width]; the table itself where the grid is its own
 */
export function resizePositions(table: Float32Array, width: number, side: number, rows: number, columns: number): Float32Array {
  if (rows === side && columns === side) return table;
  const [down, across] = [resizeAxis(rows, side), resizeAxis(columns, side)];
  // Along one axis after the other: [side, columns, width], then [rows, columns, width].
  const wide = new Float64Array(side * columns * width);
  for (let y = 0; y < side; y++)
    for (let column = 0; column < columns; column++)
      for (let x = 0; x < side; x++) {
        const weight = across[column * side + x]!;
        if (weight === 0) continue;
        const [from, to] = [(1 + y * side + x) * width, (y * columns + column) * width];
        for (let i = 0; i < width; i++) wide[to + i]! += weight * table[from + i]!;
      }
  const resized = new Float64Array(rows * columns * width);
  for (let row = 0; row < rows; row++)
    for (let y = 0; y < side; y++) {
      const weight = down[row * side + y]!;
      if (weight === 0) continue;
      const [from, to] = [y * columns * width, row * columns * width];
      for (let i = 0; i < columns * width; i++) resized[to + i]! += weight * wide[from + i]!;
    }
  const out = new Float32Array(width + resized.length);
  out.set(table.subarray(0, width));
  out.set(resized, width);
  return out;
}
