import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { createWriter, DATA_FORMATS, openDataSet } from "../../src/datasets/open.js";
import type { DataFormat } from "../../src/datasets/types.js";
import { temporaryFolder } from "../image/helpers.js";
import { drawTiles, inverted, pixelsOf, samplesOf, sha, type Tile, writeAll, writeTiles } from "./drawn.js";

const root = temporaryFolder();
let tiles: Tile[];
const notes = new Map<string, string[]>();
const first = (format: DataFormat) => join(root, format, ...(format === "npz" ? ["data.npz"] : []));

/** Converts a data set and says what was noted. */
async function convert(from: string, format: DataFormat, out: string): Promise<string[]> {
  const said: string[] = [];
  await using set = await openDataSet(from);
  await using writer = await createWriter(format, out, { like: set, onNote: (note) => said.push(note) });
  await writeAll(set, writer);
  return said;
}

beforeAll(async () => {
  tiles = (await drawTiles(7, 16)).slice(3).toSorted((a, b) => (`${a.label}/${a.center}` < `${b.label}/${b.center}` ? -1 : 1));
  mkdirSync(join(root, "drawn"));
  writeTiles(join(root, "drawn"), tiles);
  for (const format of DATA_FORMATS) notes.set(format, await convert(join(root, "drawn"), format, join(root, format)));
});

/** What a data set has once each tile was written twice, `times` times. */
function expected(times: number) {
  let images = tiles.map((tile) => ({ tile, image: tile.image }));
  for (let i = 0; i < times; i++)
    images = images.flatMap(({ tile, image }) => [
      { tile, image },
      { tile, image: inverted(image) },
    ]);
  return images;
}

async function check(path: string, times: number, { isInOrder = true } = {}) {
  await using set = await openDataSet(path);
  const found = await samplesOf(set);
  const all = await Promise.all(
    found.map(async ({ image, label, rest: { parts = [], className } }) => ({
      pixels: sha((await pixelsOf({ image } as never)).data),
      className: className ?? String(label),
      mask: parts.filter(({ name }) => name.startsWith("mask")).map(({ bytes }) => sha(bytes)),
    })),
  );
  const wanted = expected(times).map(({ tile, image }) => ({ tile, pixels: sha(image.data) }));
  if (!isInOrder) {
    all.sort((a, b) => (a.pixels < b.pixels ? -1 : 1));
    wanted.sort((a, b) => (a.pixels < b.pixels ? -1 : 1));
  }
  expect(all.map(({ pixels }) => pixels)).toEqual(wanted.map(({ pixels }) => pixels));
  return { set, all, wanted };
}

describe("a folder of classes", () => {
  it.each(DATA_FORMATS)("becomes %s with its pixels, labels and masks", async (format) => {
    const { set, all, wanted } = await check(first(format), 1);
    expect(set.format).toBe(format);
    const isNumber = format === "npz" || format === "wds";
    expect(all.map(({ className }) => className)).toEqual(
      wanted.map(({ tile }) => (isNumber ? String(tile.number) : tile.label)),
    );
    for (const [i, { mask }] of all.entries()) expect(mask).toEqual(format === "npz" ? [] : [sha(wanted[i]!.tile.mask)]);
    const numbered = "classes are numbers there: 0 normal, 1 tumour";
    const lost = format === "npz" ? ["not carried over into an npz: mask"] : [];
    expect(notes.get(format)).toEqual([...(isNumber || format === "parquet" ? [numbered] : []), ...lost]);
  });

  it("keeps class names in parquet as Hugging Face reads them", () => {
    const text = readFileSync(join(root, "parquet/data/train-000000.parquet"), "latin1");
    expect(text).toContain('"label":{"names":["normal","tumour"],"_type":"ClassLabel"}');
  });
});

const PAIRS = DATA_FORMATS.slice(1).flatMap((from) => DATA_FORMATS.map((to): [DataFormat, DataFormat] => [from, to]));

describe("every format", () => {
  it.each(PAIRS)("%s becomes %s", async (from, to) => {
    const out = join(root, `${from} to ${to}`);
    await convert(first(from), to, out);
    const path = to === "npz" ? join(out, "data.npz") : out;
    // Folders are read by name, and by class first.
    const { all, wanted } = await check(path, 2, { isInOrder: to !== "folder" });
    const isNumber = [from, to].some((one) => one === "npz" || one === "wds");
    expect(all.map(({ className }) => className)).toEqual(
      wanted.map(({ tile }) => (isNumber ? String(tile.number) : tile.label)),
    );
    for (const [i, { mask }] of all.entries())
      expect(mask).toEqual(from === "npz" || to === "npz" ? [] : [sha(wanted[i]!.tile.mask)]);
  });
});

describe("a reader that is left", () => {
  const open = () => readdirSync("/proc/self/fd").length;

  it.skipIf(!existsSync("/proc/self/fd")).each(DATA_FORMATS)("early or by a signal closes its files: %s", async (format) => {
    const before = open();
    {
      await using set = await openDataSet(first(format));
      for await (const _ of set.samples()) break;
      for await (const _ of set.keys()) break;
      expect((await samplesOf(set, set.count)).length).toBe(0);
      const stop = new AbortController();
      const reason = new Error("stopped");
      const reading = async () => {
        for await (const { key } of set.samples({ signal: stop.signal })) if (key !== "") stop.abort(reason);
      };
      await expect(reading()).rejects.toBe(reason);
      await expect(set.keys(stop.signal)[Symbol.asyncIterator]().next()).rejects.toBe(reason);
    }
    await expect.poll(open).toBe(before);
  });
});

describe("several readers of one data set", () => {
  it.each(DATA_FORMATS)("%s: see what one sees, however their turns fall", async (format) => {
    await using set = await openDataSet(first(format));
    const shown = async (from: number) =>
      (await samplesOf(set, from)).map(({ key, label, rest: { parts = [] } }) =>
        JSON.stringify([key, label, parts.map(({ name, bytes }) => [name, sha(bytes)])]),
      );
    const alone = await shown(0);
    expect(alone.length).toBeGreaterThan(4);
    const starts = [0, 3, 1, alone.length - 1];
    const together = await Promise.all(starts.map(shown));
    expect(together).toEqual(starts.map((from) => alone.slice(from)));
  });
});
