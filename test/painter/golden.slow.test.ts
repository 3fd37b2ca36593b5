import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { HashedWeights } from "../../src/hub/hashed.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { StylizingViT } from "../../src/index.js";
import { presetConfig } from "../../src/models/stylizing-vit/config.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { goldenFolder, loadGolden, relativeError, root } from "../support/fixtures.js";

const MINUTES = 60_000;

describe.each(["small", "base"])("%s", (name) => {
  it.skipIf(!goldenFolder(name))(
    "meets PyTorch",
    async () => {
      const golden = await loadGolden(name);
      await using model = await StylizingViT.load(golden.model, { config: golden.config, adapter: "software", precision: "f32" });
      const result = await model.forward(golden.tensors.get("content")!, golden.tensors.get("style")!);
      expect(relativeError(result, golden.tensors.get("stylized")!)).toBeLessThanOrEqual(5e-5);
    },
    20 * MINUTES,
  );
});

it.skipIf(!goldenFolder("tiny"))(
  "tiny meets PyTorch, one image at a time and two",
  async () => {
    const golden = await loadGolden("tiny");
    await using model = await StylizingViT.load(golden.model, { config: golden.config, adapter: "software", precision: "f32" });
    const [content, style, expected] = ["content", "style", "stylized"].map((key) => golden.tensors.get(key)!);
    expect(golden.batch).toBe(2);
    expect(relativeError(await model.forward(content!, style!), expected!)).toBeLessThanOrEqual(5e-5);
    const half = content!.length / 2;
    const first = await model.forward(content!.subarray(0, half), style!.subarray(0, half));
    expect(relativeError(first, expected!.subarray(0, half))).toBeLessThanOrEqual(5e-5);
  },
  20 * MINUTES,
);

// On matrix units as well: their emulation takes the path that they take, 12 layers of it at the published length.
describe.each(["f16", "matrix"] as const)("tiny in %s", (precision) => {
  it.skipIf(!goldenFolder("tiny"))(
    "meets PyTorch within what 16 bits leave",
    async () => {
      process.env.STYLIZING_VIT_MATRIX = "emulation";
      const golden = await loadGolden("tiny");
      await using model = await StylizingViT.load(golden.model, { config: golden.config, adapter: "software", precision });
      expect(model.report.tier).toBe(precision);
      const each = golden.tensors.get("content")!.length / golden.batch;
      const [content, style, expected] = ["content", "style", "stylized"].map((key) =>
        golden.tensors.get(key)!.subarray(0, each),
      );
      const error = relativeError(await model.forward(content!, style!), expected!);
      expect(error).toBeLessThanOrEqual(1e-2);
      expect(error).toBeGreaterThan(1e-5);
      process.stdout.write(`tiny in ${precision}: off by ${error.toExponential(1)} of the largest value\n`);
    },
    20 * MINUTES,
  );
});

describe("loading base from its file", () => {
  /** Peak memory of a process that loads a model and does nothing else, in bytes. On a software adapter the device's copy is in it. */
  function peak(model: string, config: unknown): number {
    const program = `
      const { StylizingViT } = await import(${JSON.stringify(pathToFileURL(join(root, "dist/index.js")).href)});
      const options = { config: ${JSON.stringify(config)}, adapter: "software", precision: "f32" };
      const model = await StylizingViT.load(${JSON.stringify(model)}, options);
      console.log(process.resourceUsage().maxRSS * 1024);
      model.dispose();`;
    return Number(execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" }));
  }

  it(
    "holds one copy of its weights, the device's, and never a second",
    async () => {
      const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-base-"));
      try {
        const config = presetConfig("base");
        const shapes = parameterShapes(config);
        const source = new HashedWeights(shapes, 5);
        const file = join(folder, "model.safetensors");
        await writeSafetensors(
          file,
          [...shapes].map(([key, shape]) => [key, { shape, data: () => source.read(key) }] as const),
        );
        const weights = 90_521_313 * 4;
        const idle = peak("hashed:1", { ...config, depth: 1, embed_dim: 96, num_heads: 2 });
        const loaded = peak(file, config);
        expect(loaded - idle).toBeGreaterThan(weights);
        expect(loaded - idle).toBeLessThan(1.5 * weights);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
    10 * MINUTES,
  );
});
