import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import type { RestyleReport } from "../../src/augment/restyle-files.js";
import { goldenFolder } from "../support/fixtures.js";
import {
  build,
  type Failure,
  fresh,
  HERE,
  imageFile,
  imageFiles,
  levelsApart,
  listFiles,
  pixels,
  run,
  runJson,
} from "./command.js";

beforeAll(build);

const restyle = <T = RestyleReport>(
  method: string,
  content: readonly string[],
  out: string,
  args: readonly string[] = [],
  code = 0,
) => runJson<T>(["stylize", "--method", method, "--content", ...content, "--out", out, "--workers", "0", ...args], code, HERE);

describe("stylize by a closed form", () => {
  it("keeps size and name, says the numbers, and draws those that are missing by seed and name", async () => {
    const content = [await imageFile(join(fresh(), "a.png"), 1, 40, 30), await imageFile(join(fresh(), "b.png"), 2, 25, 50)];
    const [out, again, seeded] = [fresh("out"), fresh("again"), fresh("seeded")];
    const report = await restyle("hed-jitter", content, out, ["--params", '{"scale":[1.1,0.9,1]}']);
    expect(report).toMatchObject({ done: 2, failed: 0, declined: 0, method: "hed-jitter", adapter: "SwiftShader" });
    expect(listFiles(out)).toEqual(["a.png", "b.png"]);
    for (const { params, applied, style } of report.images) {
      expect(applied).toBe(true);
      expect(style).toBeUndefined();
      expect(params).toMatchObject({ scale: [1.1, 0.9, 1], shift: [expect.any(Number), expect.any(Number), expect.any(Number)] });
    }
    expect(report.images[0]!.params!.shift).not.toEqual(report.images[1]!.params!.shift);
    const { width, height } = await pixels(join(out, "b.png"));
    expect([width, height]).toEqual([25, 50]);

    await restyle("hed-jitter", [...content].reverse(), again, ["--params", '{"scale":[1.1,0.9,1]}', "--batch", "1"]);
    for (const name of ["a.png", "b.png"])
      expect(readFileSync(join(again, name)).equals(readFileSync(join(out, name)))).toBe(true);
    await restyle("hed-jitter", content, seeded, ["--params", '{"scale":[1.1,0.9,1]}', "--seed", "1"]);
    expect(await levelsApart(join(seeded, "a.png"), join(out, "a.png"))).toBeGreaterThan(0);
    // What was said is all that is needed.
    const given = fresh("given");
    await restyle("hed-jitter", [content[0]!], given, ["--params", JSON.stringify(report.images[0]!.params)]);
    expect(readFileSync(join(given, "a.png")).equals(readFileSync(join(out, "a.png")))).toBe(true);
  });

  it("takes the numbers of a style, or a style's in place of it", async () => {
    const [[content], [style], out, given] = [await imageFiles("a"), await imageFiles("style"), fresh("out"), fresh("given")];
    const sheet = join(fresh(), "sheet.png");
    const { images } = await restyle("reinhard", [content!], out, ["--style", style!, "--sheet", sheet]);
    expect((await sharp(sheet).metadata()).width).toBeGreaterThan(600);
    const { targetMean, targetDeviation, space } = images[0]!.params!;
    expect([space, (targetMean as number[]).length, (targetDeviation as number[]).length]).toEqual(["lab", 3, 3]);
    await restyle("reinhard", [content!], given, ["--params", JSON.stringify({ targetMean, targetDeviation })]);
    expect(await levelsApart(join(given, "a.png"), join(out, "a.png"))).toBe(0);
    const none = await restyle<Failure>("reinhard", [content!], fresh("none"), [], 2);
    expect(none.error.message).toMatch(/reinhard needs a style.*--style.*methods reinhard/);
  });

  it("declines what a method cannot do, and leaves blank images on request", async () => {
    const blank = join(fresh(), "blank.png");
    const white = { width: 20, height: 20, channels: 3 as const, background: "#fdfdfd" };
    await sharp({ create: white }).png().toFile(blank);
    const [out, skipped] = [fresh("out"), fresh("skipped")];
    const report = await restyle("macenko-augment", [blank], out);
    expect(report).toMatchObject({ done: 1, failed: 0, declined: 1, images: [{ applied: false }] });
    expect(report.stderr).toContain("1 declined and as they were");
    expect(await levelsApart(blank, join(out, "blank.png"))).toBe(0);
    const colours = ["--params", '{"targetMean":[0.5,0.2,0.5],"targetDeviation":[0.1,0.1,0.1]}'];
    expect(await restyle("colorist", [blank], fresh("painted"), colours)).toMatchObject({ declined: 0 });
    expect(await restyle("colorist", [blank], skipped, [...colours, "--skip-blank"])).toMatchObject({ declined: 1 });
    expect(await levelsApart(blank, join(skipped, "blank.png"))).toBe(0);
  });

  it("blends by strength, and gives grey images grey results", async () => {
    const [content] = await imageFiles("a");
    const colours = ["--params", '{"targetMean":[0.3,0.2,0.5],"targetDeviation":[0.1,0.1,0.1]}'];
    const [none, half, all] = [fresh("none"), fresh("half"), fresh("all")];
    for (const [out, strength] of [
      [none, "0"],
      [half, ".5"],
      [all, "1"],
    ] as const)
      await restyle("colorist", [content!], out, [...colours, "--strength", strength]);
    expect(await levelsApart(content!, join(none, "a.png"))).toBe(0);
    const [a, b, c] = await Promise.all([content!, join(half, "a.png"), join(all, "a.png")].map(pixels));
    const off = b!.data.map((level, at) => Math.abs(level - (a!.data[at]! + c!.data[at]!) / 2));
    expect(Math.max(...off)).toBeLessThanOrEqual(1);
    expect(await levelsApart(content!, join(all, "a.png"))).toBeGreaterThan(20);

    const grey = join(fresh(), "grey.png");
    await sharp(content!).toColourspace("b-w").png().toFile(grey);
    const out = fresh("grey");
    expect(await restyle("hed-jitter", [grey], out, ["--params", '{"theta":0.3}'])).toMatchObject({ done: 1, declined: 0 });
    expect((await sharp(join(out, "grey.png")).metadata()).channels).toBe(1);
  });

  it.each([
    ["hed-jitter", ["--detail", "guided"], /--detail is for stylizing-vit/],
    ["hed-jitter", ["--model", "demo"], /--model is for stylizing-vit/],
    ["hed-jitter", ["--style", "."], /takes no style/],
    ["hed-jitter", ["--params", '{"scal":[1,1,1]}'], /Did you mean scale/],
    ["hed-jitter", ["--params", "[1]"], /JSON object/],
    ["stylizing-vit", [], /needs a style/],
    ["stylizing-vit", ["--style", ".", "--strength", ".5"], /--strength is for closed forms/],
    ["reinhart", [], /Allowed choices/],
  ])("refuses %s with %s", async (method, args, message) => {
    const [content] = await imageFiles("a");
    const out = fresh("out");
    const { code, stderr } = await run(["stylize", "--method", method, "--content", content!, "--out", out, ...args], HERE);
    expect(code, stderr).toBe(2);
    expect(stderr).toMatch(message);
  });

  it.runIf(goldenFolder("stains"))("gives what the golden cases have, of every method, with their numbers", async () => {
    const folder = goldenFolder("stains")!;
    type Case = { method: string; content: string; style?: string; applied: boolean; expected: string } & Record<string, unknown>;
    const cases = JSON.parse(readFileSync(join(folder, "cases.json"), "utf8")) as Case[];
    const seen = new Set<string>();
    for (const { method, content, style, applied, expected, ...numbers } of cases) {
      if (seen.has(method) || method === "tissue-weight") continue;
      seen.add(method);
      const names = [
        "space",
        "tissueOnly",
        "scale",
        "shift",
        "table",
        "distribution",
        "zMean",
        "zDeviation",
        "stdHyper",
        "blend",
        "beta",
        "preset",
      ];
      const isTable = method === "histogram-match";
      const params = Object.fromEntries(
        names
          .filter((name) => numbers[name] !== undefined && !(isTable && name === "table"))
          .map((name) => [name, numbers[name]]),
      );
      const out = fresh(method);
      mkdirSync(out);
      const args = ["--params", JSON.stringify(params), ...(style ? ["--style", join(folder, style)] : [])];
      const report = await restyle(method, [join(folder, content)], out, args);
      expect(report.images[0]!.applied, method).toBe(applied);
      expect(await levelsApart(join(folder, expected), join(out, content)), method).toBeLessThanOrEqual(1);
    }
    expect(seen.size).toBe(10);
  });
});
