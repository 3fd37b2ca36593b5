import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { hashedTensor } from "../../src/hub/hashed.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { openVgg, vggKeys, vggShapes } from "../../src/models/vgg/weights.js";

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
