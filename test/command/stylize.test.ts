import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import { goldenFolder } from "../support/fixtures.js";
import {
  build,
  couples,
  type Failure,
  fresh,
  HERE,
  imageFile,
  imageFiles,
  levelsApart,
  listFiles,
  paint,
  pixels,
  reason,
  runJson,
  stylize,
} from "./command.js";

beforeAll(build);

describe("results of the demo model", () => {
  const golden = goldenFolder("demo");

  it.skipIf(!golden)(`are those of PyTorch within one level${golden ? "" : `: ${reason.noGolden}`}`, async () => {
    const files = (what: string) => [0, 1, 2].map((i) => join(golden!, `${what}${i}.png`));
    const out = fresh("out");
    const report = await runJson<StylizeReport>(stylize(files("content"), files("style"), out, "--size", "model"));
    const statistics = { mean: [0.6, 0.45, 0.6], std: [0.2, 0.2, 0.18], source: "model" };
    expect(report).toMatchObject({ model: "demo", statistics, done: 3, failed: 0, stopped: 0, tier: "f32" });
    expect(listFiles(out)).toEqual(["content0.png", "content1.png", "content2.png"]);
    for (const [index, expected] of files("expected").entries()) {
      expect(await pixels(expected)).toMatchObject({ width: 96, height: 96 });
      expect(await levelsApart(join(out, `content${index}.png`), expected)).toBeLessThanOrEqual(1);
    }
  });
});

describe("what is printed", () => {
  it("is one JSON document with --json: the machine, the statistics, every image", async () => {
    const [content, style, out] = [await imageFiles("a"), await imageFiles("s"), fresh("out")];
    const report = await runJson<StylizeReport>(paint(content, style, out));
    expect(report).toMatchObject({
      model: "hashed:3",
      adapter: { name: "SwiftShader", software: true },
      tier: "f32",
      statistics: { mean: [0.6, 0.5, 0.6], std: [0.2, 0.2, 0.2], source: "model" },
      images: [{ content: content[0], style: style[0], output: join(out, "a.png"), status: "done" }],
      done: 1,
      failed: 0,
      stopped: 0,
    });
    expect(Object.keys(report.versions)).toEqual(["stylizing-vit", "webgpu", "node"]);
    expect(report.imagesPerSecond).toBeGreaterThan(0);
    expect(report.stderr).toContain("1 of 1 painted");
  });
});

/** Format, size and channels of an image file. */
async function about(path: string): Promise<string> {
  const { format, width, height, channels } = await sharp(path).metadata();
  return `${format} ${width} × ${height} × ${channels}`;
}

/** A sheet of all results, in a folder that was made for it. */
async function checkSheet(report: StylizeReport & { stderr: string }, sheet: string): Promise<void> {
  expect(report.sheet).toBe(sheet);
  expect(report.stderr).toContain(`sheet: ${sheet}`);
  const { format, width, height } = await sharp(sheet).metadata();
  expect(format).toBe("png");
  expect(Math.min(width, height)).toBeGreaterThan(200);
  // Read to its last byte, and not one colour.
  expect((await sharp(sheet).stats()).channels[0]!.stdev).toBeGreaterThan(5);
}

describe("--pair", () => {
  it("each takes the i-th with the i-th, one with many; all takes every one with every one, and a sheet shows them", async () => {
    const [contents, styles] = [await imageFiles("a", "b", "c"), await imageFiles("s", "tt", "uuu")];
    const [each, all, more] = [fresh("out"), fresh("out"), fresh("out")];

    const paired = await runJson<StylizeReport>(paint(contents, styles, each), 0, HERE);
    expect(couples(paired)).toEqual(["a.png s.png", "b.png tt.png", "c.png uuu.png"]);
    expect(listFiles(each)).toEqual(["a.png", "b.png", "c.png"]);

    for (const name of listFiles(each)) expect(await about(join(each, name))).toBe("png 96 × 96 × 3");

    const sheet = fresh("sheets/all.png");
    const crossed = await runJson<StylizeReport>(
      paint(contents, styles.slice(0, 2), all, "--pair", "all", "--sheet", sheet),
      0,
      HERE,
    );
    expect(crossed.done).toBe(6);
    await checkSheet(crossed, sheet);
    expect(listFiles(all)).toEqual(["a__s.png", "a__tt.png", "b__s.png", "b__tt.png", "c__s.png", "c__tt.png"]);
    // Other schedules (a bank of styles, one content for many) paint the same images.
    for (const [one, other] of [["a", "a__s"], ["b", "b__tt"]] as const) // biome-ignore format: a table
      expect(await levelsApart(join(each, `${one}.png`), join(all, `${other}.png`))).toBeLessThanOrEqual(1);
    expect(await levelsApart(join(all, "a__s.png"), join(all, "a__tt.png"))).toBeGreaterThan(4);
    expect(await levelsApart(join(all, "a__s.png"), join(all, "b__s.png"))).toBeGreaterThan(4);

    // A content that comes round again gets the style's name, so that nothing is written over.
    const around = await runJson<StylizeReport>(paint(contents.slice(0, 1), styles, more), 0, HERE);
    expect(couples(around)).toEqual(["a.png s.png", "a.png tt.png", "a.png uuu.png"]);
    expect(listFiles(more)).toEqual(["a.png", "a__tt.png", "a__uuu.png"]);
  });

  it("random chooses a style for each by the seed, the same on every machine", async () => {
    const [contents, styles] = [await imageFiles("a", "b", "c", "d", "e"), await imageFiles("s", "tt", "uuu")];
    const [first, other] = [fresh("out"), fresh("out")];
    const random = (out: string, seed: string) =>
      runJson<StylizeReport>(paint(contents, styles, out, "--pair", "random", "--seed", seed), 0, HERE);
    const [one, two] = [await random(first, "1"), await random(other, "2")];
    expect(couples(one)).toEqual(["a.png uuu.png", "b.png tt.png", "c.png tt.png", "d.png tt.png", "e.png uuu.png"]);
    expect(couples(two)).not.toEqual(couples(one));
    expect(listFiles(first)).toEqual(["a.png", "b.png", "c.png", "d.png", "e.png"]);
  });
});

