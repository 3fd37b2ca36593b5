import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { createWriter, openDataSet } from "../../src/datasets/open.js";
import type { DataFormat, OpenDataSetOptions } from "../../src/datasets/types.js";
import { noise, temporaryFolder } from "../image/helpers.js";
import { root as project } from "../support/fixtures.js";
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
  it.for(named)("is read: %s", async ([, one], { skip }) => {
    const reason = skips(one);
    if (reason) skip(reason);
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

it("a parquet file of pyarrow's, which comes with the project, is read", async () => {
  await using set = await openDataSet(join(project, "test/fixtures/pyarrow.parquet"), { domain: "center" });
  const found = await samplesOf(set);
  expect(found.map(({ key, source }) => [key, source])).toEqual(
    [0, 1, 2, 3, 4, 5].map((row) => [`pyarrow/${row}`, `pyarrow.parquet#${row}`]),
  );
  expect(found.map(({ label, domain, rest }) => [label, domain, rest.className])).toEqual(
    [0, 1, 2, 3, 4, 5].map((row) => [row % 2, `c${Math.floor(row / 2)}`, row % 2 === 1 ? "tumour" : "normal"]),
  );
  for (const [row, sample] of found.entries()) expect((await pixelsOf(sample)).data).toEqual(noise(4, 4, 3, row + 1).data);
});

/** Cases that are written again, in their own format. */
const AGAIN = named.filter(([, { path }]) => !["versions.npz", "shards/tiles-{000000..000001}.tar"].includes(path));

describe.skipIf(!python)("what is written in the input's own format", () => {
  const places = new Map<string, string[]>();
  let read: ReturnType<typeof pythonReads>;
  const outOf = (name: string) => join(root, `out ${sha(name).slice(0, 8)}`);
  const fileOf = (name: string, { format, path }: Case) => (format === "npz" ? join(outOf(name), path) : outOf(name));
  const kind = ({ format, path }: Case) => (path === "hf-csv" ? path : format);

  beforeAll(async () => {
    const sets: [string, string][] = [["npz", join(root, "in/plain.npz")]];
    if (hasPyarrow) sets.push(["parquet", join(root, "in/parquet")]);
    for (const [name, one] of AGAIN) {
      if (skips(one)) continue;
      await using set = await openDataSet(join(root, "in", one.path), one.options);
      await using writer = await createWriter(one.format, outOf(name), { like: set });
      places.set(name, await writeAll(set, writer));
      sets.push([kind(one), fileOf(name, one)]);
    }
    if (hasPyarrow) {
      await using set = await openDataSet(join(root, "drawn"), { domain: "2" });
      await using writer = await createWriter("parquet", join(root, "parquet"), { like: set });
      await writeAll(set, writer);
      sets.push(["parquet", join(root, "parquet")]);
    }
    read = pythonReads(sets);
  });

  it.for(AGAIN)("is read by Python's libraries and by ours: %s", async ([name, one], { skip }) => {
    const reason = skips(one);
    if (reason) skip(reason);
    const { format, options, order, hasMask, isGrey, label = ({ label }: Tile) => label } = one;
    const found = read.get(fileOf(name, one))!.filter(({ array }) => array === undefined);
    expect(found).toHaveLength(2 * tiles.length);
    expect(new Set(places.get(name)).size).toBe(2 * tiles.length);
    const images = (order ? order(tiles) : tiles).flatMap((tile) =>
      [tile.image, inverted(tile.image)].map((image) => ({ tile, image })),
    );
    for (const [i, { tile, image }] of images.entries()) {
      expect(found[i].pixels).toBe(sha(isGrey ? grey({ ...tile, image }) : image.data));
      expect(found[i].mask).toBe(hasMask ? sha(tile.mask) : null);
    }
    const labels = images.map(({ tile }) => label(tile));
    const named = format === "folder" || format === "parquet";
    const expected = named ? images.map(({ tile }) => tile.label) : format === "npz" ? labels.map((one) => [one].flat()) : labels;
    expect(found.map(({ label }) => label)).toEqual(expected);
    await using again = await openDataSet(fileOf(name, one), options);
    expect([again.format, again.count]).toEqual([format, 2 * tiles.length]);
    const samples = await samplesOf(again);
    expect(samples.map((sample) => sample.label)).toEqual(labels);
    if (one.domain) expect(samples.map((sample) => sample.domain)).toEqual(images.map(({ tile }) => one.domain!(tile)));
  });

  /** Lines of the written data set that is this case's. */
  const linesOf = (path: string) => {
    const [name, one] = AGAIN.find(([, one]) => one.path === path)!;
    return read.get(fileOf(name, one))!;
  };

  it("keeps arrays of other splits, and types of labels", () => {
    const before = new Map(read.get(join(root, "in/plain.npz"))!.map((line) => [line.array, line]));
    const after = new Map(linesOf("plain.npz").map((line) => [line.array, line]));
    const others = ["val_images", "val_labels", "test_images", "test_labels"];
    for (const name of others) expect(after.get(name)).toEqual(before.get(name));
    expect([...after.keys()]).toEqual([...before.keys()]);
    expect(after.get("train_labels")).toMatchObject({ type: "|u1", shape: [40, 1] });
    const centers = BigInt64Array.from(tiles.flatMap(({ center }) => [BigInt(center), BigInt(center)]));
    expect(after.get("train_center")).toMatchObject({ type: "<i8", shape: [40], sha: sha(new Uint8Array(centers.buffer)) });
  });

  it("keeps members of tars byte for byte", () => {
    const json = byShard(tiles).flatMap(({ center }) => Array(2).fill(`{"center": ${center}, "exact": 0.1}`));
    expect(linesOf("shards").map((line) => line.json)).toEqual(json);
    expect(linesOf("shards")[0].key).toBe(`${"x".repeat(120)}__0`);
  });

  it("keeps all columns of tables", () => {
    const rows = linesOf("camelyon").map(({ row }) => row);
    expect(rows[2]).toEqual({
      ...{ "": "1", patient: "011", node: "1", x_coord: "96", y_coord: "32", tumor: "0", slide: "1", center: "1", split: "0" },
      path: "patches/patient_011_node_1/patch_patient_011_node_1_x_96_y_32__0.png",
    });
    const others = linesOf("table/labels.csv").map(({ row }) => row);
    expect(others[3]).toEqual({
      ...{ note: 'so, "t01"', path: "tiles/t01__1.png", label: "normal", mask: "tiles/t01__1_mask.png", hospital: "1" },
    });
  });

  it("keeps a line of JSON byte for byte, but for names of files", () => {
    const line = (key: string) =>
      `{"label": "normal", "file_name": "${key}.png", "mask_file_name": "${key}_mask.png", "center": 1, "big": 12345678901234567890, "float": 1.0}\n`;
    expect(
      linesOf("hf")
        .slice(2, 4)
        .map(({ text }) => text),
    ).toEqual([line("t01__0"), line("t01__1")]);
  });

  it("keeps schema and columns of parquet", ({ skip }) => {
    if (!hasPyarrow) skip("no pyarrow");
    const before = read.get(join(root, "in/parquet"))!;
    const after = linesOf("parquet");
    expect(after.map(({ rest }) => rest)).toEqual(before.flatMap(({ rest }) => [rest, rest]));
    expect(after[0].schema).toBe(before[0].schema);
    const features = read.get(join(root, "parquet"))!;
    expect(features.map(({ label, mask, rest }) => [label, mask, rest])).toEqual(
      byFolder(tiles).flatMap((tile) => Array(2).fill([tile.label, sha(tile.mask), { domain: `center${tile.center}` }])),
    );
    expect(before[4].rest).toMatchObject({
      words: "é4",
      weights: "[0.5, 1.3333333333333333]",
      when: "2023-11-14 22:13:20.127000",
    });
  });
});
