/** What the fast and the slow tests of the ladders share. */
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { AttentionSize, LinearSize, Step } from "../../bench/ladder/ladder.js";
import { BOUNDS, type Problem, resultOf } from "../../bench/ladder/problem.js";
import { assertClose } from "../support/compare.js";

export const root = fileURLToPath(new URL("../../", import.meta.url));

/** Smaller than a tile, one past each step's tile on every side, and whole tiles. */
export const LINEAR_SIZES: LinearSize[] = [
  { rows: 1, depth: 4, cols: 4 },
  { rows: 13, depth: 20, cols: 28 },
  { rows: 129, depth: 12, cols: 132 },
  { rows: 65, depth: 68, cols: 68 },
  { rows: 128, depth: 32, cols: 128 },
  { rows: 37, depth: 48, cols: 80 },
  { rows: 193, depth: 64, cols: 136 },
];
/** One token, one past a tile of keys, one past a workgroup of queries. */
export const ATTENTION_SIZES: AttentionSize[] = [
  { sequences: 2, tokens: 1, heads: 1 },
  { sequences: 2, tokens: 33, heads: 3 },
  { sequences: 1, tokens: 65, heads: 2 },
];

export async function compare<Size>(steps: readonly Step<Size>[], problem: Problem<Size>): Promise<void> {
  const reference = Float64Array.from({ length: problem.count }, (_, at) => problem.expected(at));
  let ran = 0;
  try {
    for (const step of steps) {
      if (step.refuses(problem.size)) continue;
      ran++;
      const result = await resultOf(problem, step, await problem.bind(step));
      assertClose(result, reference, `${step.name}, ${problem.shape}`, { bound: BOUNDS[step.storage] });
    }
  } finally {
    problem.dispose();
  }
  expect(ran).toBeGreaterThan(5);
}
