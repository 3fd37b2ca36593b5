import { beforeAll, describe, expect, it } from "vitest";
import { rolled, separate } from "../../src/models/stylizing-vit/batch-shape.js";
import { LOSS_NAMES as LOSS_TERMS } from "../../src/models/stylizing-vit/losses.js";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { type Case, checkGradients, gradientsOf, isZero, loadCase, normError, open, thinGradients } from "./golden.js";

const gpu = gpuOfThisFile();
let one: Case;
beforeAll(async () => {
  one = await loadCase("nano");
});

describe("nano", () => {
  it("gives PyTorch's losses and gradients, every image's stream computed once", async () => {
    const device = await open(one, gpu());
    checkGradients(one, await gradientsOf(device, [[rolled(one.batch, one.batch), one.images(0)]]));
    device.dispose();
  });

  it("gives the same whatever is computed twice: separate styles, parts of a batch, recomputed layers", async () => {
    const planes = one.images(0);
    const each = planes.length / 3;
    const image = (i: number) => planes.subarray((i % 3) * each, ((i % 3) + 1) * each);
    const join = (...parts: Float32Array[]) => Float32Array.from(parts.flatMap((part) => [...part]));
    const expected = await thinGradients(one, gpu());
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
    const expected = await thinGradients(one, gpu());
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
