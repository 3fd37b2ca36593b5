import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { createWriter, openDataSet } from "../../src/datasets/open.js";
import type { DataFormat, OpenDataSetOptions } from "../../src/datasets/types.js";
import { temporaryFolder } from "../image/helpers.js";
import { drawTiles, inverted, keysOf, pixelsOf, python, pythonReads, runPython, samplesOf, sha, type Tile, writeAll, writeTiles } from "./drawn.js"; // biome-ignore format: one list

const root = temporaryFolder();
let tiles: Tile[];
let hasPyarrow = false;

beforeAll(async () => {
  tiles = await drawTiles();
  mkdirSync(join(root, "drawn"));
  writeTiles(join(root, "drawn"), tiles);
  if (python) hasPyarrow = runPython("write", join(root, "drawn"), join(root, "in")) === "pyarrow\n";
});

interface Case {
  /** Below the folder that Python has written. */
  path: string;
  format: DataFormat;
  options?: OpenDataSetOptions;
  /** What is expected of a tile. */
  label?: (tile: Tile) => unknown;
  domain?: (tile: Tile) => string | undefined;
  hasMask?: boolean;
  /** In the order that the format has them. */
  order?: (tiles: Tile[]) => Tile[];
  isGrey?: boolean;
}

const center = ({ center }: Tile): string => String(center);
const number = ({ number }: Tile): unknown => number;
const byShard = (tiles: Tile[]): Tile[] => [...tiles.filter((_, i) => i % 2 === 0), ...tiles.filter((_, i) => i % 2 === 1)];
const byFolder = (tiles: Tile[]): Tile[] =>
  tiles.toSorted((a, b) => (`${a.label}/${a.center}/${a.key}` < `${b.label}/${b.center}/${b.key}` ? -1 : 1));

const CASES: Case[] = [
  { path: "../drawn", format: "folder", hasMask: true, order: byFolder },
  { path: "../drawn", format: "folder", options: { domain: "2" }, domain: ({ center }) => `center${center}`, hasMask: true, order: byFolder }, // biome-ignore format: a line each
  {
    path: "camelyon",
    format: "csv",
    options: { domain: "center", split: "all" },
    label: ({ number }) => String(number),
    domain: center,
  },
  { path: "table/labels.csv", format: "csv", options: { domain: "hospital" }, domain: center, hasMask: true },
  { path: "plain.npz", format: "npz", options: { domain: "center" }, label: number, domain: center },
  { path: "packed.npz", format: "npz", label: number },
  { path: "versions.npz", format: "npz", label: number },
  { path: "grey.npz", format: "npz", label: ({ number }) => [number, 1 - number, number], isGrey: true },
  { path: "shards", format: "wds", options: { domain: "center" }, label: number, domain: center, hasMask: true, order: byShard },
  { path: "shards/tiles-{000000..000001}.tar", format: "wds", label: number, hasMask: true, order: byShard },
  { path: "tiles-*.tar.gz", format: "wds", label: number, hasMask: true, order: byShard },
  { path: "hf", format: "hf", options: { domain: "center" }, domain: center, hasMask: true },
  { path: "hf-csv", format: "hf", hasMask: true },
  { path: "parquet", format: "parquet", options: { domain: "center" }, label: number, domain: center, hasMask: true },
];
const named = CASES.map((one): [string, Case] => [`${one.path} ${JSON.stringify(one.options ?? {})}`, one]);

const skips = ({ path, format }: Case): string | undefined => {
  if (!python && path !== "../drawn") return "no Python with numpy and Pillow";
  return format === "parquet" && !hasPyarrow ? "no pyarrow" : undefined;
};
const grey = ({ image }: Tile): Uint8Array => image.data.filter((_, i) => i % 3 === 0);

