import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import { tiffImages } from "../../src/image/tiff.js";
import { svsFile, withTags } from "../image/svs.js";
import { build, type Failure, fresh, HERE, imageFile, levelsApart, listFiles, paint, pixels, runJson, start } from "./command.js";
import { killedAfter, peakOf, slideFile } from "./slides.js";

const [WIDTH, HEIGHT] = [640, 530];
let slide: string;
let style: string;
beforeAll(async () => {
  await build();
  slide = await svsFile(fresh("scan.svs"), { width: WIDTH, height: HEIGHT, tile: 128 });
  style = await imageFile(fresh("style.png"), 3);
});

const stylizeSlide = (out: string, ...rest: string[]) =>
  runJson<StylizeReport>([...paint([slide], [style], out), ...rest], 0, HERE);

describe("a whole slide", () => {
  let painted: string;
  it("is painted by rows into a pyramid that keeps its resolution, as the same image is painted whole", async () => {
    const out = fresh();
    painted = join(out, "scan.tif");
    const { stderr, images } = await stylizeSlide(out, "--scale", ".25", "--compression", "deflate");
    const output = painted;
    expect(images).toEqual([
      { content: slide, style, output, status: "done", milliseconds: expect.any(Number), windows: 42, blank: 0 },
    ]);
    expect(listFiles(out)).toEqual(["scan.tif"]);
    expect(stderr).toContain("whatever --format says");
    const levels = tiffImages(readFileSync(output))!;
    expect(levels.map(({ width, height, compression }) => [width, height, compression])).toEqual([
      [640, 530, 8],
      [320, 265, 8],
      [160, 132, 8],
    ]);
    for (const { tile } of levels) expect(tile).toEqual({ width: 256, height: 256 });
    const { resolution } = levels[0]!;
    expect(1000 / resolution!.x / 0.2525).toBeCloseTo(1, 6);
    // The same pixels in a file that is held in memory.
    const png = fresh("whole.png");
    await sharp(slide).png().toFile(png);
    const whole = fresh();
    await runJson([...paint([png], [style], whole), "--scale", ".25"], 0, HERE);
    expect(await levelsApart(output, join(whole, "whole.png"))).toBeLessThanOrEqual(1);
    expect(await levelsApart(output, png)).toBeGreaterThan(30);
  });

  it("leaves what has no tissue as it is, whole or in windows, and counts it", async () => {
    const out = fresh();
    const args = ["--scale", ".5", "--skip-blank", "--compression", "deflate"];
    const { images } = await stylizeSlide(out, ...args);
    const { windows, blank } = images[0]!;
    expect(blank! / windows!).toBeGreaterThan(0.5);
    expect(blank! / windows!).toBeLessThan(0.85);
    const [before, after] = [await pixels(slide), await pixels(join(out, "scan.tif"))];
    const glass = WIDTH * 3 * 200;
    expect(after.data.subarray(0, glass).equals(before.data.subarray(0, glass))).toBe(true);
    expect(after.data.equals(before.data)).toBe(false);
  });

  it("goes with other files, in several styles, and is not painted again", async () => {
    const [out, other] = [fresh(), await imageFile(fresh("tile.png"), 5)];
    const second = await imageFile(fresh("other.png"), 8);
    const args = [...paint([slide, other], [style, second], out), "--pair", "all", "--scale", "fit"];
    const { images, done } = await runJson<StylizeReport>(args, 0, HERE);
    expect(done).toBe(4);
    expect(images.map(({ windows }) => windows)).toEqual([1, 1, undefined, undefined]);
    const results = ["scan__other.tif", "scan__style.tif", "tile__other.png", "tile__style.png"];
    expect(listFiles(out)).toEqual(results);
    expect((await sharp(join(out, "scan__style.tif")).metadata()).width).toBe(WIDTH);
    expect((await runJson<Failure>(args, 2, HERE)).error.message).toContain("exist");
    const again = await runJson<StylizeReport>([...args, "--skip-existing"], 0, HERE);
    expect(again.skipped).toBe(4);
    await rm(join(out, "scan__style.tif"));
    const rest = await runJson<StylizeReport>([...args, "--skip-existing"], 0, HERE);
    expect([rest.done, rest.skipped]).toEqual([1, 3]);
    expect(listFiles(out)).toEqual(results);
  });

  it("is left out of folders, and refused where it cannot be", async () => {
    const out = fresh();
    const found = await runJson<Failure>(paint([join(slide, "..")], [style], out), 2, HERE);
    expect(found.error.message).toContain("no content image");
    expect(found.stderr).toContain("left out: 1 .svs");
    for (const wrong of [
      ["--size", "model"],
      ["--detail", "model"],
    ]) {
      const { error } = await runJson<Failure>([...paint([slide], [style], fresh()), ...wrong], 2, HERE);
      expect(error.message).toMatch(/whole slide.*Leave --size and --detail away/);
    }
    const old = fresh("old.svs");
    writeFileSync(old, withTags(readFileSync(slide), { 259: 33005 }));
    const { error } = await runJson<Failure>(paint([old], [style], fresh()), 2, HERE);
    expect(error.message).toContain("JPEG 2000");
    // Where there is something else to do, that is done.
    const both = await runJson<StylizeReport>(paint([old, slide], [style], fresh()), 1, HERE);
    expect(both.images.map(({ status }) => status)).toEqual(["failed", "done"]);
  });

  it("is not begun where the disk is too small for it", async () => {
    const huge = fresh("huge.svs");
    writeFileSync(huge, withTags(readFileSync(slide), { 256: 2e6, 257: 2e6 }));
    const out = fresh();
    const { error } = await runJson<Failure>(paint([huge], [style], out), 1, HERE);
    expect(error).toMatchObject({
      code: "OUTPUT",
      message: expect.stringMatching(/takes up to 6000 GB as jpeg, and .* GB are free in/),
    });
    expect(listFiles(out)).toEqual([]);
  });

  const pillow = (() => {
    try {
      execFileSync("/usr/bin/python3", ["-c", "import PIL"], { stdio: "ignore" });
      return true;
    } catch {
      return false;
    }
  })();
  it.skipIf(!pillow)(`is read by Pillow${pillow ? "" : ": there is none"}`, () => {
    const script =
      "import sys,json;from PIL import Image;i=Image.open(sys.argv[1]);i.load();t=i.tag_v2;print(json.dumps([i.size,i.n_frames,float(t[282]),float(t[283]),t[296]]))";
    const [size, frames, x, y, unit] = JSON.parse(
      execFileSync("/usr/bin/python3", ["-c", script, painted], { encoding: "utf8" }),
    ) as [number[], number, number, number, number];
    expect([size, frames, unit]).toEqual([[WIDTH, HEIGHT], 3, 3]);
    for (const density of [x, y]) expect(1e4 / density / 0.2525).toBeCloseTo(1, 6);
  });
});

