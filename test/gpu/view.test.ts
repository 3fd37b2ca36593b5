import { expect, it } from "vitest";
import { columnsOf, isAligned8, numbersOf, rowsOf, view } from "../../src/gpu/view.js";

const buffer = {} as GPUBuffer;
const matrix = view(buffer, "elem", 10, 16, { first: 32, stride: 24 });

it("a view of a whole buffer begins at its start, and its rows follow one another", () => {
  expect(view(buffer, "f32", 3, 8)).toEqual({ buffer, type: "f32", rows: 3, cols: 8, first: 0, stride: 8 });
});

it("rows of a matrix begin a stride apart, and go to its end where no count is given", () => {
  expect(rowsOf(matrix, 3, 2)).toEqual({ ...matrix, rows: 2, first: 32 + 3 * 24 });
  expect(rowsOf(matrix, 3)).toEqual({ ...matrix, rows: 7, first: 32 + 3 * 24 });
  expect(rowsOf(matrix, 0)).toEqual(matrix);
});

it("columns of a matrix keep its stride", () => {
  expect(columnsOf(matrix, 8, 4)).toEqual({ ...matrix, cols: 4, first: 40 });
});

it("rows of columns are columns of rows", () => {
  expect(rowsOf(columnsOf(matrix, 4, 8), 2, 5)).toEqual(columnsOf(rowsOf(matrix, 2, 5), 4, 8));
});

it("numbers in a row are one row", () => {
  expect(numbersOf(buffer, 7)).toEqual({ buffer, type: "f32", rows: 1, cols: 7, first: 0, stride: 7 });
  expect(numbersOf(buffer, 8, 5, "elem")).toEqual({ buffer, type: "elem", rows: 1, cols: 8, first: 5, stride: 8 });
});

it("a matrix is aligned where both its start and its stride are multiples of 8", () => {
  expect(isAligned8(matrix)).toBe(true);
  expect(isAligned8(matrix, columnsOf(matrix, 4, 8))).toBe(false);
  expect(isAligned8(view(buffer, "elem", 2, 4, { stride: 12 }))).toBe(false);
  expect(isAligned8()).toBe(true);
});
