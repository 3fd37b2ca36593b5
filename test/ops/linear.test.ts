import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { linearCandidates } from "../../src/ops/linear.js";
import { assertClose } from "../support/compare.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { runOp } from "../support/run-op.js";
import { type LinearCase, linearCases, tested } from "./cases.js";
import { gelu } from "./oracles.js";
import { setUpLinear } from "./setups.js";

const gpu = gpuOfThisFile();

async function check(on: Gpu, one: LinearCase, profile: Profile, result: "f32" | "elem" = "f32", choice?: string) {
  const op = setUpLinear(one, profile, result, choice);
  const numbers = op.numbers(await runOp(on, op));
  assertClose(numbers, op.reference(), `${op.plan.variant.kernel}, ${profile.tier}, ${one.name}`, op);
  return op.plan.variant;
}

describe.each(FAMILIES)("linear, kernels for %s", (family, of) => {
  it.each(tested(linearCases))("%s", async (_, one) => {
    await check(gpu(), one, of(gpu().profile));
  });

  it("gives GELU to the resolution of f32 everywhere, not only where it is large", async () => {
    const one = linearCases.find(({ data }) => data === "gelu")!;
    const op = setUpLinear(one, of(gpu().profile));
    const result = op.numbers(await runOp(gpu(), op));
    const sums = setUpLinear({ ...one, epilogue: "none" }, of(gpu().profile)).reference();
    // erf as the kernels have it is good to 1.5e-7, and one or two roundings: x/2 times that, at the sum that f32 can hold.
    assertClose(result, sums.map(gelu), `${family} GELU`, {
      bound: 0,
      slack: (at) => 3e-7 * Math.abs(sums[at]!) + 1e-9,
      place: (at) => `x = ${sums[at]}`,
    });
    expect(Math.min(...sums)).toBeLessThan(-9);
    expect(Math.max(...sums)).toBeGreaterThan(9);
  });
});

/** Sums of halves are exact to f32's own rounding, so the bound of f32 holds in 16-bit tiers; only results may be rounded. */
describe.each(FAMILIES)("linear in halves, kernels for %s", (_family, of) => {
  it.each(tested(linearCases))("%s", async (_, one) => {
    const half = inTier(gpu(), "f16");
    await check(half, one, of(half.profile), one.epilogue === "residual" ? "f32" : "elem");
  });
});

describe("linear on matrix units", () => {
  it.each(tested(linearCases))("%s", async (_, one) => {
    const matrix = inTier(gpu(), "matrix");
    await check(matrix, one, matrix.profile);
    if (one.epilogue !== "residual") await check(matrix, one, matrix.profile, "elem");
  });

  it("is what most cases of suitable sizes take, in every kind of epilogue", () => {
    const { profile } = inTier(gpu(), "matrix");
    const taken = tested(linearCases).filter(([, one]) => setUpLinear(one, profile).plan.variant.kernel === "linear_matrix");
    expect(new Set(taken.map(([, { epilogue }]) => epilogue)).size).toBe(4);
    expect(taken.length).toBeGreaterThan(8);
  });

  it("gives the same with every tile that a tuner may choose", async () => {
    const matrix = inTier(gpu(), "matrix");
    const one: LinearCase = { name: "all tiles", rows: 150, depth: 96, cols: 200, epilogue: "table", period: 7 };
    const names = linearCandidates({ ...one, result: "elem" }, matrix.profile).map(({ name }) => name);
    expect(names.length).toBeGreaterThanOrEqual(4);
    for (const name of names) await check(matrix, one, matrix.profile, "elem", name);
  });
});

it("takes 2, 4 and 8 rows a lane on GPUs, and all of them are among the cases", () => {
  const profile = { ...gpu().profile, software: false };
  const rows = tested(linearCases).map(([, one]) => setUpLinear(one, profile).plan.variant.constants.ROWS);
  expect([...new Set(rows)].sort()).toEqual([2, 4, 8]);
});
