import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, expect } from "vitest";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { mulberry32 } from "../../src/random.js";
import type { EpochReport, TrainingProgress } from "../../src/train/progress.js";
import type { Trainer, TrainerOptions } from "../../src/train/trainer.js";
import { noise } from "../image/helpers.js";

/** A folder for this test file's runs, with images of two kinds in it. */
export const root = mkdtempSync(join(tmpdir(), "stylizing-vit-train-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

export const CONFIG = {
  image_size: 16,
  in_channels: 3,
  patch_size: 8,
  embed_dim: 48,
  depth: 1,
  num_heads: 3,
  mlp_ratio: 1,
  qkv_bias: true,
  bottleneck_mlp_ratio: 1,
  post_process_conv_kernel_size: 3,
};

export async function writeImages(name: string, count: number, size = 20): Promise<string> {
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < count; i++) {
    const { data } = noise(size + i, size, 3, i * 7919 + name.length);
    await sharp(data, { raw: { width: size + i, height: size, channels: 3 } }).toFile(join(folder, `${name}-${i}.png`));
  }
  return folder;
}

/** Labels of what `writeClasses` draws. */
export const CLASSES = ["blue", "green", "red"];

/** Noise with a tint by class: a folder a class, and a table of all. */
export async function writeClasses(name: string, counts: readonly number[]): Promise<string> {
  const folder = join(root, name);
  const lines = ["path,label,patient"];
  for (const [label, count] of counts.entries()) {
    const className = CLASSES[label]!;
    mkdirSync(join(folder, className), { recursive: true });
    for (let i = 0; i < count; i++) {
      const random = mulberry32(1000 * label + i);
      const data = Uint8Array.from({ length: 16 * 16 * 3 }, (_, at) => 90 + 60 * random() + (at % 3 === 2 - label ? 80 : 0));
      await sharp(data, { raw: { width: 16, height: 16, channels: 3 } }).toFile(join(folder, className, `${i}.png`));
      lines.push(`${className}/${i}.png,${className},patient ${i % 4}`);
    }
  }
  writeFileSync(join(folder, "labels.csv"), `${lines.join("\n")}\n`);
  return folder;
}

let made = 0;
/** A path for a run; nothing is there. */
export const newRun = (): string => join(root, `run-${++made}`);

/** A short run: 7 steps an epoch, 4 epochs, states written every other step. */
export const options = (out: string, changes: Partial<TrainerOptions> = {}): TrainerOptions => ({
  data: [join(root, "training")],
  val: [join(root, "judging")],
  out,
  config: CONFIG,
  epochs: 4,
  batch: 4,
  crops: 2,
  crop: "random",
  flips: true,
  vgg: "random:1",
  seed: 3,
  lr: 0.05,
  workers: 0,
  checkpointSteps: 2,
  reportEverySteps: 3,
  ...changes,
});

/** Runs to the end, or until `until` has seen enough. */
export async function follow(
  trainer: Trainer,
  until: (progress: TrainingProgress) => boolean = () => false,
  signal?: AbortSignal,
): Promise<TrainingProgress[]> {
  const seen: TrainingProgress[] = [];
  for await (const progress of trainer.run({ signal })) {
    seen.push(progress);
    if (until(progress)) break;
  }
  return seen;
}

export const readLog = (out: string): EpochReport[] =>
  readFileSync(join(out, "log.jsonl"), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as EpochReport);

/** A log without what time it took. */
export const timeless = (log: readonly EpochReport[]) =>
  log.map(({ seconds, imagesPerSecond, ...line }) => {
    expect(seconds).toBeGreaterThan(0);
    expect(imagesPerSecond).toBeGreaterThan(0);
    return line;
  });

/** Every tensor of a file. */
export async function readTensors(path: string): Promise<Map<string, Float32Array>> {
  await using file = await SafetensorsFile.open(path);
  const tensors = new Map<string, Float32Array>();
  for (const name of file.tensors.keys()) tensors.set(name, await file.read(name));
  return tensors;
}

/** All that a run came to and that must not depend on how it went. */
export async function outcome(out: string) {
  return {
    log: timeless(readLog(out)),
    last: await readTensors(join(out, "last.safetensors")),
    best: await readTensors(join(out, "model.safetensors")),
    config: readFileSync(join(out, "config.json"), "utf8"),
  };
}
