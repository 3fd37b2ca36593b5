import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { addDemo } from "../../src/command/demo.js";
import { addExport } from "../../src/command/export.js";
import { addForward } from "../../src/command/forward.js";
import { addStylize } from "../../src/command/stylize.js";
import { Checkpoint } from "../../src/hub/checkpoint.js";
import { hashedUniform } from "../../src/hub/hashed.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { saveImage } from "../../src/image/encode.js";
import { noise } from "../image/helpers.js";
import { goldenFolder, loadGolden } from "../support/fixtures.js";
import { fresh } from "./command.js";

const model = fresh("model");
const weights = join(model, "model.safetensors");
const imageFile = fresh("image.png");
const input = fresh("input.safetensors");

beforeAll(async () => {
  const { config } = await loadGolden("nano");
  mkdirSync(model);
  copyFileSync(join(goldenFolder("nano")!, "weights.safetensors"), weights);
  writeFileSync(join(model, "config.json"), JSON.stringify(config));
  await saveImage(imageFile, noise(32, 32, 3), { format: "png" });
  const shape = [2, 3, config.image_size, config.image_size];
  const data = hashedUniform("pictures", 2 * 3 * config.image_size ** 2, 1);
  await writeSafetensors(input, [["content", { shape, data }], ["style", { shape, data }]]); // biome-ignore format: a pair
});

beforeEach(() => vi.spyOn(process.stderr, "write").mockReturnValue(true));
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = 0;
});

it.each([
  [
    "stylize, which has to measure statistics first",
    ["stylize", "--content", imageFile, "--style", imageFile, "--out", fresh("out")],
  ],
  ["demo", ["demo", "--content", imageFile, "--style", imageFile, "--out", fresh("demo")]],
  ["forward", ["forward", "--input", input, "--output", fresh("forward.safetensors")]],
  ["export", ["export", "--onnx", fresh("model.onnx")]],
] as const)("a model is found and its header read once: %s", async (verb, args) => {
  const found = vi.spyOn(Checkpoint, "open");
  const opened = vi.spyOn(SafetensorsFile, "open");
  const program = new Command().exitOverride();
  for (const add of [addStylize, addDemo, addForward, addExport]) add(program);
  const where = args[0] === "export" ? [] : ["--adapter", "software"];
  await program.parseAsync([...args, "--model", model, ...where], { from: "user" });
  expect(process.exitCode ?? 0, verb).toBe(0);
  expect(found.mock.calls).toEqual([[model]]);
  expect(opened.mock.calls.filter(([path]) => path === weights)).toHaveLength(1);
});