describe("what Python's libraries have written", () => {
  it.each(named)("is read: %s", async (_, one) => {
    const skip = skips(one);
    if (skip) return expect.soft(skip).toBeTruthy();
    const { format, options, label = ({ label }: Tile) => label, domain, hasMask = false, order, isGrey } = one;
    await using set = await openDataSet(join(root, "in", one.path), options);
    const expected = order ? order(tiles) : tiles;
    expect([set.format, set.count]).toEqual([format, tiles.length]);
    const samples = await samplesOf(set);
    expect(samples.map((sample) => sample.label)).toEqual(expected.map(label));
    if (domain) expect(samples.map((sample) => sample.domain)).toEqual(expected.map(domain));
    for (const [i, sample] of samples.entries()) {
      const image = await pixelsOf(sample);
      expect(sha(image.data)).toBe(sha(isGrey ? grey(expected[i]!) : expected[i]!.image.data));
      if ("bytes" in sample.image) expect(sha(sample.image.bytes)).toBe(sha(expected[i]!.file));
      const masks = sample.rest.parts?.filter(({ name }) => name === "mask.png") ?? [];
      expect(masks.map(({ bytes }) => sha(bytes))).toEqual(hasMask ? [sha(expected[i]!.mask)] : []);
    }
    // Keys alone are the same, and so are samples from the middle on.
    const keys = samples.map(({ key, source, label, domain }) => ({ key, source, label, domain }));
    expect(await keysOf(set)).toEqual(keys);
    expect(new Set(keys.map(({ key }) => key)).size).toBe(tiles.length);
    expect((await samplesOf(set, 13)).map(({ key }) => key)).toEqual(keys.slice(13).map(({ key }) => key));
  });
});

describe("what is written in the input's own format", () => {
  it.each(named)("Python's libraries read: %s", async (name, one) => {
    const skip = skips(one) ?? (python ? undefined : "no Python with numpy and Pillow");
    if (skip) return expect.soft(skip).toBeTruthy();
    const { format, options, order, hasMask, isGrey } = one;
    await using set = await openDataSet(join(root, "in", one.path), options);
    const out = join(root, `out ${sha(name).slice(0, 8)}`);
    await using writer = await createWriter(format, out, { like: set });
    const places = await writeAll(set, writer);
    expect(new Set(places).size).toBe(2 * tiles.length);
    const file = format === "npz" ? join(out, one.path) : out;
    const reads = format === "hf" && one.path === "hf-csv" ? "hf-csv" : format;
    const read = pythonReads(reads, file).filter(({ array }) => array === undefined);
    expect(read).toHaveLength(2 * tiles.length);
    const expected = (order ? order(tiles) : tiles).flatMap((tile) =>
      [tile.image, inverted(tile.image)].map((image) => ({ tile, image })),
    );
    for (const [i, { tile, image }] of expected.entries()) {
      expect(read[i].pixels).toBe(sha(isGrey ? grey({ ...tile, image }) : image.data));
      expect(read[i].mask).toBe(hasMask ? sha(tile.mask) : null);
    }
    const label = one.label ?? (({ label }: Tile) => label);
    const labels = expected.map(({ tile }) => label(tile));
    if (format === "npz") expect(read.map(({ label }) => label)).toEqual(labels.map((one) => [one].flat()));
    else if (format === "folder") expect(read.map(({ label }) => label)).toEqual(expected.map(({ tile }) => tile.label));
    else if (format === "parquet") expect(read.map(({ label }) => label)).toEqual(expected.map(({ tile }) => tile.label));
    else expect(read.map(({ label }) => label)).toEqual(labels);
    // And ours reads what it has written.
    await using again = await openDataSet(file, options);
    expect([again.format, again.count]).toEqual([format, 2 * tiles.length]);
    const samples = await samplesOf(again);
    expect(samples.map((sample) => sample.label)).toEqual(labels);
    if (one.domain) expect(samples.map((sample) => sample.domain)).toEqual(expected.map(({ tile }) => one.domain!(tile)));
  });
});
