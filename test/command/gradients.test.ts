import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { parseConfig } from "../../src/models/stylizing-vit/config.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { vggShapes } from "../../src/models/vgg19/weights.js";
import { hashedImages } from "../train/images.js";
import { build, type Failure, fresh, listFiles, run, runJson } from "./command.js";

const FIXTURE = fileURLToPath(new URL("../fixtures/grey/", import.meta.url));
const INFO = JSON.parse(readFileSync(join(FIXTURE, "training.json"), "utf8"));
const CONFIG = parseConfig(INFO.config, "grey");
const config = fresh("config.json");
const input = fresh("input.safetensors");

beforeAll(async () => {
  await build();
  writeFileSync(config, JSON.stringify(INFO.config));
  const content = hashedImages("train.0", 2, 1, 32, INFO.seed);
  const style = Float32Array.from([...content.subarray(1024), ...content.subarray(0, 1024)]);
  const shape = [2, 1, 32, 32];
  await writeSafetensors(input, [
    ["content", { shape, data: content }],
    ["style", { shape, data: style }],
  ]);
});

const gradients = (output: string, ...rest: string[]) => [
  "gradients",
  ...["--model", `hashed:${INFO.seed}`, "--config", config, "--input", input, "--output", output, "--adapter", "software"],
  ...rest,
];

it("writes PyTorch's losses and a gradient a parameter, in parts of a batch and with little memory as well", async () => {
  const output = fresh("gradients.safetensors");
  const args = gradients(output, "--vgg", `hashed:${INFO.seed}`, "--micro-batch", "1", "--recompute");
  const report = await runJson<{ losses: Record<string, number>; total: number; vgg: string; batch: number; tier: string }>([
    ...args,
    "--json",
  ]);
  expect(report).toMatchObject({ batch: 2, tier: "f32", vgg: "hashed:3" });
  expect(report.total / INFO.steps[0].total).toBeCloseTo(1, 4);
  await using file = await SafetensorsFile.open(output);
  const shapes = parameterShapes(CONFIG);
  expect([...file.tensors.keys()].sort()).toEqual(
    [
      ...["identity", "consistency", "anatomical", "style"].map((term) => `loss.${term}`),
      ...[...shapes.keys()].map((key) => `gradient.${key}`),
    ].sort(),
  );
  for (const term of ["identity", "consistency", "anatomical", "style"]) {
    expect(file.tensors.get(`loss.${term}`)).toMatchObject({ dtype: "F32", shape: [1] });
    expect((await file.read(`loss.${term}`))[0]! / INFO.steps[0][term], term).toBeCloseTo(1, 4);
  }
  await using expected = await SafetensorsFile.open(join(FIXTURE, "training.safetensors"));
  for (const [key, shape] of shapes) {
    const name = `gradient.${key}`;
    expect(file.tensors.get(name)!.shape).toEqual(shape);
    const [mine, theirs] = [await file.read(name), await expected.read(name)];
    const distance = Math.hypot(...mine.map((value, i) => value - theirs[i]!)) / Math.hypot(...theirs);
    expect(distance, key).toBeLessThan(1e-3);
  }
});

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
    const sized = await runJson<Failure>([...gradients(output, "--vgg", "hashed:1", "--config", larger), "--json"], 2);
    expect(sized.error).toMatchObject({
      code: "ARGUMENT",
      message: expect.stringMatching(/content has the shape \[2, 1, 32, 32\]/),
    });
    const fixture = join(FIXTURE, "training.safetensors");
    const none = await runJson<Failure>([...gradients(output, "--vgg", "hashed:1", "--input", fixture), "--json"], 2);
    expect(none.error.message).toMatch(/no tensor "content"/);
  });

  it("no network", async () => {
    const output = fresh("out.safetensors");
    const { code, stderr } = await run(gradients(output, "--vgg", "hub"), { env: { HF_HUB_OFFLINE: "1", HF_HOME: fresh() } });
    expect(code).toBe(1);
    expect(stderr).toMatch(/timm\/vgg19\.tv_in1k .*not in the cache.*--vgg FILE.*--vgg random:1/s);
  });
});
