import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { VitEngine } from "../../src/classifier/engine.js";
import { Gpu } from "../../src/gpu/gpu.js";
import { Checkpoint } from "../../src/hub/checkpoint.js";
import { HashedWeights } from "../../src/hub/hashed.js";
import { Classifier } from "../../src/index.js";
import { MODEL_TOLERANCE } from "../../src/models/stylizing-vit/tolerance.js";
import { vitShapes } from "../../src/models/vit/parameters.js";
import { goldenFolder, relativeError } from "../support/fixtures.js";
import { FAMILIES, gpuOfThisFile } from "../support/gpu.js";
import { SLOW } from "../support/slow.js";
import { loadVitGolden, readTensors, type VitGolden, VitOracle } from "../support/vit.js";

// Values that PyTorch computed with the reference model. The bound is that of a whole model in f32; what is seen is about 1e-6.
const BOUND = 5e-5;
const OUTPUTS = ["logits", "tokens", "attention"] as const;

/** The error of each output that the case has, of the largest value. */
const errors = (result: Record<(typeof OUTPUTS)[number], ArrayLike<number>>, { tensors }: VitGolden) =>
  Object.fromEntries(
    OUTPUTS.filter((name) => tensors.has(name)).map((name) => [name, relativeError(result[name], tensors.get(name)!)]),
  );

const show = (...what: unknown[]) => {
  if (process.env.SHOW_ERRORS) console.log(...what);
};

describe.each([
  ["vit-nano", "case"],
  // 40 × 56 pixels: positions are resized, to a grid that is not square.
  ["vit-nano", "wide"],
  ["vit-grey", "case"],
])("%s, %s, in f32", (name, file) => {
  const gpu = gpuOfThisFile();
  it.skipIf(!goldenFolder(name)).each(FAMILIES)("meets PyTorch on %s kernels", async (_, family) => {
    const golden = await loadVitGolden(name, file);
    const { profile, device, facts } = gpu();
    const checkpoint = await Checkpoint.open(golden.model);
    const engine = await VitEngine.create(new Gpu(device, facts, family(profile), false), golden.config, checkpoint);
    try {
      const { batch: images, height, width } = golden;
      const pixels = golden.tensors.get("pixels")!;
      const result = await engine.run({ images, height, width, input: "planes", tokens: true, attention: true, pixels });
      const found = errors(result, golden);
      show(name, file, found);
      expect(Object.keys(found)).toEqual([...OUTPUTS]);
      for (const [output, error] of Object.entries(found)) expect(error, output).toBeLessThanOrEqual(BOUND);

      // Without tokens the last block's MLP runs over the CLS rows alone: the same logits.
      const bare = await engine.run({ images, height, width, input: "planes", pixels });
      expect(relativeError(bare.logits, golden.tensors.get("logits")!)).toBeLessThanOrEqual(BOUND);
      expect([bare.tokens.length, bare.attention.length]).toEqual([0, 0]);
    } finally {
      engine.dispose();
      await checkpoint.close();
    }
  });
});

// 16 bits may be off by twice what the naive 16-bit run is off by, as for the other models. Matrix units are emulated in plain WGSL.
// Padded heads and odd sizes are in the kernels' own cases.
describe.each(SLOW ? ["vit-nano", "vit-grey"] : ["vit-nano"])("%s in 16 bits", (name) => {
  beforeAll(() => {
    process.env.STYLIZING_VIT_MATRIX = "emulation";
  });
  afterAll(() => {
    delete process.env.STYLIZING_VIT_MATRIX;
  });

  it.skipIf(!goldenFolder(name))("meets PyTorch in f16 and on matrix units, within twice the naive error", async () => {
    const golden = await loadVitGolden(name);
    const { config, tensors, batch, height, width } = golden;
    const weights = await readTensors(golden.model);
    const pixels = tensors.get("pixels")!;
    const each = pixels.length / batch;
    const run = (float16: boolean) => {
      const oracle = new VitOracle(config, weights, { float16 });
      const images = Array.from({ length: batch }, (_, i) => oracle.forward(pixels.subarray(i * each, (i + 1) * each)));
      const all = (output: (typeof OUTPUTS)[number]) => images.flatMap((image) => image[output]);
      return { logits: all("logits"), tokens: all("tokens"), attention: all("attention") };
    };
    // The oracle without rounding is PyTorch's, so that its 16-bit run is the naive one of the same model.
    for (const [output, error] of Object.entries(errors(run(false), golden))) expect(error, output).toBeLessThan(1e-5);
    const naive = errors(run(true), golden);
    for (const error of Object.values(naive)) {
      expect(error).toBeGreaterThan(1e-4);
      expect(2 * error).toBeLessThan(MODEL_TOLERANCE.f16);
    }

    for (const precision of ["f16", "matrix"] as const) {
      await using model = await Classifier.load(golden.model, { config, adapter: "software", precision });
      expect(model.report.tier).toBe(precision);
      const found = errors(await model.forward(pixels, height, width), golden);
      show(name, precision, found, "naive", naive);
      for (const [output, error] of Object.entries(found)) {
        expect(error, `${output} in ${precision}`).toBeLessThanOrEqual(2 * naive[output]!);
        expect(error, `${output} in ${precision}`).toBeGreaterThan(1e-5); // it did round
      }
    }
  });
});

it.skipIf(!goldenFolder("vit-nano"))("hashed:21 is vit-nano's file, bit for bit", async () => {
  const { config, model } = await loadVitGolden("vit-nano");
  const weights = await readTensors(model);
  const hashed = new HashedWeights(vitShapes(config), 21);
  expect([...weights.keys()].sort()).toEqual([...hashed.shapes.keys()].sort());
  for (const [key, values] of weights) expect(Buffer.from((await hashed.read(key)).buffer).equals(Buffer.from(values.slice().buffer)), key).toBe(true); // biome-ignore format: one check
});
