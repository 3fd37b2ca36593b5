import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import type { DetailReport } from "../../src/augment/restore-file.js";
import { goldenFolder } from "../support/fixtures.js";
import {
  build,
  colours,
  encode,
  type Failure,
  fresh,
  HERE,
  imageFile,
  imageFiles,
  levelsApart,
  listFiles,
  micro,
  paint,
  pixels,
  reason,
  runJson,
  stylize,
} from "./command.js";

beforeAll(build);

const sizeOf = async (file: string) => {
  const { width, height } = await sharp(file).metadata();
  return [width, height];
};

describe("stylize gives files back", () => {
  it("at their own size, whatever it is, in a batch of all of them", async () => {
    const folder = fresh();
    const sizes: Record<string, [number, number]> = {
      dot: [1, 1],
      strip: [512, 128],
      tall: [40, 333],
      square: [96, 96],
      odd: [57, 83],
    };
    const files = await Promise.all(
      Object.entries(sizes).map(([name, [width, height]], seed) => imageFile(join(folder, `${name}.png`), seed, width, height)),
    );
    const out = fresh("out");
    const report = await runJson<StylizeReport>(paint(files, await imageFiles("s"), out, "--batch", "2"), 0, HERE);
    expect(report).toMatchObject({ done: 5, failed: 0 });
    for (const [name, size] of Object.entries(sizes)) expect(await sizeOf(join(out, `${name}.png`))).toEqual(size);
  });

  it("sharp: guided results have the content's detail, enlarged ones have not", async () => {
    const file = fresh("checked.png");
    // A fine chequer over soft colours: no small painting can hold it.
    const image = colours(3, 160, 120);
    for (let i = 0; i < image.data.length; i++) {
      const [x, y] = [Math.floor(i / 3) % 160, Math.floor(i / 3 / 160)];
      image.data[i] = Math.max(0, Math.min(255, image.data[i]! + ((x + y) % 2 ? 20 : -20)));
    }
    await encode(image).toFile(file);
    const style = await imageFiles("s");
    const contrast = async (...flags: string[]) => {
      const out = fresh("out");
      await runJson(stylize([file], style, out, ...flags), 0, HERE);
      const { data, width } = await pixels(join(out, "checked.png"));
      let sum = 0;
      for (let i = 0; i + 3 < data.length; i += 3) if ((i / 3 + 1) % width) sum += Math.abs(data[i + 3]! - data[i]!);
      return sum / (data.length / 3);
    };
    const [guided, enlarged] = [await contrast(), await contrast("--detail", "model")];
    expect(guided).toBeGreaterThan(2 * enlarged);
  });

  it("a blank slide as it was, where the model's background is white or it is asked for", async () => {
    const file = fresh("blank.png");
    const glass = Buffer.from(Uint8Array.from({ length: 90 * 70 * 3 }, (_, i) => 243 + ((i * 7) % 3)));
    await sharp(glass, { raw: { width: 90, height: 70, channels: 3 } }).toFile(file);
    const style = await imageFiles("s");
    const [demo, asked, painted] = [fresh("out"), fresh("out"), fresh("out")];
    await runJson(stylize([file], style, demo), 0, HERE);
    expect(await levelsApart(join(demo, "blank.png"), file)).toBe(0);
    await runJson(paint([file], style, asked, "--background", "keep", "--size", "keep", "--detail", "model"), 0, HERE);
    expect(await levelsApart(join(asked, "blank.png"), file)).toBe(0);
    await runJson(paint([file], style, painted), 0, HERE);
    expect(await levelsApart(join(painted, "blank.png"), file)).toBeGreaterThan(3);
  });

  it("a strip without black: padding would move its colours", async () => {
    const strip = await imageFile(fresh("strip.png"), 4, 512, 128);
    const style = await imageFiles("s");
    const meanOf = async (fit: string) => {
      const out = fresh("out");
      await runJson(stylize([strip], style, out, "--fit", fit), 0, HERE);
      const { channels } = await sharp(join(out, "strip.png")).stats();
      return channels.map(({ mean }) => mean);
    };
    const [mirror, crop, pad] = [await meanOf("mirror"), await meanOf("crop"), await meanOf("pad")];
    const apart = (a: number[], b: number[]) => Math.max(...a.map((value, c) => Math.abs(value - b[c]!)));
    expect(apart(mirror, crop)).toBeLessThan(12);
    expect(apart(mirror, pad)).toBeGreaterThan(12);
  });

  it("in windows, by --scale, and with --skip-blank at no cost where there is nothing", async () => {
    const file = await imageFile(fresh("large.png"), 5, 150, 110);
    const style = await imageFiles("s");
    const results = await Promise.all(
      ["fit", "native", ".5"].map(async (scale) => {
        const out = fresh("out");
        return { scale, file: join(out, "large.png"), out };
      }),
    );
    for (const { scale, out, file: result } of results) {
      const report = await runJson<StylizeReport>(paint([file], style, out, "--scale", scale), 0, HERE);
      expect(report.done).toBe(1);
      expect(await sizeOf(result)).toEqual([150, 110]);
    }
    expect(await levelsApart(results[0]!.file, results[1]!.file)).toBeGreaterThan(2);
    const blank = fresh("blank.png");
    await sharp({ create: { width: 150, height: 110, channels: 3, background: "#f4f3f5" } }).toFile(blank);
    const out = fresh("out");
    await runJson(paint([blank], style, out, "--scale", "native", "--skip-blank"), 0, HERE);
    expect(await levelsApart(join(out, "blank.png"), blank)).toBe(0);
  });

  it("on a sheet that shows them as they are", async () => {
    const files = await imageFiles("a", "b");
    const [out, sheet] = [fresh("out"), fresh("sheet.png")];
    const report = await runJson<StylizeReport>(
      paint(files, await imageFiles("s", "tt"), out, "--pair", "all", "--sheet", sheet),
      0,
      HERE,
    );
    expect(report.sheet).toBe(sheet);
    expect((await sharp(sheet).stats()).channels[0]!.stdev).toBeGreaterThan(5);
  });

  it.each<[string, string[], RegExp]>([
    ["an unknown detail", ["--detail", "sharp"], /Allowed choices are guided, model/],
    ["an unknown fit", ["--fit", "fill"], /Allowed choices are mirror, crop, pad/],
    ["a scale of words", ["--scale", "half"], /must be a number above 0/],
    ["an enlarging scale", ["--scale", "2"], /scale is 2\..*up to 1/],
    ["windows at the model's size", ["--scale", "native", "--size", "model"], /Use size keep and detail guided/],
  ])("not with %s", async (_, flags, message) => {
    const out = fresh("out");
    const { error, stderr } = await runJson<Failure>(paint(await imageFiles("a"), await imageFiles("s"), out, ...flags), 2, HERE);
    expect(`${error.message} ${stderr}`).toMatch(message);
    if (existsSync(out)) expect(listFiles(out)).toEqual([]);
  });
});

