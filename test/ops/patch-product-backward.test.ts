import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { Random } from "../support/random.js";
import { check } from "../support/run-op.js";
import { dot, expectSlopes, normals, slopes } from "../support/slopes.js";
import { NARROW } from "./maps.js";
import { patchProductOracle } from "./patch-product.case.js";
import {
  type PatchProductBackwardCase,
  patchProductBackwardCases,
  patchProductBackwardOp,
  patchProductGradient,
} from "./patch-product-backward.case.js";

const gpu = gpuOfThisFile();

describe.each(["f32", "f16"] as const)("the patch product's gradient, in %s", (tier) => {
  const run = (one: PatchProductBackwardCase, on: Gpu, profile: Profile) =>
    check(on, patchProductBackwardOp.setup(one, profile), `patch product backward, ${one.name}`);

  it.each(tested(patchProductBackwardCases))("%s", async (_, one) => {
    const on = inTier(gpu(), tier);
    await run(one, on, on.profile);
  });

  it("spreads over both sides of the grid", async () => {
    const one = { name: "a narrow grid", images: 5, imageSize: 28, channels: 3, patchSize: 7, rank: 4 };
    const on = inTier(gpu(), tier);
    await run(one, on, narrow(on.profile, NARROW));
  });
});

it("the oracle's gradient is the slope of the patch product, CLS included", () => {
  const of = { images: 2, imageSize: 6, channels: 2, patchSize: 3, rank: 2 };
  const tokens = normals(new Random("tokens"), 2 * 5 * 2 * 2 * 3 * 2);
  const d = normals(new Random("d"), 2 * 2 * 36);
  const gradient = patchProductGradient(of, d, tokens);
  expectSlopes(
    gradient,
    slopes(tokens, (x) => dot(patchProductOracle(of, x), d), 1e-3),
  );
  expect([...gradient.subarray(0, 24)]).toEqual(new Array(24).fill(0));
});
