import { describe, expect, it } from "vitest";
import type { VitConfig } from "../../src/models/vit/config.js";
import { vitParameters } from "../../src/models/vit/parameters.js";
import { dropFactors, VitTask } from "../../src/models/vit/task.js";
import { VIT_TRAINING } from "../../src/models/vit/training.js";
import { TrainingDevice } from "../../src/train/device.js";
import { ADAMW } from "../../src/train/types.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { Random } from "../support/random.js";

const gpu = gpuOfThisFile();
const config: VitConfig = {
  ...{ kind: "vit", image_size: 16, in_channels: 1, patch_size: 8, embed_dim: 20, depth: 2, num_heads: 2, mlp_ratio: 2 },
  ...{ qkv_bias: true, num_classes: 3 },
};
const EACH = 256;
const random = new Random("drop path");
const weights = new Map(
  [...vitParameters(config).parameters.initial(1)].map(([key, values]) => [
    key,
    values.map((x) => x + 0.1 * random.normals(1)[0]!),
  ]),
);
const pixels = random.normals(3 * EACH);
const LABELS = [0, 2, 1];

/** Losses and gradients of images with factors of their own; without them nothing is dropped. */
async function run(
  images: readonly number[],
  of: ReadonlyMap<string, Float32Array>,
  factors?: (branch: number, image: number) => number,
  recompute = false,
) {
  const terms = [{ name: "crossEntropy", weight: 1 }];
  const recipe = factors ? { dropPath: 0.5 } : {};
  const task = new VitTask(gpu(), config, { terms, batch: images.length, recompute, recipe, lossScale: 1 });
  const shape = { images: images.length };
  const device = await TrainingDevice.create(gpu(), task, {
    ...{ largest: shape, constants: { ...ADAMW, weightDecay: 0 }, clip: Number.POSITIVE_INFINITY, tune: "off" as const },
  });
  try {
    device.writeWeights(of);
    await device.clear();
    const planes = Float32Array.from(images.flatMap((image) => [...pixels.subarray(image * EACH, (image + 1) * EACH)]));
    const beside = task.beside(
      images.map((image) => LABELS[image]!),
      { ...shape, first: 0 },
    );
    const own = factors && {
      [VIT_TRAINING.factors]: Float32Array.from({ length: 4 * images.length }, (_, at) =>
        factors(Math.floor(at / images.length), images[at % images.length]!),
      ),
    };
    await device.run(shape, planes, true, { ...beside, ...own });
    await device.unfold();
    return { loss: (await device.losses()).crossEntropy!, gradients: await device.gradients() };
  } finally {
    device.dispose();
  }
}

const norm = (values: Iterable<number>) => Math.sqrt([...values].reduce((sum, x) => sum + x * x, 0));
function expectClose(actual: ReadonlyMap<string, Float32Array>, expected: ReadonlyMap<string, Float32Array>): void {
  // Of the whole gradient: keys' biases have none but rounding.
  const whole = norm([...expected.values()].flatMap((values) => [...values]));
  for (const [key, values] of expected)
    expect(norm(values.map((x, i) => x - actual.get(key)![i]!)) / whole, key).toBeLessThan(1e-5);
}

/** Matrices whose results are a branch: attention's projection and the MLP's second, block after block. */
const BRANCHES = ["blocks.0.attn.proj", "blocks.0.mlp.fc2", "blocks.1.attn.proj", "blocks.1.mlp.fc2"];

describe("drop path", () => {
  it.each([false, true])("scales a branch as its last matrix would; activation checkpointing: %s", async (recompute) => {
    // Where all images have one factor, y = x + f · (W a + b) is the model with f · W and f · b.
    const factors = [1.25, 0, 2, 0.5];
    const dropped = await run([0, 1, 2], weights, (branch) => factors[branch]!, recompute);
    const scaled = new Map(weights);
    for (const [branch, key] of BRANCHES.entries())
      for (const what of ["weight", "bias"])
        scaled.set(
          `${key}.${what}`,
          weights.get(`${key}.${what}`)!.map((x) => factors[branch]! * x),
        );
    const { loss, gradients } = await run([0, 1, 2], scaled);
    for (const [branch, key] of BRANCHES.entries())
      for (const what of ["weight", "bias"])
        gradients.set(
          `${key}.${what}`,
          gradients.get(`${key}.${what}`)!.map((x) => factors[branch]! * x),
        );
    expect(dropped.loss).toBeCloseTo(loss, 5);
    expectClose(dropped.gradients, gradients);
  });

  it("gives every image of a batch factors of its own", async () => {
    const factors = (branch: number, image: number) => [1, 0, 1.5, 0.25, 2, 0.75][(branch + 2 * image) % 6]!;
    const together = await run([0, 1, 2], weights, factors);
    const each: Awaited<ReturnType<typeof run>>[] = [];
    for (const image of [0, 1, 2]) each.push(await run([image], weights, factors));
    expect(together.loss).toBeCloseTo(
      each.reduce((sum, { loss }) => sum + loss / 3, 0),
      5,
    );
    const mean = new Map(
      [...together.gradients].map(([key, values]) => [
        key,
        values.map((_, i) => each.reduce((sum, { gradients }) => sum + gradients.get(key)![i]! / 3, 0)),
      ]),
    );
    expectClose(together.gradients, mean);
  });

  it("draws factors whose rates grow with depth, the same for a part as for the whole", () => {
    const about = { seed: 3, step: 11, first: 0, images: 4000 };
    const all = dropFactors({ depth: 3 }, 0.4, about);
    for (const [branch, rate] of [0, 0, 0.2, 0.2, 0.4, 0.4].entries()) {
      const own = all.subarray(branch * 4000, (branch + 1) * 4000);
      const kept = own.filter((factor) => factor > 0);
      expect(new Set(kept)).toEqual(new Set([Math.fround(1 / (1 - rate))]));
      // Six deviations of a binomial share.
      expect(Math.abs(1 - kept.length / 4000 - rate)).toBeLessThanOrEqual(6 * Math.sqrt((rate * (1 - rate)) / 4000));
    }
    const part = dropFactors({ depth: 3 }, 0.4, { ...about, first: 100, images: 5 });
    for (let branch = 0; branch < 6; branch++)
      expect(part.subarray(branch * 5, branch * 5 + 5)).toEqual(all.slice(branch * 4000 + 100, branch * 4000 + 105));
    expect(dropFactors({ depth: 3 }, 0.4, { ...about, step: 12 })).not.toEqual(all);
  });
});
