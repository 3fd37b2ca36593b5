import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  MANIFEST,
  type ManifestHeader,
  type ManifestLine,
  ManifestWriter,
  readHeader,
  readLines,
} from "../../src/augment/manifest.js";

const root = mkdtempSync(join(tmpdir(), "stylizing-manifest-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
const fresh = () => mkdtempSync(join(root, `${count++}-`));

const header: ManifestHeader = {
  "stylizing-vit manifest": 1,
  version: "0.1.0",
  input: { path: "/data", format: "folder" },
  output: { format: "folder", copies: 1, keepOriginals: false, group: 2 },
  pipeline: { seed: 1, methods: [{ name: "hed-jitter", weight: 1, params: {} }] },
  adapters: {},
};
const line = (key: string): ManifestLine => ({ key, source: `${key}.png`, copy: 1, ops: [] });
const keysIn = async (folder: string) => {
  const keys: string[] = [];
  for await (const { key } of readLines(join(folder, MANIFEST))) keys.push(key);
  return keys.join("");
};

describe("a manifest", () => {
  it("grows by lines, and gives them back", async () => {
    const folder = fresh();
    const writer = await ManifestWriter.open(folder, header, false);
    await writer.add([line("a"), line("ü")]);
    await writer.add([line("c")]);
    expect(writer.lines).toBe(3);
    expect(await readHeader(join(folder, MANIFEST))).toEqual(header);
    expect(await keysIn(folder)).toBe("aüc");
  });

  it("goes on behind the whole lines of a run that was killed", async () => {
    const folder = fresh();
    const first = await ManifestWriter.open(folder, header, false);
    await first.add([line("a"), line("ü"), line("c")]);
    appendFileSync(join(folder, MANIFEST), '{"key":"d","sour');
    const second = await ManifestWriter.open(folder, header, false);
    expect(second.lines).toBe(3);
    await second.keep(2);
    await second.add([line("e")]);
    expect(await keysIn(folder)).toBe("aüe");
    expect(readFileSync(join(folder, MANIFEST), "utf8").endsWith("\n")).toBe(true);
  });

  it("cuts off what a kill left even where nothing else is given up", async () => {
    const folder = fresh();
    await (await ManifestWriter.open(folder, header, false)).add([line("a"), line("b")]);
    appendFileSync(join(folder, MANIFEST), '{"key":"to');
    await (await ManifestWriter.open(folder, header, false)).add([line("c")]);
    expect(await keysIn(folder)).toBe("abc");
  });

  it("refuses a run of something else, and says what differs", async () => {
    const folder = fresh();
    await ManifestWriter.open(folder, header, false);
    const other = { ...header, pipeline: { ...header.pipeline, seed: 2, p: 0.5 } };
    await expect(ManifestWriter.open(folder, other, false)).rejects.toThrow(
      /pipeline\.seed was 1 and is 2; pipeline\.p was not there and is 0\.5/,
    );
    await ManifestWriter.open(folder, other, true);
    expect(await readHeader(join(folder, MANIFEST))).toEqual(other);
  });

  it("says of another file that it is none", async () => {
    const file = join(fresh(), MANIFEST);
    await expect(readHeader(file)).rejects.toThrow(/cannot be read/);
    for (const text of ["", "{}\n", "no json\n", '{"stylizing-vit manifest":2}\n']) {
      writeFileSync(file, text);
      await expect(readHeader(file)).rejects.toThrow(/no manifest that this version reads/);
    }
    writeFileSync(file, `${JSON.stringify(header)}\nno json\n`);
    await expect(keysIn(file.slice(0, -MANIFEST.length))).rejects.toThrow(/Line 2 of .* is no JSON/);
  });
});
