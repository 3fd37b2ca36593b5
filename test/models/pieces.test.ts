import { expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { inPieces } from "../../src/models/pieces.js";

const full = () => new StylizingError("GPU", "There is no room.", "Take less.", { cause: "out-of-memory" });

it("covers everything once, a few at a time, and tells how far it is", async () => {
  const seen: [number, number][] = [];
  const told: [number, number][] = [];
  let [running, most] = [0, 0];
  await inPieces(11, { size: 3, underWay: 2, onProgress: (done, total) => told.push([done, total]) }, async (from, items) => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, 1));
    running--;
    seen.push([from, items]);
  });
  expect(seen).toEqual([
    [0, 3],
    [3, 3],
    [6, 3],
    [9, 2],
  ]);
  expect(told.at(-1)).toEqual([11, 11]);
  expect(most).toBe(2);
});

it("halves what does not fit, and goes on with the smaller size", async () => {
  const seen: [number, number][] = [];
  const smaller: [number, number][] = [];
  await inPieces(
    10,
    { size: 8, underWay: 1, onSmaller: (size, tooLarge) => smaller.push([size, tooLarge]) },
    async (from, items) => {
      if (items > 2) throw full();
      seen.push([from, items]);
    },
  );
  expect(seen).toEqual([0, 2, 4, 6, 8].map((from) => [from, 2]));
  expect(smaller).toEqual([
    [4, 8],
    [2, 4],
  ]);
});

it("passes on what a single item fails with, other failures at once, and an abort", async () => {
  await expect(
    inPieces(4, { size: 2, underWay: 1 }, async () => {
      throw full();
    }),
  ).rejects.toThrow("There is no room.");
  const tried: number[] = [];
  await expect(
    inPieces(4, { size: 2, underWay: 1 }, async (from) => {
      tried.push(from);
      throw new Error("something else");
    }),
  ).rejects.toThrow("something else");
  expect(tried).toEqual([0]);
  const controller = new AbortController();
  const told: number[] = [];
  const run = inPieces(
    6,
    { size: 1, underWay: 2, signal: controller.signal, onProgress: (done) => told.push(done) },
    async (from) => {
      if (from === 2) controller.abort(new Error("enough"));
      await new Promise((resolve) => setTimeout(resolve, 1));
    },
  );
  await expect(run).rejects.toThrow("enough");
  const before = told.length;
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(told.length).toBe(before);
});
