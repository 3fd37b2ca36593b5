import { describe, expect, it } from "vitest";
import { Gpu } from "../../src/gpu/gpu.js";
import { view } from "../../src/gpu/view.js";
import { HashedWeights, hashedUniform } from "../../src/hub/hashed.js";
import { parseConfig } from "../../src/models/stylizing-vit/config.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { asFloats } from "../../src/net/pixels.js";
import { linear, linearCandidates } from "../../src/ops/linear.js";
import { Engine } from "../../src/painter/engine.js";
import { packed } from "../support/elements.js";
import { FAMILIES, gpuOfThisFile, hardwareProfile, inTier } from "../support/gpu.js";
import { runCalls } from "../support/run-op.js";

// An image's result is bit-exact whatever is beside it in its batch, where kernels are fixed: augmented data sets rest on it.
const BATCHES = [1, 3, 64];
const gpu = gpuOfThisFile();

describe("every candidate of a GEMM, forced", () => {
  const [tokens, depth, cols] = [10, 96, 48];
  const most = BATCHES.at(-1)! * tokens;
  const [input, weight] = [hashedUniform("x", most * depth, 1), hashedUniform("w", depth * cols, 1)];
  it.each([
    ["quads", () => gpu()],
    ["workgroup memory", () => new Gpu(gpu().device, gpu().facts, hardwareProfile(gpu().profile), false)],
    ["matrix units, emulated", () => inTier(gpu(), "matrix")],
  ])("sums an image's rows in one order, alone and among 3 and 64: %s", async (_, of) => {
    const own = of();
    const shape = { depth, cols, epilogue: "none", result: "f32" } as const;
    const all = linearCandidates({ ...shape, rows: most }, own.profile).map(({ name }) => name);
    expect(all.length).toBeGreaterThan(1);
    for (const name of all) {
      const results: Uint32Array[] = [];
      for (const images of BATCHES) {
        const rows = images * tokens;
        const [x, w, y] = [{}, {}, {}] as [GPUBuffer, GPUBuffer, GPUBuffer];
        const contents = (token: GPUBuffer) =>
          token === x
            ? packed(own.profile, input.subarray(0, rows * depth))
            : token === w
              ? packed(own.profile, weight)
              : new Uint32Array(rows * cols);
        const call = linear(own.profile, {
          x: view(x, "elem", rows, depth),
          w: view(w, "elem", depth, cols),
          y: view(y, "f32", rows, cols),
        });
        const plan = call.candidates.find((candidate) => candidate.name === name)!.plan;
        results.push((await runCalls(own, [x, w, y], contents, [[call, plan]], [y])).get(y)!.slice(0, tokens * cols));
      }
      expect(new Set(results[0]).size).toBeGreaterThan(100);
      expect(results[1]).toEqual(results[0]);
      expect(results[2]).toEqual(results[0]);
    }
  });
});

describe.each(FAMILIES)("a model with fixed kernels, %s", (_, of) => {
  it("gives an image one result alone, among 3 and among 64", async () => {
    using own = new Gpu(gpu().device, gpu().facts, of(gpu().profile), false);
    const config = parseConfig({ image_size: 24, patch_size: 8, embed_dim: 48, depth: 2, num_heads: 3 }, "test");
    const each = 3 * 24 * 24;
    const engine = await Engine.create(own, config, new HashedWeights(parameterShapes(config), 2), { tune: "fixed" });
    const contents = hashedUniform("content", 64 * each, 5);
    const page = await engine.createPage(4);
    await engine.run({
      mode: "style",
      images: 2,
      input: "planes",
      output: "none",
      style: hashedUniform("s", 2 * each, 5),
      page,
      firstStyle: 0,
    });
    const results = [];
    for (const images of BATCHES) {
      const styles = Array.from({ length: images }, (_, index) => index % 2);
      const content = contents.subarray(0, images * each);
      const pixels = await engine.run({ mode: "banked", images, input: "planes", output: "planes", content, page, styles });
      results.push(asFloats(pixels).slice(0, each));
    }
    engine.dispose();
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });
});
