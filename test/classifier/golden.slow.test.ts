import "./golden.test.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Classifier } from "../../src/index.js";
import { goldenFolder, relativeError } from "../support/fixtures.js";
import { loadVitGolden } from "../support/vit.js";

const MINUTES = 60_000;

/** Of the largest value: a whole model in f32, and what 16 bits leave of twelve layers. */
const BOUNDS = { f32: 5e-5, f16: 1e-2, matrix: 1e-2 } as const;

// The published size at the published length, with weights that need no file. Matrix units are emulated.
describe.each(Object.entries(BOUNDS))("deit-small in %s", (precision, bound) => {
  beforeAll(() => {
    process.env.STYLIZING_VIT_MATRIX = "emulation";
  });
  afterAll(() => {
    delete process.env.STYLIZING_VIT_MATRIX;
  });

  it.skipIf(!goldenFolder("deit-small"))(
    "meets PyTorch",
    async () => {
      const { config, model: name, tensors, height, width } = await loadVitGolden("deit-small");
      await using model = await Classifier.load(name, {
        config,
        adapter: "software",
        precision: precision as keyof typeof BOUNDS,
      });
      expect(model.report.tier).toBe(precision);
      const result = await model.forward(tensors.get("pixels")!, height, width);
      for (const output of ["logits", "attention"] as const) {
        const error = relativeError(result[output], tensors.get(output)!);
        process.stdout.write(`deit-small in ${precision}: ${output} off by ${error.toExponential(1)} of the largest value\n`);
        expect(error, output).toBeLessThanOrEqual(bound);
        if (precision !== "f32") expect(error, output).toBeGreaterThan(1e-5);
      }
    },
    20 * MINUTES,
  );
});
