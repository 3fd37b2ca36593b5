import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { augmentDataSet } from "../../src/augment/augment-data-set.js";
import { Augmenter } from "../../src/augment/augmenter.js";
import type { ManifestLine } from "../../src/augment/manifest.js";
import { decodeImage } from "../../src/image/decode.js";
import { greyOf } from "../../src/image/luma.js";
import { drawTiles, type Tile, writeTiles } from "../datasets/drawn.js";
import { temporaryFolder } from "../image/helpers.js";

const folder = temporaryFolder();
const data = join(folder, "data");
let tiles: Tile[];
beforeAll(async () => {
  tiles = await drawTiles(10, 24);
  writeTiles(data, tiles);
});

const CHOICES = {
  method: "reinhard,hed-jitter,macenko-augment",
  p: 0.9,
  seed: 5,
  load: { adapter: "software" },
  workers: 0,
} as const;

describe("the Augmenter", () => {
  it("gives in epoch N what the command writes as copy N, in batches of any size", async () => {
    const out = join(folder, "out");
    await augmentDataSet({ ...CHOICES, data, out, copies: 3 });
    const lines = readFileSync(join(out, "manifest.jsonl"), "utf8")
      .trimEnd()
      .split("\n")
      .slice(1)
      .map((line) => JSON.parse(line) as ManifestLine);
    await using augmenter = await Augmenter.open({ ...CHOICES, data });
    for (const [epoch, batchSize, counts] of [
      [1, 4, [4, 4, 2]],
      [3, 64, [10]],
    ] as const) {
      const sizes: number[] = [];
      const samples = [];
      for await (const batch of augmenter.epoch(epoch, { batchSize })) {
        expect(batch.epoch).toBe(epoch);
        sizes.push(batch.samples.length);
        samples.push(...batch.samples);
      }
      expect(sizes).toEqual(counts);
      for (const { key, label, image, ops } of samples) {
        const line = lines.find((one) => one.key === key && one.copy === epoch)!;
        expect([label, JSON.stringify(ops)]).toEqual([line.label, JSON.stringify(line.ops)]);
        expect(image.data).toEqual((await decodeImage(join(out, line.output!), { channels: 3 })).data);
      }
    }
  });

  it("restyles images in memory, by key, which may be changed at once", async () => {
    await using augmenter = await Augmenter.open({ ...CHOICES, p: 1 });
    const images = tiles.slice(0, 4).map(({ image }) => ({ ...image, data: image.data.slice() }));
    const styles = tiles.slice(4, 8).map(({ image }) => image);
    const keys = images.map((_, index) => `image ${index}`);
    const all = augmenter.apply(images, keys, 2, { styles });
    for (const { data: pixels } of images) pixels.fill(0);
    const results = await all;
    for (const index of [3, 0]) {
      const tile = tiles[index]!.image;
      const [alone] = await augmenter.apply([tile], [keys[index]!], 2, { styles: [styles[index]!] });
      expect(alone!.image.data).toEqual(results[index]!.image.data);
      expect(alone!.ops).toEqual(results[index]!.ops);
    }
    const [other] = await augmenter.apply([tiles[0]!.image], [keys[0]!], 3, { styles: [styles[0]!] });
    expect(other!.ops).not.toEqual(results[0]!.ops);
    const [grey] = await augmenter.apply([greyOf(tiles[0]!.image)], ["grey"], 1, { styles: [styles[0]!] });
    expect(grey!.image.channels).toBe(1);
  });

  it("says what is missing", async () => {
    await using augmenter = await Augmenter.open({ ...CHOICES, method: "reinhard", p: 1 });
    const [{ image }] = tiles as [Tile];
    await expect(augmenter.apply([image], ["a"])).rejects.toThrow(/reinhard needs a style/);
    await expect(augmenter.apply([image], [])).rejects.toThrow(/1 images and 0 keys/);
    await expect(augmenter.apply([{ ...image, width: 3 }], ["a"])).rejects.toMatchObject({ code: "ARGUMENT" });
    await expect(augmenter.epoch(1).next()).rejects.toThrow(/no data set/);
    for (const options of [
      { p: -1 },
      { p: 0.5, portion: 0.5 },
      { strength: [0.9, 0.1] },
      { seed: 0.5 },
      { batch: 0 },
      { styles: "all" },
      { style: ["a"], styles: "roll" },
    ])
      await expect(Augmenter.open({ ...CHOICES, ...options } as never)).rejects.toMatchObject({ code: "ARGUMENT" });
  });

  it("ends when its signal is raised, and gives up nothing that is whole", async () => {
    const [out, controller] = [join(folder, "stopped"), new AbortController()];
    const options = { ...CHOICES, data, out, copies: 8, batch: 8 };
    const onProgress = (done: number) => {
      if (done >= 4) controller.abort(new Error("enough"));
    };
    await expect(augmentDataSet({ ...options, onProgress }, controller.signal)).rejects.toThrow("enough");
    const report = await augmentDataSet(options);
    expect(report.skipped).toBeGreaterThanOrEqual(4);
    expect(report.outputs).toBe((10 - report.skipped) * 8);
    const whole = join(folder, "whole");
    await augmentDataSet({ ...options, out: whole });
    expect(readFileSync(join(out, "manifest.jsonl"), "utf8")).toBe(readFileSync(join(whole, "manifest.jsonl"), "utf8"));
  });
});
