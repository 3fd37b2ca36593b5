import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, expect, it } from "vitest";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { presetConfig } from "../../src/models/stylizing-vit/config.js";
import { modelParameters } from "../../src/models/stylizing-vit/parameters.js";
import { VGG_STAGES } from "../../src/models/vgg/weights.js";
import { paintTissue } from "../../src/tissue/painter.js";
import { createTrainingEngine } from "../../src/train/engine.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { openTask, terms } from "./thin.js";

/** Training as it is, on images and with VGG-19: minutes on a software adapter. */
const gpu = gpuOfThisFile();
const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-overfit-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const MAIN = fileURLToPath(new URL("../../dist/command/main.js", import.meta.url));

const config = {
  ...presetConfig("tiny"),
  image_size: 32,
  patch_size: 4,
  embed_dim: 96,
  depth: 1,
  num_heads: 3,
  mean: [0.6, 0.45, 0.65],
  std: [0.2, 0.2, 0.2],
};

it("two images are learnt by heart: the identity loss falls a hundredfold", { timeout: 1_200_000 }, async () => {
  // Two stains of one anatomy, coarse enough for 32 pixels.
  const images = Buffer.concat([0, 3].map((hospital) => paintTissue({ size: 32, hospital, seed: 2, micronsPerPixel: 2 }).data));
  await using engine = await createTrainingEngine(gpu(), config, openTask(3, VGG_STAGES), {
    batch: 2,
    initial: modelParameters(config).parameters.initial(1),
    terms,
    clip: 1,
    weightDecay: 1e-2,
    recompute: false,
  });
  const steps = 240;
  let first = 0;
  let lowest = Number.POSITIVE_INFINITY;
  for (let step = 0; step < steps && lowest > first / 100; step++) {
    await engine.step(images, 0.5 * 4e-3 * (1 + Math.cos((Math.PI * step) / steps)));
    if (step % 10 !== 0) continue;
    const { losses, brokenAt } = await engine.report();
    expect(brokenAt).toBeUndefined();
    first ||= losses.identity!;
    lowest = Math.min(lowest, losses.identity!);
  }
  expect(first / lowest).toBeGreaterThan(100);
});

it("five hundred steps take no more memory than the first", { timeout: 1_800_000 }, async () => {
  await using engine = await createTrainingEngine(gpu(), { ...config, patch_size: 8, embed_dim: 48 }, openTask(3, VGG_STAGES), {
    batch: 1,
    initial: modelParameters({ ...config, patch_size: 8, embed_dim: 48 }).parameters.initial(1),
    terms,
    clip: 1,
    weightDecay: 1e-2,
    recompute: false,
  });
  const { data } = paintTissue({ size: 32, seed: 5 });
  let bytes = 0;
  let resident = 0;
  for (let step = 0; step < 500; step++) {
    await engine.step(data, 1e-4);
    if (step === 60) {
      await engine.report();
      bytes = engine.bytes;
      resident = process.memoryUsage.rss();
    }
  }
  expect((await engine.report()).step).toBe(500);
  expect(engine.bytes).toBe(bytes);
  expect(process.memoryUsage.rss() - resident).toBeLessThan(30e6);
});

/** The command in a process of its own, killed after some milliseconds unless it is done before. */
function train(out: string, killAfter?: number): Promise<number | null> {
  const args = [
    "train",
    "--data",
    join(folder, "data"),
    "--val",
    join(folder, "val"),
    "--out",
    out,
    "--config",
    join(folder, "config.json"),
  ];
  const recipe = [
    "--vgg",
    "random:1",
    "--epochs",
    "2",
    "--batch",
    "2",
    "--seed",
    "5",
    "--lr",
    "2e-3",
    "--adapter",
    "software",
    "--resume",
  ];
  const child = spawn(process.execPath, [MAIN, ...args, ...recipe], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (text) => {
    said += text;
  });
  const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), killAfter);
  return new Promise((resolve, reject) => {
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      if (code === 0 || signal === "SIGKILL") resolve(code);
      else reject(new Error(said));
    });
  });
}

async function weights(path: string): Promise<Record<string, Float32Array>> {
  await using file = await SafetensorsFile.open(path);
  const all: Record<string, Float32Array> = {};
  for (const key of file.tensors.keys()) all[key] = await file.read(key);
  return all;
}

it("a run that is killed at ten random instants ends as an unbroken one, bit-exact", { timeout: 1_800_000 }, async () => {
  for (const [kind, count] of [
    ["data", 6],
    ["val", 3],
  ] as const) {
    mkdirSync(join(folder, kind));
    for (let i = 0; i < count; i++) {
      const { data } = paintTissue({ size: 32, hospital: i % 5, seed: i + 20 * count, micronsPerPixel: 2 });
      const path = join(folder, kind, `${i}.png`);
      await sharp(data, { raw: { width: 32, height: 32, channels: 3 } }).toFile(path);
    }
  }
  const { mean: _, std: __, ...shape } = config;
  writeFileSync(join(folder, "config.json"), JSON.stringify(shape));
  const unbroken = join(folder, "unbroken");
  const started = performance.now();
  expect(await train(unbroken)).toBe(0);
  const took = performance.now() - started;

  const broken = join(folder, "broken");
  // Every process is killed at another moment of what a whole run takes; states are written once an epoch, so they begin anew.
  let kills = 0;
  for (const share of [0.1, 0.35, 0.52, 0.61, 0.7, 0.3, 0.66, 0.45, 0.58, 0.74]) {
    if ((await train(broken, share * took)) === null) kills++;
  }
  expect(kills).toBeGreaterThan(3);
  expect(await train(broken)).toBe(0);
  const log = (out: string) =>
    readFileSync(join(out, "log.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => {
        const { seconds: _, imagesPerSecond: __, ...rest } = JSON.parse(line);
        return rest;
      });
  expect(log(broken)).toEqual(log(unbroken));
  for (const file of ["model.safetensors", "last.safetensors"]) {
    expect(existsSync(join(broken, file))).toBe(true);
    expect(await weights(join(broken, file))).toEqual(await weights(join(unbroken, file)));
  }
});
