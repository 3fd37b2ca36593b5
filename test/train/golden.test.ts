import { beforeAll, describe, expect, it } from "vitest";
import { Gpu } from "../../src/gpu/gpu.js";
import { rolled, separate } from "../../src/models/stylizing-vit/batch-shape.js";
import { LOSS_NAMES as LOSS_TERMS } from "../../src/models/stylizing-vit/losses.js";
import { gpuOfThisFile, hardwareProfile, inTier } from "../support/gpu.js";
import {
  type Case,
  checkGradients,
  fourSteps,
  type Gradients,
  gradientsOf,
  isZero,
  loadCase,
  normError,
  open,
} from "./golden.js";

const gpu = gpuOfThisFile();
const cases = {} as Record<"nano" | "grey", Case>;
beforeAll(async () => {
  cases.nano = await loadCase("nano");
  cases.grey = await loadCase("grey");
});

/** Losses and gradients of the first step with a thin VGG-19, as they are for PyTorch's: what others must give whatever their way. */
async function thinGradients(one: Case, on = gpu(), lossScale = 1): Promise<Gradients> {
  const device = await open(one, on, { thin: true, lossScale });
  const result = await gradientsOf(device, [[rolled(one.batch, one.batch), one.images(0)]]);
  device.dispose();
  return result;
}

describe("grey", () => {
  it("gives the same with the kernels of GPUs, GEMMs cut into bands and split-K", async () => {
    const one = cases.grey;
    const { device: underneath, facts, profile } = gpu();
    const on = new Gpu(underneath, facts, hardwareProfile(profile), false);
    on.flopsPerDispatch = 1e6;
    const device = await open(one, on, { thin: true });
    const program = await device.bound(rolled(2, 2), true);
    const labels = program.dispatches.map(({ label }) => label);
    expect(labels.some((label) => label.startsWith("sum_slices"))).toBe(true);
    expect(labels.filter((label) => label.includes("linear_windows")).length).toBeGreaterThan(100);
    expect(labels.some((label) => label.includes("quad"))).toBe(false);
    checkGradients(one, await gradientsOf(device, [[rolled(2, 2), one.images(0)]]), await thinGradients(one));
    await device.limitDispatches(rolled(1, 1));
    expect(on.flopsPerDispatch).toBeGreaterThan(1e6);
    expect(on.flopsPerDispatch).toBeLessThan(1e12);
    device.dispose();
    on.dispose();
  });
});

describe("nano", () => {
  it("gives PyTorch's losses and gradients, every image's stream computed once", async () => {
    const one = cases.nano;
    const device = await open(one, gpu());
    checkGradients(one, await gradientsOf(device, [[rolled(one.batch, one.batch), one.images(0)]]));
    device.dispose();
  });

  it("gives the same whatever is computed twice: separate styles, parts of a batch, recomputed layers", async () => {
    const one = cases.nano;
    const planes = one.images(0);
    const each = planes.length / 3;
    const image = (i: number) => planes.subarray((i % 3) * each, ((i % 3) + 1) * each);
    const join = (...parts: Float32Array[]) => Float32Array.from(parts.flatMap((part) => [...part]));
    const expected = await thinGradients(one);
    const device = await open(one, gpu(), { recompute: true, thin: true });
    const styles = join(image(1), image(2), image(0));
    checkGradients(one, await gradientsOf(device, [[separate(3), join(planes, styles)]]), expected);
    // Two pairs and the style of the second, then one pair.
    checkGradients(
      one,
      await gradientsOf(device, [
        [rolled(2, 3), planes],
        [rolled(1, 3), join(image(2), image(0))],
      ]),
      expected,
    );
    device.dispose();
  });

  // With a thin VGG-19; what rounding costs each gradient with the whole one, by PyTorch, stands in golden.slow.test.ts: this is the worst of it.
  it("in float16 is off by no more than twice a naive run", async () => {
    const one = cases.nano;
    const expected = await thinGradients(one);
    const { losses, gradients } = await thinGradients(one, inTier(gpu(), "f16"), 3 * 1024);
    for (const term of LOSS_TERMS) expect(Math.abs(losses[term]! / expected.losses[term]! - 1), term).toBeLessThan(2e-3);
    for (const [key, gradient] of gradients) {
      if (isZero(key)) continue;
      const error = normError(gradient, expected.gradients.get(key)!);
      expect(error, key).toBeLessThan(2 * 0.149);
      // Were it much less, these would not be float16.
      expect(error, key).toBeGreaterThan(1e-3);
    }
  });
});

describe("four steps of AdamW", () => {
  // The gradients of the first of them are held, too.
  it("grey ends where PyTorch does", async () => {
    const { errors, weights } = await fourSteps(cases.grey, gpu());
    for (const [step, { losses, norm }] of errors.entries()) {
      expect(losses, `losses of step ${step}`).toBeLessThan(1e-3);
      expect(norm, `gradient norm of step ${step}`).toBeLessThan(1e-3);
    }
    expect(weights).toBeLessThan(1e-3);
  });
});
