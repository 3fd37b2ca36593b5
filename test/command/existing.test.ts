import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import type { ClassifyReport } from "../../src/augment/classify-files.js";
import type { ImagesReport, StylizeReport } from "../../src/augment/report.js";
import { Engine } from "../../src/painter/engine.js";
import { build, type Failure, fresh, HERE, imageFile, imageFiles, listFiles, micro, paint, run, runJson } from "./command.js";

/** Writes that succeed before the disk is full. */
const disk = vi.hoisted(() => ({ left: Number.POSITIVE_INFINITY }));

vi.mock("node:fs/promises", async (importOriginal) => {
  const fs = await importOriginal<typeof import("node:fs/promises")>();
  return {
    ...fs,
    async open(...args: Parameters<typeof fs.open>) {
      const handle = await fs.open(...args);
      const writeFile = handle.writeFile.bind(handle);
      handle.writeFile = (async (bytes: Uint8Array) => {
        if (disk.left-- <= 0) throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
        await writeFile(bytes);
      }) as typeof handle.writeFile;
      return handle;
    },
  };
});

beforeAll(build);

/** A run of the command here, which reads and writes in this thread. */
const stylized = <T = StylizeReport>(code: number, ...args: Parameters<typeof paint>) =>
  runJson<T>([...paint(...args), "--workers", "0"], code, HERE);
const statuses = (report: ImagesReport) => report.images.map(({ status }) => status);
/** A model that is never reached. */
const NOWHERE = ["--model", "/no/such/model"];

describe("results that exist already", () => {
  it("are refused before the model is looked for, replaced by --overwrite, and left by --skip-existing", async () => {
    const [contents, styles, out] = [await imageFiles("a", "b", "c", "d", "e"), await imageFiles("s"), fresh("out")];
    mkdirSync(out);
    for (const name of ["a", "b", "c", "d"]) writeFileSync(join(out, `${name}.png`), name);
    writeFileSync(join(out, "sheet.png"), "a sheet");
    const sheet = ["--sheet", join(out, "sheet.png")];
    const { error } = await stylized<Failure>(2, contents, styles, out, ...sheet, ...NOWHERE);
    const named = ["a", "b", "c"].map((name) => join(out, `${name}.png`)).join(", ");
    expect(error).toMatchObject({
      code: "ARGUMENT",
      message: expect.stringContaining(`5 results exist already: ${named} and 2 more.`),
    });
    expect(error.fix).toMatch(/--overwrite.*--skip-existing/);

    const resumed = await stylized(0, contents, styles, out, ...sheet, "--skip-existing");
    expect(statuses(resumed)).toEqual(["skipped", "skipped", "skipped", "skipped", "done"]);
    expect(resumed).toMatchObject({ done: 1, skipped: 4, failed: 0, stopped: 0 });
    expect(resumed.stderr).toContain(`1 of 5 painted into ${out} (4 there already)`);
    expect(resumed.stderr).toContain(`${join(out, "sheet.png")} is there already and stays as it is`);
    expect(["a.png", "sheet.png"].map((name) => readFileSync(join(out, name), "utf8"))).toEqual(["a", "a sheet"]);

    const idle = await stylized<ImagesReport>(0, contents, styles, out, "--skip-existing", ...NOWHERE);
    expect(idle).toMatchObject({ done: 0, skipped: 5 });
    expect(idle.images[4]).toEqual({ content: contents[4], style: styles[0], output: join(out, "e.png"), status: "skipped" });
    expect(idle.stderr).toContain(`nothing left to do: all 5 results are in ${out}`);

    const painted = readFileSync(join(out, "e.png"));
    writeFileSync(join(out, "e.png"), "e");
    const replaced = await stylized(0, contents, styles, out, ...sheet, "--overwrite");
    expect(replaced).toMatchObject({ done: 5, skipped: 0, sheet: join(out, "sheet.png") });
    expect(readFileSync(join(out, "e.png")).equals(painted)).toBe(true);
    expect(readFileSync(join(out, "sheet.png")).subarray(1, 4).toString()).toBe("PNG");
  });

  it("are not asked for with both flags", async () => {
    const { code, stderr } = await run(paint(["c.png"], ["s.png"], "out", "--overwrite", "--skip-existing"), HERE);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining("cannot be used with option '--overwrite'") });
  });

  it("are never a sheet's place in the same run, --overwrite or not", async () => {
    const [contents, styles, out] = [await imageFiles("a"), await imageFiles("s"), fresh("out")];
    const sheet = join(out, "A.png");
    const { error } = await stylized<Failure>(2, contents, styles, out, "--sheet", sheet, "--overwrite", ...NOWHERE);
    expect(error).toMatchObject({
      code: "ARGUMENT",
      message: expect.stringContaining(`${join(out, "a.png")} and ${sheet} are one file`),
    });
  });

  it("have names of their own where inputs differ in ending only, and the same in a run that goes on", async () => {
    const folder = fresh();
    for (const [seed, name] of ["a.jpg", "a.png", "b.png", "sub/a.png"].entries()) await imageFile(join(folder, name), seed);
    const [styles, out] = [await imageFiles("s"), fresh("out")];
    expect(await stylized(0, [folder], styles, out)).toMatchObject({ done: 4 });
    expect(listFiles(out)).toEqual(["a.jpg.png", "a.png.png", "b.png", "sub/a.png"]);
    rmSync(join(out, "a.png.png"));
    expect(await stylized(0, [folder], styles, out, "--skip-existing")).toMatchObject({ done: 1, skipped: 3 });
    expect(listFiles(out)).toHaveLength(4);
  });

  it("are the demo's own to replace", async () => {
    const [contents, styles, out] = [await imageFiles("a"), await imageFiles("s"), fresh("demo")];
    const args = ["demo", "--content", ...contents, "--style", ...styles, "--out", out, ...micro()];
    for (let i = 0; i < 2; i++) expect(await runJson<StylizeReport>(args, 0, HERE)).toMatchObject({ done: 1, skipped: 0 });
  });
});

