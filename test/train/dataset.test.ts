import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { listDataset } from "../../src/image/folder.js";
import { ImagePool } from "../../src/image/pool.js";
import { cut, loadSquare } from "../../src/image/preprocess.js";
import { measureStatistics } from "../../src/models/batch.js";
import type { DataFile } from "../../src/models/task.js";
import { permutation } from "../../src/random.js";
import { type BatchOptions, Dataset, type DatasetOptions, fingerprint, type TrainingBatch } from "../../src/train/dataset.js";
import { loadValidation } from "../../src/train/validation.js";
import { build } from "../command/command.js";
import { noise } from "../image/helpers.js";

const root = mkdtempSync(join(tmpdir(), "stylizing-vit-dataset-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const SIZE = 16;

async function write(name: string, seed: number, width: number, height = width): Promise<void> {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  const { data } = noise(width, height, 3, seed * 7919 + 1);
  await sharp(data, { raw: { width, height, channels: 3 } }).toFile(path);
}

let pool: ImagePool;
let files: DataFile[];
beforeAll(async () => {
  await build();
  for (let i = 0; i < 10; i++) await write(`data/${i % 2 ? "odd/deep" : "even"}/${i}.png`, i, 20 + i, 30 - i);
  await write("data/small.png", 77, 9, 30);
  writeFileSync(join(root, "data/notes.txt"), "no image");
  writeFileSync(join(root, "data/bad.png"), "no image either");
  writeFileSync(join(root, "data/odd/worse.jpg"), "");
  await write("data/out/result.png", 1, 20);
  pool = new ImagePool(2);
  files = await listDataset([join(root, "data")], join(root, "data/out"), "training images");
});
afterAll(() => pool.dispose());

const notes: string[] = [];
const options = (changes: Partial<DatasetOptions> = {}): DatasetOptions => ({
  size: SIZE,
  channels: 3,
  pool,
  seed: 5,
  crop: "whole",
  cropsPerImage: 1,
  flips: false,
  cacheBytes: 2 ** 30,
  onUnreadable: ({ name }) => notes.push(name),
  ...changes,
});

const open = async (changes?: Partial<DatasetOptions>) => (await Dataset.open(files, options(changes))).dataset;

async function collect(dataset: Dataset, batches: BatchOptions): Promise<TrainingBatch[]> {
  const list: TrainingBatch[] = [];
  for await (const batch of dataset.batches(batches)) list.push(batch);
  return list;
}

const square = (batch: TrainingBatch, i: number) => batch.images.subarray(i * SIZE * SIZE * 3, (i + 1) * SIZE * SIZE * 3);

describe("what a dataset is made of", () => {
  it("images at any depth in order, without results and what is no image", () => {
    expect(files.map(({ name }) => name)).toEqual([
      "bad.png",
      ...[0, 2, 4, 6, 8].map((i) => `even/${i}.png`),
      ...[1, 3, 5, 7, 9].map((i) => `odd/deep/${i}.png`),
      "odd/worse.jpg",
      "small.png",
    ]);
    expect(fingerprint(files)).toBe(fingerprint(files.map(({ name }) => ({ name, path: `elsewhere/${name}` }))));
    expect(fingerprint(files.slice(1))).not.toBe(fingerprint(files));
  });

  it("nothing: refused with what to do", async () => {
    const missing = listDataset([join(root, "gone")], root, "training images");
    await expect(missing).rejects.toMatchObject({ code: "ARGUMENT", message: expect.stringContaining("gone do not exist") });
    mkdirSync(join(root, "empty"), { recursive: true });
    await expect(listDataset([join(root, "empty")], root, "validation images")).rejects.toMatchObject({
      code: "ARGUMENT",
      message: expect.stringMatching(/no validation images in .*Give folders/),
    });
  });

  it("what cannot be read is reported once, and the rest is measured as the model sees it", async () => {
    notes.length = 0;
    const { dataset, unreadable, mean, std } = await Dataset.open(files, options());
    expect(notes).toEqual(["bad.png", "odd/worse.jpg"]);
    expect(unreadable).toEqual([0, 11]);
    expect(dataset.files).toEqual(files.filter((_, i) => i !== 0 && i !== 11));
    const images = await Promise.all(dataset.files.map(({ path }) => loadSquare(path, SIZE, 3)));
    const measured = measureStatistics(images.map((image) => cut(image, image.placement)));
    for (const c of [0, 1, 2]) {
      expect(mean[c]).toBe(Math.round(measured.mean[c]! * 1e4) / 1e4);
      expect(std[c]).toBe(Math.round(measured.std[c]! * 1e4) / 1e4);
    }
    expect(Dataset.reopen(files, unreadable, options()).files).toEqual(dataset.files);
    expect(notes).toHaveLength(2);
  });

  it("nothing that can be read at all is an error", async () => {
    await expect(Dataset.open([files[0]!, files[11]!], options())).rejects.toMatchObject({ code: "IMAGE" });
  });
});

describe("batches", () => {
  it("every image once an epoch, in an order of its own; the incomplete last batch is left out", async () => {
    const dataset = await open();
    const all = new Map<string, number>();
    for (const [i, { path }] of dataset.files.entries())
      all.set(Buffer.from((await loadSquare(path, SIZE, 3)).data).toString("latin1"), i);
    expect(dataset.steps(4)).toBe(2);
    const batches = await collect(dataset, { batch: 4, epochs: 3 });
    expect(batches.map(({ epoch, step }) => [epoch, step])).toEqual(
      [0, 1, 2].flatMap((epoch) => [0, 1].map((step) => [epoch, step])),
    );
    const orders = [0, 1, 2].map((epoch) =>
      batches
        .filter((batch) => batch.epoch === epoch)
        .flatMap((batch) => [0, 1, 2, 3].map((i) => all.get(Buffer.from(square(batch, i)).toString("latin1")))),
    );
    for (const order of orders) {
      expect(new Set(order).size).toBe(8);
      expect(order).not.toContain(undefined);
    }
    expect(orders[0]).not.toEqual(orders[1]);
    expect(orders[1]).not.toEqual(orders[2]);
  });

  it.each([
    ["whole", 1, false],
    ["random", 3, true],
  ] as const)("the same bytes from any start, with and without threads and memory (%s)", async (crop, cropsPerImage, flips) => {
    const changes = { crop, cropsPerImage, flips };
    const dataset = await open(changes);
    const batches = await collect(dataset, { batch: 3, epochs: 2 });
    for (const from of [
      { epoch: 0, step: 2 },
      { epoch: 1, step: 0 },
      { epoch: 0, step: dataset.steps(3) },
    ]) {
      const rest = batches.filter(({ epoch, step }) => epoch > from.epoch || (epoch === from.epoch && step >= from.step));
      expect(await collect(dataset, { batch: 3, epochs: 2, from })).toEqual(rest);
    }
    await using here = new ImagePool(0);
    for (const other of [{ cacheBytes: 0 }, { cacheBytes: 3000 }, { pool: here, cacheBytes: 0 }]) {
      expect(await collect(await open({ ...changes, ...other }), { batch: 3, epochs: 2 })).toEqual(batches);
      const reopened = Dataset.reopen(files, [0, 11], options({ ...changes, ...other }));
      expect(await collect(reopened, { batch: 3, epochs: 2 })).toEqual(batches);
    }
    expect(await collect(await open({ ...changes, seed: 6 }), { batch: 3, epochs: 2 })).not.toEqual(batches);
  });

  it("random crops are windows of the image, mirrored where asked, and other ones in another epoch", async () => {
    const path = join(root, "one.png");
    const { data } = noise(40, 25, 3, 9);
    await sharp(data, { raw: { width: 40, height: 25, channels: 3 } }).toFile(path);
    const one = [{ path, name: "one.png" }];
    const find = (window: Uint8Array): string[] => {
      const found: string[] = [];
      for (let top = 0; top <= 25 - SIZE; top++) {
        for (let left = 0; left <= 40 - SIZE; left++) {
          for (const mirror of ["", "x", "y", "xy"]) {
            const same = (x: number, y: number) => {
              const sx = left + (mirror.includes("x") ? SIZE - 1 - x : x);
              const sy = top + (mirror.includes("y") ? SIZE - 1 - y : y);
              return data[(sy * 40 + sx) * 3 + 1] === window[(y * SIZE + x) * 3 + 1];
            };
            if (same(0, 0) && same(5, 3) && same(15, 15) && same(2, 9) && same(11, 1)) found.push(`${left},${top}${mirror}`);
          }
        }
      }
      return found;
    };
    for (const flips of [false, true]) {
      const { dataset } = await Dataset.open(one, options({ crop: "random", cropsPerImage: 20, flips }));
      const batches = await collect(dataset, { batch: 20, epochs: 2 });
      const places = batches.map((batch) =>
        Array.from({ length: 20 }, (_, i) => {
          const found = find(square(batch, i));
          expect(found).toHaveLength(1);
          return found[0]!;
        }),
      );
      expect(new Set(places.flat()).size).toBeGreaterThan(30);
      expect(new Set(places[0]).size).toBeGreaterThan(15);
      const mirrors = new Set(places.flat().map((text) => text.replace(/[\d,]/g, "")));
      expect(mirrors).toEqual(new Set(flips ? ["", "x", "y", "xy"] : [""]));
    }
  });

  it("too few images for one are refused with the cure, and crops are one", async () => {
    const dataset = await open();
    expect(() => dataset.steps(12)).toThrow(/11 images × 1 crops does not fill a batch of 12.*--crops/);
    await expect(collect(dataset, { batch: 12, epochs: 1 })).rejects.toMatchObject({ code: "ARGUMENT" });
    expect((await open({ cropsPerImage: 3 })).steps(12)).toBe(2);
  });

  it("are prepared two ahead and no further", async () => {
    let loads = 0;
    const counting = new Proxy(pool, {
      get: (target, key) => {
        if (key !== "load") return Reflect.get(target, key);
        return (...task: Parameters<ImagePool["load"]>) => {
          loads++;
          return target.load(...task);
        };
      },
    });
    const dataset = Dataset.reopen(files, [0, 11], options({ cacheBytes: 0, pool: counting }));
    const batches = dataset.batches({ batch: 2, epochs: 9 });
    await batches.next();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(loads).toBe(6);
    await batches.next();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(loads).toBe(8);
    await batches.return();
  });

  it("stop when told", async () => {
    const dataset = await open();
    const controller = new AbortController();
    const batches = dataset.batches({ batch: 2, epochs: 1000, signal: controller.signal });
    await batches.next();
    controller.abort(new Error("enough"));
    await expect(batches.next()).rejects.toThrow("enough");
    expect(await batches.next()).toMatchObject({ done: true });
    await expect(Dataset.open(files, options(), { signal: controller.signal })).rejects.toThrow("enough");
  });

  it("an image that vanishes later gives way to the next, is reported once, and the others stay as they were", async () => {
    const names = ["a", "b", "c", "d"].map((name) => `vanishing/${name}.png`);
    for (const [i, name] of names.entries()) await write(name, 50 + i, 20);
    const list = await listDataset([join(root, "vanishing")], root, "training images");
    const before = await collect(Dataset.reopen(list, [], options({ cacheBytes: 0 })), { batch: 2, epochs: 2 });
    rmSync(join(root, "vanishing/b.png"));
    notes.length = 0;
    const after = await collect(Dataset.reopen(list, [], options({ cacheBytes: 0 })), { batch: 2, epochs: 2 });
    expect(notes).toEqual(["b.png"]);
    const next = await loadSquare(join(root, "vanishing/c.png"), SIZE, 3);
    let replaced = 0;
    for (const [k, batch] of before.entries()) {
      for (const i of [0, 1]) {
        if (Buffer.compare(square(batch, i), square(after[k]!, i)) === 0) continue;
        replaced++;
        expect(square(after[k]!, i)).toEqual(next.data);
      }
    }
    expect(replaced).toBe(2);
    for (const name of ["a", "c", "d"]) rmSync(join(root, `vanishing/${name}.png`));
    await expect(collect(Dataset.reopen(list, [], options({ cacheBytes: 0 })), { batch: 2, epochs: 1 })).rejects.toMatchObject({
      code: "IMAGE",
      message: expect.stringMatching(/any more/),
    });
  });
});

it("whatever the numbers: whole batches, each image as often as asked and no more, the same from any start", async () => {
  /** Images of one pixel, whose value is their number. */
  const pixels = (unreadable: ReadonlySet<number>) =>
    ({
      load: async ({ file }: { file: string }) => {
        const number = Number(file);
        if (unreadable.has(number)) throw new StylizingError("IMAGE", "no image", "none");
        const whole = { left: 0, top: 0, width: 1, height: 1 };
        return { data: Uint8Array.of(number), ...whole, channels: 1, placement: whole, originalWidth: 1, originalHeight: 1 };
      },
    }) as unknown as ImagePool;
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        count: fc.integer({ min: 1, max: 30 }),
        crops: fc.integer({ min: 1, max: 4 }),
        batch: fc.integer({ min: 2, max: 9 }),
        epochs: fc.integer({ min: 1, max: 3 }),
        seed: fc.maxSafeInteger(),
        start: fc.nat(20),
        ahead: fc.integer({ min: 0, max: 4 }),
        cacheBytes: fc.nat(40),
        bad: fc.uniqueArray(fc.nat(29), { maxLength: 5 }),
      }),
      async ({ count, crops, batch, epochs, seed, start, ahead, cacheBytes, bad }) => {
        const list = Array.from({ length: count }, (_, i) => ({ path: String(i), name: String(i) }));
        const readable = list.map((_, i) => i).filter((i) => !bad.includes(i));
        fc.pre(readable.length * crops >= batch);
        const common = { size: 1, channels: 1 as const, pool: pixels(new Set(bad)), seed, cropsPerImage: crops, cacheBytes };
        const { dataset, unreadable } = await Dataset.open(list, options(common));
        const steps = Math.floor((readable.length * crops) / batch);
        const batches = await collect(dataset, { batch, epochs, ahead });
        expect(batches).toHaveLength(steps * epochs);
        for (let epoch = 0; epoch < epochs; epoch++) {
          const seen = batches.filter((one) => one.epoch === epoch).flatMap(({ images }) => [...images]);
          const times = readable.map((number) => seen.filter((value) => value === number).length);
          expect(times.reduce((a, b) => a + b, 0)).toBe(steps * batch);
          expect(Math.max(...times)).toBeLessThanOrEqual(crops);
        }
        const from = { epoch: Math.floor(start / steps), step: start % steps };
        const again = Dataset.reopen(list, unreadable, options({ ...common, cacheBytes: 0 }));
        expect(await collect(again, { batch, epochs, from })).toEqual(batches.slice(start));
      },
    ),
  );
});

