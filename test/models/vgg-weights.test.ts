import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { hashedTensor } from "../../src/hub/hashed.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { hasLinear, readLinear } from "../../src/models/vgg/linear.js";
import { openVgg, VGG_16, vggKeys, vggShapes } from "../../src/models/vgg/weights.js";
import { failure } from "../image/helpers.js";

const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-vgg-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("names what checkpoints hold: every ReLU and pooling counts", () => {
  const numbers = vggKeys()
    .flat()
    .map((key) => Number(/(\d+)$/.exec(key)![1]));
  expect(numbers).toEqual([0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]);
  expect(vggShapes(3).get("vgg_encoder.features_34.weight")).toEqual([512, 512, 3, 3]);
});

it("random weights are the hashed ones, of He's variance", async () => {
  await using vgg = await openVgg("random:7", 3);
  const key = "vgg_encoder.features_2.weight";
  const values = await vgg.read(key);
  expect(values).toEqual(hashedTensor(key, [64, 64, 3, 3], 7));
  const variance = values.reduce((sum, x) => sum + x * x, 0) / values.length;
  expect(variance / (2 / (64 * 9))).toBeCloseTo(1, 1);
});

it("a file's tensors are found as timm and torchvision call them, and its first filters suit other images", async () => {
  const file = join(folder, "vgg.safetensors");
  await writeSafetensors(
    file,
    [...vggShapes(3)].map(([key, shape]) => {
      const name = key.replace("vgg_encoder.features_", "features.");
      return [name, { shape, data: () => hashedTensor(key, shape, 5) }] as const;
    }),
    { dtype: "F32" },
  );
  const first = "vgg_encoder.features_0.weight";
  const rgb = hashedTensor(first, [64, 3, 3, 3], 5);
  await using colour = await openVgg(file, 3);
  expect(await colour.read(first)).toEqual(rgb);
  expect((await colour.read("vgg_encoder.features_34.bias")).length).toBe(512);
  // A grey image repeated in three channels gives the same features.
  await using grey = await openVgg(file, 1);
  const sums = await grey.read(first);
  expect(sums.length).toBe(64 * 9);
  for (const at of [0, 100, 575]) {
    const [filter, tap] = [Math.floor(at / 9), at % 9];
    expect(sums[at]).toBeCloseTo(
      [0, 1, 2].reduce((sum, c) => sum + rgb[(filter * 3 + c) * 9 + tap]!, 0),
      6,
    );
  }
  await using five = await openVgg(file, 5);
  expect((await five.read(first))[4 * 9]).toBeCloseTo((rgb[9]! * 3) / 5, 6);
});

describe("VGG-16", () => {
  const names = (rename: (key: string, stage: number) => string) =>
    vggKeys(VGG_16.stages).flatMap((keys, stage) =>
      keys.flatMap((key) => ["weight", "bias"].map((what) => [`${key}.${what}`, rename(`${key}.${what}`, stage)] as const)),
    );
  const write = async (name: string, rename: (key: string, stage: number) => string, others: readonly string[] = []) => {
    const shapes = vggShapes(3, VGG_16.stages);
    const file = join(folder, name);
    await writeSafetensors(file, [
      ...names(rename).map(
        ([key, as]) => [as, { shape: shapes.get(key)!, data: () => hashedTensor(key, shapes.get(key)!, 6) }] as const,
      ),
      ...VGG_16.stages.flatMap(({ channels }, level) =>
        others.map(
          (other) =>
            [
              other.replace("L", String(level)),
              { shape: [1, channels, 1, 1], data: new Float32Array(channels).fill(level) },
            ] as const,
        ),
      ),
    ]);
    return file;
  };

  it("is named as torchvision and timm name it, or as the lpips package does, which has its own weights beside", async () => {
    const numbers = vggKeys(VGG_16.stages).flat().map((key) => Number(/(\d+)$/.exec(key)![1])); // biome-ignore format: one list
    expect(numbers).toEqual([0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]);
    const plain = await write("vgg16.safetensors", (key) => key.replace("vgg_encoder.features_", "features."));
    const sliced = await write(
      "lpips.safetensors",
      (key, stage) => key.replace("vgg_encoder.features_", `net.slice${stage + 1}.`),
      ["linL.model.1.weight", "lins.L.model.1.weight"],
    );
    const key = "vgg_encoder.features_28.weight";
    for (const file of [plain, sliced]) {
      await using vgg = await openVgg(file, 3, {}, VGG_16);
      expect(await vgg.read(key)).toEqual(hashedTensor(key, [512, 512, 3, 3], 6));
    }
    expect([await hasLinear(plain), await hasLinear(sliced)]).toEqual([false, true]);
    expect((await readLinear(sliced)).map((level) => [level.length, level[0]])).toEqual([[64, 0], [128, 1], [256, 2], [512, 3], [512, 4]]); // biome-ignore format: one list
    // A file of the one is none of the other.
    await failure(openVgg(plain, 3), "CHECKPOINT");
    await failure(readLinear(plain), "CHECKPOINT");
  });

  it("has weights for LPIPS as the Hub names them, of the right shapes and none negative", async () => {
    const file = (name: string, change: (level: number, channels: number) => { shape: number[]; data: Float32Array }) => {
      const path = join(folder, name);
      return writeSafetensors(path, VGG_16.stages.map(({ channels }, level) => [`${level}.weight`, change(level, channels)])).then(() => path); // biome-ignore format: one call
    };
    const good = await file("lins.safetensors", (level, channels) => ({
      shape: [1, channels, 1, 1],
      data: new Float32Array(channels).fill(level + 1),
    }));
    expect((await readLinear(good)).map((level) => level.at(-1))).toEqual([1, 2, 3, 4, 5]);
    const short = await file("short.safetensors", () => ({ shape: [1, 64, 1, 1], data: new Float32Array(64) }));
    expect((await failure(readLinear(short), "CHECKPOINT")).message).toMatch(
      /1\.weight has the shape \[1, 64, 1, 1\].*128 channels/,
    );
    const negative = await file("negative.safetensors", (_, channels) => ({
      shape: [channels],
      data: new Float32Array(channels).fill(-1),
    }));
    expect((await failure(readLinear(negative), "CHECKPOINT")).message).toMatch(/-1 among its weights/);
  });

  it("that cannot be fetched has a cure", async () => {
    const nowhere = { cacheDir: join(folder, "none"), offline: true };
    expect((await failure(openVgg("hub", 3, nowhere, VGG_16), "DOWNLOAD")).message).toMatch(
      /timm\/vgg16\.tv_in1k .*--vgg FILE\.$/s,
    );
    expect((await failure(readLinear("hub", nowhere), "DOWNLOAD")).message).toMatch(/vivym\/lpips .*--lpips FILE/s);
  });
});