describe("what can be known at once is said at once, and once", () => {
  it("lists of different lengths", async () => {
    const [contents, styles] = [await imageFiles("a", "b", "c"), await imageFiles("s", "t")];
    const { error } = await stylized<Failure>(2, contents, styles, fresh("out"), ...NOWHERE);
    expect(error.message).toMatch(/there are 3 contents and 2 styles\. .*--pair random or all/);
  });

  it("a style that does not exist: a refusal where nothing can be painted, else one line", async () => {
    const [contents, styles, out] = [await imageFiles("a", "b", "c"), await imageFiles("s"), fresh("out")];
    const missing = join(out, "missing.png");
    const { error } = await stylized<Failure>(2, contents, [missing], out, ...NOWHERE);
    expect(error).toMatchObject({
      code: "ARGUMENT",
      message: expect.stringContaining(`Nothing can be painted without ${missing}.`),
    });
    const report = await stylized(1, contents, [...styles, missing], out, "--pair", "all");
    expect(report).toMatchObject({ done: 3, failed: 3 });
    const [first, ...others] = report.stderr.split("\n").filter((line) => line.startsWith("failed"));
    expect(first).toContain(`failed: ${missing} does not exist.`);
    expect(others).toEqual([]);
    expect(report.stderr.indexOf("failed")).toBeLessThan(report.stderr.indexOf("SwiftShader"));
  });

  it("a style that cannot be read, as soon as it is met", async () => {
    const [contents, styles, out] = [await imageFiles("a", "b", "c"), await imageFiles("s"), fresh("out")];
    const broken = fresh("broken.png");
    writeFileSync(broken, "no image");
    const report = await stylized(1, contents, [...styles, broken], out, "--pair", "all");
    expect(report).toMatchObject({ done: 3, failed: 3 });
    const lines = report.stderr.split("\n").filter((line) => line.startsWith("failed"));
    expect(lines).toEqual([expect.stringContaining(`failed: ${contents[0]} and 2 more in ${broken}: ${broken} is not an image`)]);
  });

  it("a sheet that cannot be written", async () => {
    const [contents, styles, out] = [await imageFiles("a"), await imageFiles("s"), fresh("out")];
    const { error } = await stylized<Failure>(1, contents, styles, out, "--sheet", fresh(), ...NOWHERE);
    expect(error).toMatchObject({
      code: "OUTPUT",
      message: expect.stringContaining("is a folder and cannot be replaced by a file"),
    });
  });

  it("a disk that is full: no batch is begun behind it, and --skip-existing goes on", async () => {
    const [contents, styles, out] = [await imageFiles(..."abcdefghijklmnop"), await imageFiles("s"), fresh("out")];
    const batch = ["--batch", "1", "--sheet", fresh("sheet.png")];
    const computed = vi.spyOn(Engine.prototype, "run");
    disk.left = 2;
    const report = await stylized(1, contents, styles, out, ...batch);
    disk.left = Number.POSITIVE_INFINITY;
    expect(computed.mock.calls.length).toBeLessThan(12);
    computed.mockRestore();
    expect(report).toMatchObject({
      done: 2,
      stopReason: { code: "OUTPUT", message: expect.stringContaining("the disk is full") },
    });
    expect(report.failed).toBeGreaterThan(0);
    expect(report.stopped).toBeGreaterThan(4);
    expect(report.stderr.match(/disk is full/g)).toHaveLength(1);
    expect(report.stderr).toContain(`2 of 16 painted into ${out} (${report.failed} failed, ${report.stopped} not begun)`);
    expect(listFiles(out)).toEqual(["a.png", "b.png"]);
    expect(await stylized(0, contents, styles, out, ...batch, "--skip-existing")).toMatchObject({ done: 14, skipped: 2 });
  });

  it("a disk that is too full for the sheet alone", async () => {
    const [contents, styles, out] = [await imageFiles("a"), await imageFiles("s"), fresh("out")];
    disk.left = 1;
    const report = await stylized(1, contents, styles, out, "--sheet", fresh("sheet.png"));
    disk.left = Number.POSITIVE_INFINITY;
    expect(report).toMatchObject({ done: 1, failed: 0, sheetError: { code: "OUTPUT" } });
    expect(listFiles(out)).toEqual(["a.png"]);
  });

  it("a disk that is full of drawings of attention", async () => {
    const [config, attention, csv] = [fresh("config.json"), fresh("maps"), fresh("table.csv")];
    const shape = { image_size: 32, patch_size: 8, embed_dim: 48, num_heads: 3, depth: 1, num_classes: 2, classes: ["a", "b"] };
    writeFileSync(config, JSON.stringify({ kind: "vit", ...shape, mean: [0.6, 0.5, 0.6], std: [0.2, 0.2, 0.2] }));
    const model = ["--model", "hashed:3", "--config", config];
    const images = await imageFiles(..."abcdefgh");
    const rest = ["--batch", "1", "--workers", "0", "--attention", attention, "--csv", csv];
    disk.left = 2;
    const report = await runJson<ClassifyReport>(["classify", ...images, ...model, ...rest], 1, HERE);
    disk.left = Number.POSITIVE_INFINITY;
    expect(report).toMatchObject({ done: 2, stopReason: { code: "OUTPUT" } });
    expect(report.stopped).toBeGreaterThan(2);
    expect(report.stderr.match(/disk is full/g)).toHaveLength(1);
  });
});
