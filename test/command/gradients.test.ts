import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { vggShapes } from "../../src/models/vgg/weights.js";
import { parseVitConfig } from "../../src/models/vit/config.js";
import { vitShapes } from "../../src/models/vit/parameters.js";
import { goldenFolder } from "../support/fixtures.js";
import { type Failure, fresh, HERE, listFiles, reason, run, runJson } from "./command.js";
import { FIXTURE, gradients, INFO } from "./gradients.js";

describe("wrong usage ends with 2, what cannot be used with 1, and nothing is written", () => {
  it.each<[string, string[], number, string, RegExp]>([
    ["no seed", ["--vgg", "hashed:"], 2, "ARGUMENT", /no whole number for a seed/],
    ["no such file", ["--vgg", "/nowhere.safetensors"], 1, "CHECKPOINT", /nowhere/],
    ["no micro-batch", ["--vgg", "hashed:1", "--micro-batch", "0"], 2, "ARGUMENT", /positive whole number/],
  ])("%s", async (_, args, code, expected, message) => {
    const output = fresh("out.safetensors");
    const { error } = await runJson<Failure>([...gradients(output, ...args), "--json"], code);
    expect(error).toMatchObject({ code: expected, message: expect.stringMatching(message) });
    expect(listFiles(join(output, ".."))).not.toContain("out.safetensors");
  });

  it("a file that holds no VGG-19, and one of another shape", async () => {
    const other = fresh("vgg.safetensors");
    await writeSafetensors(other, [["features.0.weight", { shape: [1], data: new Float32Array(1) }]]);
    const output = fresh("out.safetensors");
    const first = await runJson<Failure>([...gradients(output, "--vgg", other), "--json"], 1);
    expect(first.error).toMatchObject({
      code: "CHECKPOINT",
      message: expect.stringMatching(/VGG-19 without batch normalisation/),
    });
    const shapes = [...vggShapes(1)].map(([key, shape]) => {
      const mine = key.endsWith("features_5.weight") ? [1, 1, 3, 3] : shape;
      return [
        key.replace("vgg_encoder.features_", "features."),
        { shape: mine, data: () => new Float32Array(mine.reduce((a, b) => a * b, 1)) },
      ] as const;
    });
    await writeSafetensors(other, shapes, { dtype: "F16" });
    const second = await runJson<Failure>([...gradients(output, "--vgg", other), "--json"], 1);
    expect(second.error.message).toMatch(/features\.5\.weight has the shape \[1, 1, 3, 3\].*\[128, 64, 3, 3\]/);
  });

  it("images of another size, and files that hold none", async () => {
    const larger = fresh("config.json");
    writeFileSync(larger, JSON.stringify({ ...INFO.config, image_size: 64 }));
    const output = fresh("out.safetensors");
    const sized = await runJson<Failure>([...gradients(output, "--vgg", "hashed:1", "--config", larger), "--json"], 2, HERE);
    expect(sized.error).toMatchObject({
      code: "ARGUMENT",
      message: expect.stringMatching(/content has the shape \[2, 1, 32, 32\]/),
    });
    const fixture = join(FIXTURE, "training.safetensors");
    const none = await runJson<Failure>([...gradients(output, "--vgg", "hashed:1", "--input", fixture), "--json"], 2, HERE);
    expect(none.error.message).toMatch(/no tensor "content"/);
  });

  it("no network", async () => {
    const output = fresh("out.safetensors");
    const { code, stderr } = await run(gradients(output, "--vgg", "hub"), {
      ...HERE,
      env: { HF_HUB_OFFLINE: "1", HF_HOME: fresh() },
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/timm\/vgg19\.tv_in1k .*not in the cache.*--vgg FILE.*--vgg random:1/s);
  });
});

describe("of a classifier", () => {
  const name = "vit-grey";
  const golden = goldenFolder(name);
  /** Its weights, configuration and images, with other labels where they are given. */
  async function classifier(output: string, labels?: number[]): Promise<string[]> {
    const { config, weights } = JSON.parse(readFileSync(join(golden!, "training.json"), "utf8"));
    const [file, input] = [fresh("config.json"), fresh("input.safetensors")];
    writeFileSync(file, JSON.stringify(config));
    const given = join(golden!, "case.safetensors");
    const bytes = readFileSync(given);
    if (labels) {
      await using source = await SafetensorsFile.open(given);
      const start = 8 + Number(bytes.readBigUInt64LE(0)) + source.tensors.get("labels")!.begin;
      for (const [at, label] of labels.entries()) bytes.writeBigInt64LE(BigInt(label), start + 8 * at);
    }
    writeFileSync(input, bytes);
    return ["gradients", "--model", join(golden!, weights), "--config", file, "--input", input, "--output", output];
  }

  it.skipIf(!golden)(`are PyTorch's, as its loss is${golden ? "" : `: ${reason.noGolden}`}`, async () => {
    const output = fresh("gradients.safetensors");
    const info = JSON.parse(readFileSync(join(golden!, "training.json"), "utf8"));
    const report = await runJson<{ losses: object; total: number; batch: number; tier: string }>([
      ...(await classifier(output)),
      "--micro-batch",
      "2",
    ]);
    expect(report).toMatchObject({ batch: info.batch, tier: "f32", losses: { crossEntropy: report.total } });
    await using file = await SafetensorsFile.open(output);
    const shapes = vitShapes(parseVitConfig(info.config, name));
    expect([...file.tensors.keys()].sort()).toEqual(["loss", ...[...shapes.keys()].map((key) => `gradient.${key}`)].sort());
    expect(file.tensors.get("loss")).toMatchObject({ dtype: "F32", shape: [1] });
    expect((await file.read("loss"))[0]! / info.steps[0].loss).toBeCloseTo(1, 4);
    await using expected = await SafetensorsFile.open(join(golden!, "training.safetensors"));
    for (const [key, shape] of shapes) {
      const tensor = `gradient.${key}`;
      expect(file.tensors.get(tensor)!.shape, key).toEqual(shape);
      const [mine, theirs] = [await file.read(tensor), await expected.read(tensor)];
      const distance = Math.hypot(...mine.map((value, i) => value - theirs[i]!)) / Math.hypot(...theirs);
      expect(distance, key).toBeLessThan(1e-3);
    }
  });

  it.skipIf(!golden)(`labels out of range and a VGG-19 are refused${golden ? "" : `: ${reason.noGolden}`}`, async () => {
    const output = fresh("out.safetensors");
    for (const wrong of [3, -1]) {
      const { error } = await runJson<Failure>(await classifier(output, [0, wrong]), 2, HERE);
      expect(error).toMatchObject({ code: "ARGUMENT", message: expect.stringContaining(`one of them is ${wrong}.`) });
      expect(error.fix).toMatch(/labels, I64 \[3\], each below 3/);
    }
    const { error } = await runJson<Failure>([...(await classifier(output)), "--vgg", "hashed:1"], 2, HERE);
    expect(error).toMatchObject({ code: "ARGUMENT", message: expect.stringContaining("--vgg is for Stylizing ViT") });
    expect(listFiles(join(output, ".."))).toEqual([]);
  });
});
