import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { ImagesReport, StylizeReport } from "../../src/augment/report.js";
import { build, type Failure, fresh, HERE, imageFile, imageFiles, listFiles, micro, paint, run, runJson } from "./command.js";

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
