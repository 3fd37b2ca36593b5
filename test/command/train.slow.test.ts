import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { CONFIG, writeImages } from "../train/runs.js";
import { build, fresh, run } from "./command.js";

beforeAll(build);

it("a run with nothing made up: images, VGG-19, a model that paints", async () => {
  const out = fresh("out");
  const config = fresh("config.json");
  writeFileSync(config, JSON.stringify({ ...CONFIG, image_size: 32 }));
  const args = ["--config", config, "--batch", "2", "--epochs", "1", "--vgg", "random:1", "--adapter", "software"];
  const data = await writeImages("few", 2, 40);
  const finished = await run(["train", "--data", data, "--val", data, "--out", out, ...args, "--json"]);
  expect(finished.code, finished.stderr).toBe(0);
  const [epoch, document] = finished.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(epoch).toMatchObject({ epoch: 1, step: 1, best: true });
  expect(epoch.training.total).toBeGreaterThan(1);
  expect(document).toMatchObject({ done: true, epochs: 1, microBatch: 2, tier: "f32", recipe: { vgg: "random:1" } });
  expect(document.adapter.software).toBe(true);
  expect(finished.stderr).toMatch(/losses from VGG-19 random:1; on SwiftShader, f32 \(a CPU: slow\)/);
  for (const name of ["config.json", "model.safetensors", "last.safetensors", "log.jsonl", "curve.svg", "sheet.png"])
    expect(existsSync(join(out, name)), name).toBe(true);
  const painted = fresh("painted");
  const images = readdirSync(data).map((name) => join(data, name));
  const stylized = await run(["stylize", "--model", out, "--content", ...images, "--style", images[0]!, "--out", painted]);
  expect(stylized.code, stylized.stderr).toBe(0);
  expect(readdirSync(painted)).toHaveLength(2);
});
