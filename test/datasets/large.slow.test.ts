import { execFileSync } from "node:child_process";
import {
  closeSync,
  createWriteStream,
  mkdirSync,
  openSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { afterEach, expect, it } from "vitest";
import { ZipFile } from "yazl";
import { GroupParts } from "../../src/datasets/group-parts.js";
import { npyHeader } from "../../src/datasets/npy.js";
import { createWriter, openDataSet } from "../../src/datasets/open.js";
import { tarOf } from "../../src/datasets/tar.js";
import type { PixelImage } from "../../src/image/types.js";
import { temporaryFolder } from "../image/helpers.js";
import { drawTiles, python } from "./drawn.js";

const root = temporaryFolder();
const folder = join(root, "now");
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const COUNT = 200_000;
const free = () => {
  const { bavail, bsize } = statfsSync(root);
  return bavail * bsize;
};

/** Copies a data set in a process of its own. @returns the most memory that it took, in bytes. */
function memoryOf(input: string, format: string, output: string, count: number): number {
  const script = fileURLToPath(new URL("memory.mjs", import.meta.url));
  const out = join(folder, `out ${count}`);
  const said = execFileSync(process.execPath, [script, input, format, out, join(out, output)], { encoding: "utf8" });
  const { most, count: written } = JSON.parse(said) as { most: number; count: number };
  expect(written).toBe(2 * count);
  return most;
}

it("two hundred thousand drawn tiles pass through tars with memory flat within 50 MB", { timeout: 600_000 }, async () => {
  const tiles = await drawTiles(50, 16);
  mkdirSync(join(folder, "in"), { recursive: true });
  for (let shard = 0; shard < 20; shard++) {
    function* members() {
      for (let i = 0; i < COUNT / 20; i++) {
        const { file, number } = tiles[i % tiles.length]!;
        const key = String(shard * (COUNT / 20) + i).padStart(7, "0");
        yield { path: `${key}.png`, bytes: file };
        yield { path: `${key}.cls`, bytes: Buffer.from(String(number)) };
      }
    }
    const name = join(folder, "in", `tiles-${String(shard).padStart(6, "0")}.tar`);
    await pipeline(Readable.from(tarOf(members())), createWriteStream(name));
  }
  const few = memoryOf(join(folder, "in/tiles-{000000..000001}.tar"), "wds", "", COUNT / 10);
  expect(memoryOf(join(folder, "in"), "wds", "", COUNT) - few).toBeLessThan(50e6);
});

it("two hundred thousand drawn tiles pass through an npz with memory flat within 50 MB", { timeout: 600_000 }, async () => {
  const tiles = await drawTiles(50, 16);
  mkdirSync(folder, { recursive: true });
  const write = async (count: number): Promise<string> => {
    const zip = new ZipFile();
    function* images() {
      yield npyHeader("|u1", [count, 16, 16, 3]);
      for (let i = 0; i < count; i++) yield tiles[i % tiles.length]!.image.data;
    }
    zip.addReadStream(Readable.from(images()), "train_images.npy", { compress: true });
    const labels = Uint8Array.from({ length: count }, (_, i) => tiles[i % tiles.length]!.number);
    zip.addBuffer(Buffer.concat([npyHeader("|u1", [count, 1]), labels]), "train_labels.npy");
    zip.end();
    await pipeline(zip.outputStream, createWriteStream(join(folder, `${count}.npz`)));
    return join(folder, `${count}.npz`);
  };
  const few = memoryOf(await write(COUNT / 10), "npz", `${COUNT / 10}.npz`, COUNT / 10);
  expect(memoryOf(await write(COUNT), "npz", `${COUNT}.npz`, COUNT) - few).toBeLessThan(50e6);
});

it("an npz with an entry beyond 4 GiB is written and read", { timeout: 600_000 }, async ({ skip }) => {
  if (free() < 12e9) skip("less than 12 GB of disk");
  const [side, groups, each] = [1024, 2, 700];
  const bytes = side * side * 3;
  mkdirSync(join(folder, "in/a"), { recursive: true });
  const [tile] = await drawTiles(1, 32);
  for (const name of ["a/1.png", "a/2.png"]) writeFileSync(join(folder, "in", name), tile!.file);
  await using like = await openDataSet(join(folder, "in"));
  const out = join(folder, "out");
  await using writer = await createWriter("npz", out, { like });
  // Parts as groups would have left them, but with holes.
  const parts = new GroupParts(out);
  for (let group = 0; group < groups; group++) {
    const arrays = { train_images: { descr: "|u1", shape: [side, side, 3] }, train_labels: { descr: "<i8", shape: [1] } };
    await parts.write(group, "train_images.raw", Buffer.alloc(0));
    await parts.write(group, "train_labels.raw", Buffer.alloc(8 * each, 0));
    await parts.write(group, "json", JSON.stringify({ count: each, arrays }));
    const file = parts.file(group, "train_images.raw");
    truncateSync(file, bytes * each);
    // The last image but one: 7 in its first byte.
    const handle = openSync(file, "r+");
    writeSync(handle, Uint8Array.of(7), 0, 1, bytes * (each - 2));
    closeSync(handle);
  }
  await writer.finish(groups);
  const file = join(out, "data.npz");
  await using set = await openDataSet(file);
  expect(set.count).toBe(groups * each);
  const firsts: number[] = [];
  for await (const sample of set.samples({ from: groups * each - 3 })) {
    const { data, width } = (sample as { image: PixelImage }).image;
    firsts.push(data[0]!, width, data.length);
  }
  expect(firsts).toEqual([0, side, bytes, 7, side, bytes, 0, side, bytes]);
  if (!python) skip("no Python with numpy");
  // numpy compares the checksum at the end.
  const script = `import numpy, sys; a = numpy.load(sys.argv[1])["train_images"]; print(a.shape, a[698:700, 0, 0, 0], a[-3:, 0, 0, 0], int(a.sum()))`;
  const said = execFileSync(python!, ["-c", script, file], { encoding: "utf8" });
  expect(said.trim()).toBe(`(1400, ${side}, ${side}, 3) [7 0] [0 7 0] 14`);
});