describe("permutation", () => {
  it("is one, of its arguments alone, and even", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 300 }), fc.maxSafeInteger(), fc.nat(1000), (count, seed, epoch) => {
        const order = permutation(count, seed, epoch);
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
        expect(permutation(count, seed, epoch)).toEqual(order);
        if (count > 20) {
          expect(permutation(count, seed, epoch + 1)).not.toEqual(order);
          expect(permutation(count, seed + (seed > 0 ? -1 : 1), epoch)).not.toEqual(order);
        }
      }),
    );
    const counts = Array.from({ length: 5 }, () => new Array<number>(5).fill(0));
    for (let epoch = 0; epoch < 5000; epoch++) for (const [i, value] of permutation(5, 1, epoch).entries()) counts[i]![value]!++;
    // Six deviations of a binomial count.
    for (const count of counts.flat()) expect(Math.abs(count - 1000)).toBeLessThan(6 * Math.sqrt(800));
  });
});

describe("loadValidation", () => {
  it("takes images spread evenly and leaves out what cannot be read", async () => {
    notes.length = 0;
    const all = await loadValidation(files, { limit: 512, fewest: 2 }, options());
    expect(all.files).toHaveLength(11);
    expect(notes).toHaveLength(2);
    const some = await loadValidation(files.slice(1, 11), { limit: 5, fewest: 2 }, options());
    const names = some.files.map(({ name }) => name);
    const spread = [0, 2, 4, 6, 8].map((i) => files[1 + i]!.name);
    // In an order that is not the list's and always the same.
    expect(names.toSorted()).toEqual(spread.toSorted());
    expect(names).not.toEqual(spread);
    expect(
      (await loadValidation(files.slice(1, 11), { limit: 5, fewest: 2 }, options({ seed: 99 }))).files.map(({ name }) => name),
    ).toEqual(names);
    const third = (await loadSquare(some.files[2]!.path, SIZE, 3)).data;
    expect(some.images.subarray(2 * SIZE * SIZE * 3, 3 * SIZE * SIZE * 3)).toEqual(third);
    await expect(loadValidation(files.slice(0, 2), { limit: 512, fewest: 2 }, options())).rejects.toMatchObject({
      code: "ARGUMENT",
    });
  });
});
