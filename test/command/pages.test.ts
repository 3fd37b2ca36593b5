import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { classifyFiles } from "../../src/augment/classify-files.js";
import { paintFiles } from "../../src/augment/paint-files.js";
import type { PaintFilesOptions } from "../../src/augment/report.js";
import { tiffOf } from "../image/helpers.js";
import { colours, type Failure, fresh, HERE, imageFile, levelsApart, listFiles, run, stylize } from "./command.js";

const SIZE = 32;
const statistics = { mean: [0.6, 0.5, 0.6], std: [0.2, 0.2, 0.2] };
const shape = { image_size: SIZE, patch_size: 8, embed_dim: 48, num_heads: 1, depth: 1, ...statistics };
const load = { adapter: "software", precision: "f32", tune: "off" } as const;

let folder: string;
let style: string;
/** Three pages, and a smaller version of the last. */
let stack: string;
/** The first of them, in 16 bits of which it uses twelve. */
let dark: string;
/** The pages in files of their own, the first of those, and what they are painted into. */
let one: string;
let single: string;
const pages = [1, 2, 3].map((seed) => ({ ...colours(seed, SIZE) }));
beforeAll(async () => {
  folder = fresh();
  style = await imageFile(join(folder, "style.png"), 9, SIZE);
  stack = join(folder, "stack.tif");
  writeFileSync(stack, tiffOf([...pages, { ...colours(3, 16), subfile: 1 }]));
  for (const [index, seed] of [1, 2, 3].entries()) await imageFile(join(folder, "single", `${index + 1}.png`), seed, SIZE);
  one = join(folder, "single", "1.png");
  const twelve = Uint16Array.from(pages[0]!.data, (level) => Math.round((level * 4095) / 255));
  dark = join(folder, "dark.tif");
  writeFileSync(dark, tiffOf([{ width: SIZE, height: SIZE, bits: 16, data: new Uint8Array(twelve.buffer) }]));
  single = (await paint([join(folder, "single")])).out;
});

async function paint(content: string[], more: Partial<PaintFilesOptions> = {}) {
  const notes: string[] = [];
  const out = fresh("out");
  const config = join(fresh(), "micro.json");
  writeFileSync(config, JSON.stringify(shape));
  const report = await paintFiles({
    ...{ model: "hashed:3", content, style: [style], out, pair: "each", seed: 0, format: "png", size: "model", workers: 0 },
    ...{ load: { ...load, config }, onNote: (note: string) => notes.push(note) },
    ...more,
  });
  return { report, out, notes: notes.filter((note) => /pages|16 bits/.test(note)) };
}

it("the first page is taken, and that is said once, as is that 16 bits are dark", async () => {
  const again = join(folder, "again.tif");
  copyFileSync(stack, again);
  const { report, out, notes } = await paint([stack, again, dark]);
  expect(report).toMatchObject({ done: 3, failed: 0 });
  expect(notes).toHaveLength(2);
  expect(notes).toContainEqual(expect.stringMatching(/(stack|again)\.tif has 3 pages: the first is taken; --page N or all/));
  expect(notes).toContainEqual(expect.stringMatching(/dark\.tif has 16 bits and no value above \d+: .*--white 4095/));
  expect(await levelsApart(join(out, "stack.png"), join(single, "1.png"))).toBe(0);
  expect(await levelsApart(join(out, "dark.png"), join(single, "1.png"))).toBeGreaterThan(3);
});

it("a page that is asked for is taken of files with several, and white is what was said", async () => {
  const { report, out, notes } = await paint([stack, dark, one], { page: 2, white: "auto" });
  expect([report.failed, notes]).toEqual([0, []]);
  expect(await levelsApart(join(out, "stack.png"), join(single, "2.png"))).toBe(0);
  for (const name of ["dark", "1"]) expect(await levelsApart(join(out, `${name}.png`), join(single, "1.png"))).toBe(0);
});

it("all pages have names of their own, and files of one keep theirs", async () => {
  const { report, out, notes } = await paint([stack, one], { page: "all", sheet: join(fresh(), "sheet.png") });
  expect(notes).toEqual([]);
  expect(listFiles(out)).toEqual(["1.png", "stack-p0001.png", "stack-p0002.png", "stack-p0003.png"]);
  expect(report.images.map(({ content, contentPage, status }) => [content, contentPage, status])).toEqual([
    ...[1, 2, 3].map((page) => [stack, page, "done"]),
    [one, undefined, "done"],
  ]);
  for (const page of [1, 2, 3])
    expect(await levelsApart(join(out, `stack-p000${page}.png`), join(single, `${page}.png`))).toBe(0);
});

it("pages are styles too, from a bank", async () => {
  const { report, out } = await paint([one, join(folder, "single", "2.png")], { style: [stack], page: "all", pair: "all" });
  expect(report.images.map(({ stylePage }) => stylePage).sort()).toEqual([1, 1, 2, 2, 3, 3]);
  expect(listFiles(out)).toHaveLength(6);
  expect(await levelsApart(join(out, "1__stack-p0001.png"), join(out, "1__stack-p0002.png"))).toBeGreaterThan(3);
});

it("pages are classified one by one, with the page in report and table", async () => {
  const csv = join(fresh(), "classes.csv");
  const config = { kind: "vit", in_channels: 3, mlp_ratio: 4, qkv_bias: true, num_classes: 2, ...shape } as never;
  const common = { model: "hashed:3", images: [stack], workers: 0, load: { ...load, config } };
  const report = await classifyFiles({ ...common, page: "all", csv });
  expect(report.images.map(({ image, page }) => [image, page])).toEqual([1, 2, 3].map((page) => [stack, page]));
  expect(readFileSync(csv, "utf8").split("\r\n")[3]).toMatch(/stack\.tif p3,/);
  const notes: string[] = [];
  const first = await classifyFiles({ ...common, onNote: (note) => notes.push(note) });
  expect(first.images[0]).toMatchObject({ image: stack, probability: report.images[0]!.probability });
  expect(notes.some((note) => /3 pages: the first is taken/.test(note))).toBe(true);
});

describe("wrong usage", () => {
  const paths = stylize(["c.png"], ["s.png"], "out");
  it.each<[string, string[], RegExp]>([
    ["page 0", [...paths, "--page", "0"], /It must be a positive whole number/],
    ["some pages", ["classify", "c.png", "--model", "m", "--page", "some"], /It must be a positive whole number/],
    ["a white above 16 bits", [...paths, "--white", "65536"], /auto, or a whole number up to 65535/],
    ["a white of words", ["classify", "c.png", "--model", "m", "--white", "bright"], /It must be a positive whole number/],
  ])("%s", async (_, args, message) => {
    const { code, stdout, stderr } = await run([...args, "--json"], HERE);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(message) });
    expect((JSON.parse(stdout) as Failure).error.code).toBe("ARGUMENT");
  });
});
