import { describe, it } from "vitest";
import type { Profile } from "../../src/gpu/profile.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { type SumSlicesCase, sumSlicesCases, sumSlicesOp } from "./sum-slices.case.js";

const gpu = gpuOfThisFile();

const run = (one: SumSlicesCase, profile: Profile) => check(gpu(), sumSlicesOp.setup(one, profile), `sum of slices, ${one.name}`);

describe("sums of slices", () => {
  it.each(tested(sumSlicesCases))("%s", (_, one) => run(one, gpu().profile));

  it("spreads over a narrow grid", () =>
    run({ name: "a narrow grid", slices: 2, count: 4 * 64 * 7 + 4 }, narrow(gpu().profile, 3)));
});
