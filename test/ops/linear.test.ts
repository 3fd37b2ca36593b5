import { describe, expect, it } from "vitest";
import { assertClose } from "../support/compare.js";
import { FAMILIES, gpuOfThisFile } from "../support/gpu.js";
import { asFloats, runOp } from "../support/run-op.js";
import { linearCases, tested } from "./cases.js";
import { gelu } from "./oracles.js";
import { setUpLinear } from "./setups.js";

const gpu = gpuOfThisFile();

describe.each(FAMILIES)("linear, kernels for %s", (family, of) => {
  it.each(tested(linearCases))("%s", async (name, one) => {
    const op = setUpLinear(one, of(gpu().profile));
    const result = asFloats(await runOp(gpu(), op));
    assertClose(result, op.reference(), `${family} linear, ${name}`, op);
  });

  it("gives GELU to the resolution of f32 everywhere, not only where it is large", async () => {
    const one = linearCases.find(({ data }) => data === "gelu")!;
    const op = setUpLinear(one, of(gpu().profile));
    const result = asFloats(await runOp(gpu(), op));
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

it("takes 2, 4 and 8 rows a lane on GPUs, and all of them are among the cases", () => {
  const profile = { ...gpu().profile, software: false };
  const rows = tested(linearCases).map(([, one]) => setUpLinear(one, profile).plan.variant.constants.ROWS);
  expect([...new Set(rows)].sort()).toEqual([2, 4, 8]);
});
