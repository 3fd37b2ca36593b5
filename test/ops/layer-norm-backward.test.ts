import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { Random } from "../support/random.js";
import { check } from "../support/run-op.js";
import { dot, normals, slopeError } from "../support/slopes.js";
import { layerNormOracle } from "./layer-norm.case.js";
import {
  type LayerNormBackwardCase,
  layerNormBackwardCases,
  layerNormBackwardOp,
  layerNormGradient,
} from "./layer-norm-backward.case.js";

const gpu = gpuOfThisFile();

const run = (one: LayerNormBackwardCase, on: Gpu, profile: Profile) =>
  check(on, layerNormBackwardOp.setup(one, profile), `gradient of layer norm, ${one.name}`);

describe.each(FAMILIES)("gradient of layer norm, workgroups for %s", (_, of) => {
  it.each(tested(layerNormBackwardCases))("%s", (_, one) => run(one, gpu(), of(gpu().profile)));

  it.each(tested(layerNormBackwardCases))("from float16: %s", async (_, one) => {
    const float16 = inTier(gpu(), "f16");
    await run(one, float16, of(float16.profile));
  });

  it("spreads more rows than one side of the grid holds", () =>
    run({ name: "a narrow grid", rows: 16 * 17 + 1, width: 20 }, gpu(), narrow(of(gpu().profile), 5)));
});

describe("the oracle is the slope of layer norm's", () => {
  it.each([
    [1, 2, 1],
    [2, 7, 1],
    [3, 12, 5],
    [2, 5, 0.01],
  ])("%i rows of %i with a deviation of %d", (rows, width, deviation) => {
    const random = new Random(`${rows} ${width}`);
    const x = normals(random, rows * width, deviation);
    const d = normals(random, rows * width);
    const gradient = layerNormGradient(rows, width, x, d);
    expect(slopeError(x, gradient, () => dot(d, layerNormOracle(rows, width, x)))).toBeLessThan(1e-5);
  });
});
