import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { view } from "../../src/gpu/view.js";
import { crossEntropy } from "../../src/ops/classification.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { Random } from "../support/random.js";
import { check } from "../support/run-op.js";
import { normals, slopeError } from "../support/slopes.js";
import {
  type CrossEntropyCase,
  crossEntropyCases,
  crossEntropyGradient,
  crossEntropyOf,
  crossEntropyOp,
} from "./cross-entropy.case.js";

const gpu = gpuOfThisFile();

const run = (one: CrossEntropyCase, on: Gpu, profile: Profile) =>
  check(on, crossEntropyOp.setup(one, profile), `cross-entropy, ${one.name}`);

describe.each(FAMILIES)("cross-entropy, workgroups for %s", (_, of) => {
  it.each(tested(crossEntropyCases))("%s", (_, one) => run(one, gpu(), of(gpu().profile)));

  it.each(tested(crossEntropyCases))("gradients in float16: %s", async (_, one) => {
    const float16 = inTier(gpu(), "f16");
    await run(one, float16, of(float16.profile));
  });

  it("spreads more rows than one side of the grid holds", () =>
    run({ name: "a narrow grid", rows: 16 * 17 + 1, classes: 6, weighted: true }, gpu(), narrow(of(gpu().profile), 5)));
});

describe("the oracle of the gradient is the slope of the loss's", () => {
  it.each([
    [1, 0, 0],
    [2, 0, 1],
    [5, 0, 4],
    [5, 0.1, 2],
    [7, 1, 3],
    [40, 0.3, 0],
  ])("%i classes, smoothing %d, label %i", (classes, smoothing, label) => {
    const random = new Random(`${classes} ${smoothing} ${label}`);
    const logits = normals(random, classes, 2);
    const row = { logits, label, classWeights: random.uniforms(classes, 0.2, 3), smoothing };
    const gradient = crossEntropyGradient(row);
    // The loss of a single class is zero wherever its logit lies.
    if (classes === 1) expect([crossEntropyOf(row), ...gradient]).toEqual([0, 0]);
    else expect(slopeError(logits, gradient, () => crossEntropyOf(row))).toBeLessThan(1e-8);
  });

  it("and the loss's is the textbook's", () => {
    const row = { logits: [Math.log(1), Math.log(3), Math.log(4)], classWeights: [1, 1, 1], label: 1, smoothing: 0 };
    expect(crossEntropyOf(row)).toBeCloseTo(-Math.log(3 / 8), 14);
    expect(crossEntropyOf({ ...row, classWeights: [5, 2, 7] })).toBeCloseTo(-2 * Math.log(3 / 8), 14);
    const smoothed = crossEntropyOf({ ...row, classWeights: [5, 2, 7], smoothing: 0.3 });
    expect(smoothed).toBeCloseTo(-5 * 0.1 * Math.log(1 / 8) - 2 * 0.8 * Math.log(3 / 8) - 7 * 0.1 * Math.log(4 / 8), 14);
  });
});

it("cross-entropy refuses more classes than a row has columns, and none", () => {
  const buffer = {} as GPUBuffer;
  const matrix = (cols: number) => view(buffer, "f32", 2, cols);
  const of = (classes: number, logits: number, gradient: number) => () =>
    crossEntropy(gpu().profile, {
      ...{ classes, targets: buffer, classWeights: buffer, partials: matrix(2), smoothing: 0, lossScale: 1 },
      logits: matrix(logits),
      gradient: matrix(gradient),
    });
  expect(of(5, 4, 8)).toThrow(RangeError);
  expect(of(5, 8, 4)).toThrow(RangeError);
  expect(of(0, 8, 8)).toThrow(RangeError);
  expect(of(5, 8, 8)).not.toThrow();
});
