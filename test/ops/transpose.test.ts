import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { planTranspose } from "../../src/ops/rows.js";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { SOURCES, type TransposeCase, transposeCases, transposeOp } from "./transpose.case.js";

const gpu = gpuOfThisFile();

describe.each(SOURCES)("transpose of %s", (source) => {
  const run = (one: TransposeCase, on: Gpu, profile: Profile) =>
    check(on, transposeOp.setup({ ...one, source }, profile), `transpose, ${one.name}`);

  it.each(tested(transposeCases))("%s", (_, one) => run(one, gpu(), gpu().profile));

  it.each(tested(transposeCases))("to float16: %s", async (_, one) => {
    const float16 = inTier(gpu(), "f16");
    await run(one, float16, float16.profile);
  });

  it("spreads more blocks than one side of the grid holds", () =>
    run({ name: "a narrow grid", rows: 165, cols: 132 }, gpu(), narrow(gpu().profile, 7)));
});

it("transpose refuses rows that do not fit", () => {
  for (const [rows, paddedRows, cols] of [
    [5, 4, 4],
    [5, 6, 4],
    [4, 4, 6],
  ] as const) {
    expect(() => planTranspose({ rows, paddedRows, cols, source: "f32" }, gpu().profile)).toThrow(RangeError);
  }
});