describe("detail", () => {
  const golden = goldenFolder("guided");
  const detail = (content: string, painted: string, out: string, ...rest: string[]) => [
    ...["detail", "--content", content, "--painted", painted, "--out", out],
    ...rest,
  ];

  it.skipIf(!golden)(`gives numpy's golden images within one level${golden ? "" : `: ${reason.noGolden}`}`, async () => {
    const { guided } = JSON.parse(readFileSync(join(golden!, "cases.json"), "utf8")) as { guided: Record<string, string>[] };
    const [one] = guided as [Record<string, string>];
    const at = (name: string) => join(golden!, one[name]!);
    for (const [background, expected] of [
      ["paint", "expected"],
      ["keep", "kept"],
    ] as const) {
      // biome-ignore format: a table
      const out = fresh("out.png");
      const flags = ["--low", at("contentLow"), "--radius", String(one.radius), "--epsilon", String(one.eps)];
      const report = await runJson<DetailReport>(
        detail(at("content"), at("paintedLow"), out, ...flags, "--background", background),
        0,
        HERE,
      );
      expect(report).toMatchObject({ width: 224, height: 224, low: [96, 96], output: out });
      expect(await levelsApart(out, at(expected))).toBeLessThanOrEqual(1);
    }
  });

  it("scales the content itself where no small one is given, and refuses what does not belong together", async () => {
    const [content, painted] = [await imageFile(fresh("c.png"), 1, 120, 80), await imageFile(fresh("p.png"), 2, 30, 20)];
    const out = fresh("new/folder/out.jpg");
    await runJson(detail(content, painted, out), 0, HERE);
    expect(await sizeOf(out)).toEqual([120, 80]);
    const before = readFileSync(out);
    const there = await runJson<Failure>(detail(content, painted, out), 2, HERE);
    expect(there.error.message).toMatch(/exists already.*--overwrite/);
    const low = await imageFile(fresh("low.png"), 1, 31, 20);
    const other = await runJson<Failure>(detail(content, painted, fresh("x.png"), "--low", low), 2, HERE);
    expect(other.error.message).toMatch(/31 × 20.*30 × 20.*leave --low away/);
    expect((await runJson<Failure>(detail(content, painted, content), 2, HERE)).error.message).toMatch(/both an image to read/);
    expect((await runJson<Failure>(detail(content, painted, fresh("out.tif")), 2, HERE)).error.message).toMatch(
      /\.png, \.jpg or \.webp/,
    );
    expect((await runJson<Failure>(detail(fresh("none.png"), painted, fresh("y.png")), 1, HERE)).error.code).toBe("IMAGE");
    expect(readFileSync(out).equals(before)).toBe(true);
    await runJson(detail(content, painted, out, "--overwrite", "--radius", "2"), 0, HERE);
    expect(readFileSync(out).equals(before)).toBe(false);
  });
});

it("a configuration whose background is none is refused", async () => {
  const config = fresh("config.json");
  const [, model, , file] = micro();
  writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(file!, "utf8")), background: "black" }));
  const args = stylize(await imageFiles("a"), await imageFiles("s"), fresh("out"), "--model", model!, "--config", config);
  const { error } = await runJson<Failure>(args, 1, HERE);
  expect(error).toMatchObject({ code: "CONFIG", message: expect.stringMatching(/background is "black"\. Write "white"/) });
});
