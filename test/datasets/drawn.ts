import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isLost, type Rest } from "../../src/datasets/sample.js";
import type { DataSet, DataSetWriter, Output, Sample } from "../../src/datasets/types.js";
import { decodeImage } from "../../src/image/decode.js";
import { encodeImage } from "../../src/image/encode.js";
import type { PixelImage } from "../../src/image/types.js";
import { HOSPITALS, paintTissue } from "../../src/tissue/painter.js";

export const sha = (data: Uint8Array | string): string => createHash("sha256").update(data).digest("hex");

/** A drawn tile of one of five hospitals, with its tumour's mask. */
export interface Tile {
  key: string;
  label: "normal" | "tumour";
  number: number;
  center: number;
  image: PixelImage;
  file: Uint8Array;
  mask: Uint8Array;
}

/** Two tiles of each class in each of five hospitals. */
export async function drawTiles(count = 20, size = 32): Promise<Tile[]> {
  const tiles: Tile[] = [];
  for (let i = 0; i < count; i++) {
    const center = i % HOSPITALS.length;
    const number = Math.floor(i / HOSPITALS.length) % 2;
    const kind = number === 1 ? "tumour" : "stroma";
    const { data, tumourMask } = paintTissue({ size, seed: i, hospital: center, kind, micronsPerPixel: 1 });
    const image: PixelImage = { data, width: size, height: size, channels: 3 };
    const mask: PixelImage = { data: tumourMask.map((one) => one * 255), width: size, height: size, channels: 1 };
    tiles.push({
      ...{ key: `t${String(i).padStart(2, "0")}`, label: number === 1 ? "tumour" : "normal", number, center, image },
      file: await encodeImage(image, { format: "png" }),
      mask: await encodeImage(mask, { format: "png" }),
    });
  }
  return tiles;
}

/** Writes tiles as a folder a class, and in it a folder a hospital, with masks beside them; and an index for the script. */
export function writeTiles(root: string, tiles: readonly Tile[]): void {
  const index = tiles.map(({ key, label, number, center, file, mask }) => {
    const stem = `${label}/center${center}/${key}`;
    mkdirSync(dirname(join(root, stem)), { recursive: true });
    writeFileSync(join(root, `${stem}.png`), file);
    writeFileSync(join(root, `${stem}_mask.png`), mask);
    return { key, label, number, center, image: `${stem}.png`, mask: `${stem}_mask.png` };
  });
  writeFileSync(join(root, "index.json"), JSON.stringify(index));
}

const script = fileURLToPath(new URL("formats.py", import.meta.url));

/** A Python that has numpy and Pillow: `STYLIZING_VIT_PYTHON`, or else the system's; nothing where there is none. */
export const python: string | undefined = [process.env.STYLIZING_VIT_PYTHON ?? "", "/usr/bin/python3"].find((one) => {
  try {
    execFileSync(one, ["-c", "import numpy, PIL"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
});

export const runPython = (...args: string[]): string =>
  execFileSync(python!, [script, ...args], { encoding: "utf8", maxBuffer: 1 << 26 });

/** What Python's libraries read of data sets, each a format and a path; by path. */
// biome-ignore lint/suspicious/noExplicitAny: whatever the script prints
export function pythonReads(sets: readonly (readonly [format: string, path: string])[]): Map<string, any[]> {
  // biome-ignore lint/suspicious/noExplicitAny: whatever the script prints
  const read = new Map<string, any[]>();
  let lines: unknown[] = [];
  for (const text of runPython("read", ...sets.flat())
    .trim()
    .split("\n")) {
    const line = JSON.parse(text) as { path?: string };
    if (line.path === undefined) lines.push(line);
    else {
      lines = [];
      read.set(line.path, lines);
    }
  }
  return read;
}

/** All samples, of which none may be lost. */
export async function samplesOf(set: DataSet, from?: number): Promise<(Sample & { rest: Rest })[]> {
  const samples: (Sample & { rest: Rest })[] = [];
  for await (const sample of set.samples({ from })) {
    if (isLost(sample)) throw sample.error;
    samples.push(sample as Sample & { rest: Rest });
  }
  return samples;
}

export async function keysOf(set: DataSet) {
  const keys = [];
  for await (const key of set.keys()) keys.push(key);
  return keys;
}

export const pixelsOf = async ({ image }: Sample): Promise<PixelImage> =>
  "bytes" in image ? await decodeImage(image.bytes, { channels: 3 }) : image;

/** What stands for a restyled image. */
export const inverted = (image: PixelImage): PixelImage => ({ ...image, data: image.data.map((one) => 255 - one) });

/** The sample itself and an inverted copy. */
export async function outputsOf(sample: Sample): Promise<Output[]> {
  return [
    { sample, copy: 0 },
    { sample, copy: 1, image: inverted(await pixelsOf(sample)) },
  ];
}

/** Writes all samples of a data set, in groups. */
export async function writeAll(set: DataSet, writer: DataSetWriter, groupSize = 7): Promise<string[]> {
  const places: string[] = [];
  let [group, outputs]: [number, Output[]] = [0, []];
  const flush = async () => {
    for (const output of outputs) places.push(writer.place(output, group));
    await writer.write(group++, outputs);
    outputs = [];
  };
  for (const sample of await samplesOf(set)) {
    outputs.push(...(await outputsOf(sample)));
    if (outputs.length >= groupSize) await flush();
  }
  if (outputs.length > 0) await flush();
  await writer.finish(group);
  return places;
}