describe("names and folders", () => {
  it("refuse two results of one name, before anything is painted", async () => {
    const folder = fresh();
    const [one, two] = [await imageFile(join(folder, "a.png"), 1), await imageFile(join(folder, "b/a.png"), 2)];
    const out = fresh("out");
    const { error } = await runJson<Failure>(paint([one, two], await imageFiles("s"), out), 2, HERE);
    expect(error).toMatchObject({ code: "ARGUMENT", message: expect.stringContaining("Two results would be called a") });
    expect(error.message).toContain(one);
    expect(error.message).toContain(two);
    expect(existsSync(out)).toBe(false);
    // In folders of their own they may have one name, and the same file may not come twice.
    const twice = await runJson<Failure>(paint([one, one], await imageFiles("s"), out), 2, HERE);
    expect(twice.error.message).toContain("Two results would be called a");
  });

  it("refuse to put a result in the place of an image that was given", async () => {
    const [content, style] = [await imageFiles("a"), await imageFiles("s")];
    const before = readFileSync(content[0]!);
    const { error } = await runJson<Failure>(paint(content, style, join(content[0]!, "..")), 2, HERE);
    expect(error).toMatchObject({ code: "ARGUMENT", message: expect.stringContaining("both an image to read and the place") });
    expect(readFileSync(content[0]!).equals(before)).toBe(true);
    expect(listFiles(join(content[0]!, ".."))).toEqual(["a.png"]);
  });
});

describe("--format and --size", () => {
  // PNG, which is what is written by itself, above.
  it("write JPEG and WebP at the model's size, or at the content's own", async () => {
    const folder = fresh();
    const wide = await imageFile(join(folder, "wide.png"), 3, 150, 90);
    const tall = await imageFile(join(folder, "tall.png"), 4, 61, 130);
    const style = await imageFiles("s");
    const [jpeg, webp] = [fresh("out"), fresh("out")];
    await runJson(paint([wide, tall], style, jpeg, "--format", "jpeg"), 0, HERE);
    await runJson(paint([wide], style, webp, "--format", "webp", "--size", "model"), 0, HERE);
    expect(await about(join(jpeg, "wide.jpeg"))).toBe("jpeg 150 × 90 × 3");
    expect(await about(join(jpeg, "tall.jpeg"))).toBe("jpeg 61 × 130 × 3");
    expect(await about(join(webp, "wide.webp"))).toBe("webp 32 × 32 × 3");
  });
});

describe("mean and standard deviation", () => {
  it("are measured where the model has none, and said; --mean and --std give them", async () => {
    // As large as the images, so that what is measured can be computed of their pixels.
    const shape = { image_size: 96, patch_size: 8, embed_dim: 48, num_heads: 3, depth: 1 };
    const [mean, std] = [
      [0.6, 0.5, 0.6],
      [0.2, 0.2, 0.2],
    ];
    const [settled, bare] = [fresh("settled.json"), fresh("bare.json")];
    writeFileSync(settled, JSON.stringify({ ...shape, mean, std }));
    writeFileSync(bare, JSON.stringify(shape));
    const model = "hashed:3";
    const [contents, styles] = [await imageFiles("a", "b"), await imageFiles("s")];
    const [known, given, measured] = [fresh("out"), fresh("out"), fresh("out")];
    await runJson(stylize(contents, styles, known, "--model", model, "--config", settled), 0, HERE);

    const without = ["--model", model, "--config", bare];
    const told = await runJson<StylizeReport>(
      stylize(contents, styles, given, ...without, "--mean", mean.join(), "--std", std.join()),
      0,
      HERE,
    );
    expect(told).toMatchObject({ model, statistics: { mean, std, source: "given" } });
    expect(told.stderr).not.toContain("measured");
    for (const name of ["a.png", "b.png"]) expect(await levelsApart(join(given, name), join(known, name))).toBe(0);

    const found = await runJson<StylizeReport>(stylize(contents, styles, measured, ...without), 0, HERE);
    expect(found.statistics.source).toBe("measured from these images");
    expect(found.stderr).toMatch(/mean 0\.\d{4},0\.\d{4},0\.\d{4} and std .* were measured from these images/);
    const all = await Promise.all([...contents, ...styles].map(pixels));
    for (let channel = 0; channel < 3; channel++) {
      const values = all.flatMap(({ data }) => [...data.filter((_, index) => index % 3 === channel)]);
      const average = values.reduce((a, b) => a + b, 0) / values.length / 255;
      const spread = Math.sqrt(values.reduce((sum, v) => sum + (v / 255 - average) ** 2, 0) / values.length);
      expect(found.statistics.mean[channel]).toBeCloseTo(average, 6);
      expect(found.statistics.std[channel]).toBeCloseTo(spread, 3);
    }
    expect(await levelsApart(join(measured, "a.png"), join(known, "a.png"))).toBeGreaterThan(0);
  });
});