describe.skipIf(process.platform === "win32")("a slide that is stopped", () => {
  it("has no half of a result after it was killed, and what was left behind goes at the next start", async () => {
    const file = await slideFile();
    const out = fresh();
    const left: string[] = [];
    for (const milliseconds of [0, 150, 600]) left.push(...(await killedAfter(milliseconds, file, style, out)));
    expect(left.length).toBeGreaterThan(0);
    for (const name of left) expect(name).toMatch(/^\.large\.tif\.\d+\.[0-9a-f]{8}\.[0-9a-f]{12}\.partial$/);
    await stylizeSlide(out);
    expect(listFiles(out)).toEqual(["scan.tif"]);
  });

  it("leaves nothing behind after SIGTERM", async () => {
    const out = fresh();
    const { child, finished } = start(paint([await slideFile()], [style], out));
    const timer = setInterval(() => {
      if (!readdirSync(out).some((name) => name.startsWith(".large.tif."))) return;
      clearInterval(timer);
      child.kill("SIGTERM");
    }, 10);
    const { code, stderr } = await finished;
    expect(code, stderr).toBe(143);
    expect(stderr).toContain("1 not begun");
    expect(listFiles(out)).toEqual([]);
  });
});

it.skipIf(!existsSync("/proc/self"))("takes no more memory for eight times the rows", async () => {
  const [small, large] = await Promise.all([2000, 16_000].map((height) => peakOf(2000, height, fresh())));
  // Each copy of the larger picture is 84 megabytes more; the collector lets arrays lie for a while.
  expect(large!.largest).toBeLessThan(1.1 * small!.largest + 80e6);
});
