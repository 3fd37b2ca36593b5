import { describe, expect, it } from "vitest";
import { pick } from "../../src/gpu/call.js";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { assertClose } from "../support/compare.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check, checkParts, runOp } from "../support/run-op.js";
import { SLOW } from "../support/slow.js";
import { geluOracle } from "./gelu.case.js";
import { type LinearCase, linearBackwardCases, linearCases, linearOp } from "./linear.case.js";

const gpu = gpuOfThisFile();

async function run(on: Gpu, one: LinearCase, profile: Profile, choice?: string) {
  const setup = linearOp.setup(one, profile);
  const plan = pick(setup.call.candidates, choice);
  await check(on, setup, `${plan.variant.kernel}, ${profile.tier}, ${one.name}`, plan);
  return plan.variant;
}

describe.each(FAMILIES)("linear, kernels for %s", (family, of) => {
  it.each(tested(linearCases))("%s", async (_, one) => {
    await run(gpu(), one, of(gpu().profile));
  });

  it("gives GELU to the resolution of f32 everywhere, not only where it is large", async () => {
    const one = linearCases.find(({ data }) => data === "gelu")!;
    const [outcome] = await runOp(gpu(), linearOp.setup(one, of(gpu().profile)));
    const { size, expected } = linearOp.setup({ ...one, epilogue: "none" }, of(gpu().profile)).results[0]!;
    const sums = Float64Array.from({ length: size }, (_, at) => expected(at));
    // erf as the kernels have it is good to 1.5e-7, and one or two roundings: x/2 times that, at the sum that f32 can hold.
    assertClose(outcome!.numbers, sums.map(geluOracle), `${family} GELU`, {
      bound: 0,
      slack: (at) => 3e-7 * Math.abs(sums[at]!) + 1e-9,
      place: (at) => `x = ${sums[at]}`,
    });
    expect(Math.min(...sums)).toBeLessThan(-9);
    expect(Math.max(...sums)).toBeGreaterThan(9);
  });
});

/** Sums of float16 numbers are exact to f32's own rounding, so the bound of f32 holds in 16-bit tiers; only results may be rounded. */
describe.each(FAMILIES)("linear in float16, kernels for %s", (_family, of) => {
  it.each(tested(linearCases))("%s", async (_, one) => {
    const float16 = inTier(gpu(), "f16");
    await run(float16, { ...one, result: one.epilogue === "residual" ? "f32" : "elem" }, of(float16.profile));
  });
});

describe("linear on matrix units", () => {
  it.each(tested(linearCases))("%s", async (_, one) => {
    const matrix = inTier(gpu(), "matrix");
    await run(matrix, one, matrix.profile);
    if (one.epilogue !== "residual") await run(matrix, { ...one, result: "elem" }, matrix.profile);
  });

  it("is what most cases of suitable sizes take, in every kind of epilogue", () => {
    const { profile } = inTier(gpu(), "matrix");
    const kernelOf = (one: LinearCase) => pick(linearOp.setup(one, profile).call.candidates).variant.kernel;
    const taken = tested(linearCases).filter(([, one]) => kernelOf(one) === "linear_matrix");
    expect(new Set(taken.map(([, { epilogue }]) => epilogue)).size).toBe(4);
    expect(taken.length).toBeGreaterThan(8);
  });

  it("gives the same with every tile that a tuner may choose", async () => {
    const matrix = inTier(gpu(), "matrix");
    const sizes = { rows: 150, depth: 96, cols: 200, epilogue: "table", period: 7 } as const;
    const one: LinearCase = { name: "all tiles", ...sizes, result: "elem" };
    const names = linearOp.setup(one, matrix.profile).call.candidates.map(({ name }) => name);
    expect(names.length).toBeGreaterThanOrEqual(4);
    for (const name of SLOW ? names : names.slice(0, 2)) await run(matrix, one, matrix.profile, name);
  });
});

it("takes 2, 4 and 8 rows a lane on GPUs, and all of them are among the cases", () => {
  const profile = { ...gpu().profile, software: false };
  const rows = tested(linearCases).map(([, one]) => pick(linearOp.setup(one, profile).call.candidates).variant.constants.ROWS);
  expect([...new Set(rows)].sort()).toEqual([2, 4, 8]);
});

describe.each(FAMILIES)("a GEMM times a derivative, kernels for %s", (_family, of) => {
  it.each(
    tested(linearBackwardCases).flatMap(([name, one]) => (["f32", "f16"] as const).map((tier) => [name, tier, one] as const)),
  )("%s, in %s", async (_name, tier, one) => {
    const on = inTier(gpu(), tier);
    await run(on, one, of(on.profile));
  });
});

describe.each(FAMILIES)("a GEMM in bands of rows, kernels for %s", (_family, of) => {
  const cut: LinearCase[] = [
    ...linearCases.filter(({ name }) => /offsets and gaps|a sequence to|residual rows b/.test(name)),
    // What a table repeats stays whole: bands are multiples of its period.
    ...linearCases.filter(({ name }) => /with its table|longer than the rows|begins anywhere/.test(name)),
    ...linearBackwardCases,
  ];

  it.each(tested(cut))("%s", async (name, one) => {
    const setup = linearOp.setup(one, of(gpu().profile));
    const { count, unit, of: band } = setup.call.bands!;
    expect(count).toBe(one.rows);
    const half = Math.min(count, unit * Math.ceil(count / unit / 2));
    const parts = half < count ? [band(0, half), band(half, count - half)] : [band(0, half)];
    await checkParts(gpu(), setup, `${name}, in ${parts.length} bands`, parts);
  });
});
