import { describe, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { type SumRowsCase, sumRowsCases, sumRowsOp } from "./sum-rows.case.js";

const gpu = gpuOfThisFile();

const run = (one: SumRowsCase, on: Gpu, profile: Profile) => check(on, sumRowsOp.setup(one, profile), `sum of rows, ${one.name}`);

describe.each(FAMILIES)("sums of rows, workgroups for %s", (_, of) => {
  it.each(tested(sumRowsCases))("%s", (_, one) => run(one, gpu(), of(gpu().profile)));

  it.each(tested(sumRowsCases))("of float16: %s", async (_, one) => {
    const float16 = inTier(gpu(), "f16");
    await run({ ...one, source: "elem" }, float16, of(float16.profile));
  });

  it("of elements that have 32 bits, over a narrow grid", () =>
    run({ name: "a narrow grid", rows: 101, cols: 20, source: "elem" }, gpu(), narrow(of(gpu().profile), 5)));
});
