/**
 * A matrix inside a buffer: `rows` rows of `cols` numbers, `stride` apart, from number `first` on. `elem` numbers are as wide as
 * the tier keeps activations, `f32` ones are wide in every tier.
 */
export interface View {
  readonly buffer: GPUBuffer;
  readonly type: "f32" | "elem";
  readonly rows: number;
  readonly cols: number;
  readonly first: number;
  readonly stride: number;
}

/** A buffer that holds one matrix, or a part of one where `first` and `stride` say so. */
export function view(
  buffer: GPUBuffer,
  type: View["type"],
  rows: number,
  cols: number,
  { first = 0, stride = cols }: { first?: number; stride?: number } = {},
): View {
  return { buffer, type, rows, cols, first, stride };
}

/** Rows [first, first + count) of a matrix; all that follow where no count is given. */
export function rowsOf(matrix: View, first: number, count = matrix.rows - first): View {
  return { ...matrix, rows: count, first: matrix.first + first * matrix.stride };
}

/** Columns [first, first + count) of a matrix. */
export function columnsOf(matrix: View, first: number, count: number): View {
  return { ...matrix, cols: count, first: matrix.first + first };
}

/** The first of every `each` rows. */
export function everyRow(matrix: View, each: number): View {
  return { ...matrix, rows: matrix.rows / each, stride: matrix.stride * each };
}

/** Whether matrices begin and go on at multiples of 8 numbers, as matrix units need. */
export function isAligned8(...matrices: readonly View[]): boolean {
  return matrices.every(({ first, stride }) => first % 8 === 0 && stride % 8 === 0);
}

/** `count` numbers in a row. */
export function numbersOf(buffer: GPUBuffer, count: number, first = 0, type: View["type"] = "f32"): View {
  return view(buffer, type, 1, count, { first });
}
