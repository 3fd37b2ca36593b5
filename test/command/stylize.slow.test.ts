import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import {
  build,
  colours,
  DEMO_MODEL,
  encode,
  fresh,
  imageFile,
  imageFiles,
  levelsApart,
  listFiles,
  micro,
  paint,
  run,
  runJson,
  stylize,
} from "./command.js";

beforeAll(build);

describe("what is printed", () => {
  it("is nothing on stdout without --json, and what was done on stderr", async () => {
    const out = fresh("out");
    const { code, stdout, stderr } = await run(paint(await imageFiles("a"), await imageFiles("s"), out));
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toContain("hashed:3 on SwiftShader, f32 (a CPU: slow");
    expect(stderr).toContain(`1 of 1 painted into ${out}`);
    expect(stderr).not.toContain("\u001b");
  });
});

describe("names and folders", () => {
  it("keep the layout of a folder, take images only, and need no folder that exists", async () => {
    const folder = fresh();
    await imageFile(join(folder, "a.png"), 1);
    await imageFile(join(folder, "sub", "b.jpg"), 2);
    await imageFile(join(folder, "sub", "deep er", "ç.webp"), 3);
    await imageFile(join(folder, ".hidden.png"), 4);
    writeFileSync(join(folder, "sub", "notes.txt"), "not an image");
    const [named] = await imageFiles("named");
    const out = fresh("some/where/out");
    const report = await runJson<StylizeReport>(paint([folder, named!], await imageFiles("s"), out));
    expect(report.done).toBe(4);
    expect(listFiles(out)).toEqual(["a.png", "named.png", "sub/b.png", "sub/deep er/ç.png"]);
  });
});

describe("kinds of images", () => {
  it("are read alike: grey, 16 bits, opaque alpha, and turned by EXIF", async () => {
    const folder = fresh();
    const at = (name: string) => join(folder, `${name}.png`);
    const level = Buffer.from(colours(2).data.filter((_, index) => index % 3 === 0));
    const grey = () => sharp(level, { raw: { width: 96, height: 96, channels: 1 } });
    const rgb = Buffer.alloc(96 * 96 * 3);
    for (const [index, value] of level.entries()) rgb.fill(value, index * 3, index * 3 + 3);
    const upright = { data: rgb, width: 96, height: 96 };
    await encode(upright).toFile(at("rgb"));
    await grey().toColourspace("b-w").toFile(at("grey"));
    await encode(upright).ensureAlpha().toFile(at("alpha"));
    const wide = new Uint16Array(rgb.length);
    for (const [index, value] of rgb.entries()) wide[index] = value * 257;
    await sharp(wide, { raw: { width: 96, height: 96, channels: 3 } })
      .toColourspace("rgb16")
      .png()
      .toFile(at("wide"));
    const turned = await encode(upright).rotate(270).raw().toBuffer();
    await encode({ ...upright, data: turned })
      .withMetadata({ orientation: 6 })
      .png()
      .toFile(at("turned"));

    expect((await sharp(at("grey")).metadata()).channels).toBe(1);
    expect((await sharp(at("alpha")).metadata()).channels).toBe(4);
    expect((await sharp(at("wide")).metadata()).depth).toBe("ushort");
    expect((await sharp(at("turned")).metadata()).orientation).toBe(6);

    const out = fresh("out");
    const report = await runJson<StylizeReport>(paint([folder], await imageFiles("s"), out));
    expect(report.done).toBe(5);
    for (const name of ["grey", "alpha", "wide", "turned"]) {
      expect(await levelsApart(join(out, `${name}.png`), join(out, "rgb.png")), name).toBe(0);
    }
  });
});

describe("models", () => {
  it("are a folder, a file with its config.json beside it, or a name", async () => {
    const folder = fresh();
    mkdirSync(join(folder, "m"));
    for (const name of ["model.safetensors", "config.json"]) copyFileSync(join(DEMO_MODEL, name), join(folder, "m", name));
    const [contents, styles] = [await imageFiles("a"), await imageFiles("s")];
    const outputs: string[] = [];
    for (const model of ["demo", join(folder, "m"), join(folder, "m", "model.safetensors")]) {
      const out = fresh("out");
      expect((await runJson<StylizeReport>(stylize(contents, styles, out, "--model", model))).model).toBe(model);
      outputs.push(join(out, "a.png"));
    }
    expect(readFileSync(outputs[1]!).equals(readFileSync(outputs[0]!))).toBe(true);
    expect(readFileSync(outputs[2]!).equals(readFileSync(outputs[0]!))).toBe(true);
  });
});
describe("--batch", () => {
  it("changes the speed and not the images", async () => {
    const [contents, styles] = [await imageFiles("a", "b", "c"), await imageFiles("s", "tt", "uuu")];
    const [one, three] = [fresh("out"), fresh("out")];
    await runJson([...stylize(contents, styles, one, "--batch", "1"), ...micro()]);
    await runJson([...stylize(contents, styles, three, "--batch", "3"), ...micro()]);
    for (const name of ["a.png", "b.png", "c.png"]) {
      expect(await levelsApart(join(one, name), join(three, name))).toBeLessThanOrEqual(1);
    }
  });
});
