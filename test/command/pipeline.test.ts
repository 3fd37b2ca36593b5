import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import { stylizeFiles } from "../../src/command/stylize.js";
import { StylizingError } from "../../src/errors.js";
import { Engine } from "../../src/painter/engine.js";
import { build, fresh, imageFile, imageFiles, listFiles, micro, run, runJson, stylize } from "./command.js";

beforeAll(build);

describe("--workers", () => {
  it("changes where images are read and written, and not a byte of the results", async () => {
    const folder = fresh();
    for (let i = 0; i < 9; i++) await imageFile(join(folder, `sub${i % 2}`, `${i}.jpg`), i, 60 + 9 * i, 90);
    writeFileSync(join(folder, "sub0", "text.png"), "no image");
    const styles = await imageFiles("s", "tt");
    const [none, two] = [fresh("out"), fresh("out")];
    const paint = (out: string, workers: string) => [
      ...stylize([folder], styles, out, "--pair", "all", "--size", "keep", "--workers", workers),
      ...micro(),
    ];
    const alone = await runJson<StylizeReport>(paint(none, "0"), 1);
    const threads = await runJson<StylizeReport>(paint(two, "2"), 1);
    expect([alone.timing!.workers, threads.timing!.workers]).toEqual([0, 2]);
    for (const report of [alone, threads]) expect(report).toMatchObject({ done: 18, failed: 2, stopped: 0 });
    const outcomes = (report: StylizeReport, out: string) =>
      report.images.map(({ output, status, error }) => [output.slice(out.length), status, error]);
    expect(outcomes(threads, two)).toEqual(outcomes(alone, none));
    expect(listFiles(two)).toEqual(listFiles(none));
    for (const name of listFiles(two))
      expect(readFileSync(join(two, name)).equals(readFileSync(join(none, name))), name).toBe(true);
  });

  it.each(["-1", "1.5", "many"])("%s is refused", async (workers) => {
    const { code, stderr } = await run([...stylize(["c.png"], ["s.png"], "out"), `--workers=${workers}`]);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining("It must be a whole number from 0 on.") });
  });
});

it("a device that fails once loses one batch, and the rest is painted", async () => {
  const names = [..."abcdefgh"];
  const [contents, styles, out] = [await imageFiles(...names), await imageFiles(...names), fresh("out")];
  const run = Engine.prototype.run;
  let calls = 0;
  const spy = vi.spyOn(Engine.prototype, "run").mockImplementation(function (this: Engine, ...args) {
    return ++calls === 2 ? Promise.reject(new StylizingError("GPU", "It hiccuped.", "Try again.")) : run.apply(this, args);
  });
  onTestFinished(() => spy.mockRestore());
  const [, model, , file] = micro();
  const flags = { model: model!, config: file!, precision: "f32", adapter: "software", pair: "each", format: "png" } as const;
  const report = await stylizeFiles({ ...flags, content: contents, style: styles, out, batch: 2, seed: 0, size: "model" });
  expect(report.images.map(({ status }) => status)).toEqual(["done", "done", "failed", "failed", "done", "done", "done", "done"]);
  for (const { status, error } of report.images) if (status === "failed") expect(error).toMatchObject({ code: "GPU" });
  expect(listFiles(out)).toEqual(["a.png", "b.png", "e.png", "f.png", "g.png", "h.png"]);
});

describe("where the time went", () => {
  it("is one line on stderr, and `timing` with --json", async () => {
    const names = [..."abcdefghijkl"];
    const [contents, styles, out] = [await imageFiles(...names), await imageFiles(...names), fresh("out")];
    const report = await runJson<StylizeReport>([...stylize(contents, styles, out, "--batch", "3"), ...micro()]);
    const { timing } = report;
    expect(timing).toMatchObject({ batches: 4, images: 12, clock: "device" });
    for (const stage of ["decode", "upload", "compute", "download", "save", "host"] as const)
      expect(timing![stage], stage).toBeGreaterThan(0);
    expect(timing!.wait).toBeGreaterThanOrEqual(0);
    expect(timing!.hostPerBatch).toBeCloseTo(timing!.host / 4, 9);
    expect(timing!.compute).toBeLessThan(report.milliseconds);
    expect(timing!.busy).toBeGreaterThan(0);
    expect(timing!.busy).toBeLessThanOrEqual(1);
    expect(report.stderr).toMatch(
      /time, stages overlapping: decode \d+\.\d\d s, .*busy \d+ % of the time from the second batch on/,
    );
  });

  it("is not told where nothing was painted", async () => {
    const missing = join(fresh(), "gone.png");
    const report = await runJson<StylizeReport>([...stylize([missing], await imageFiles("s"), fresh("out")), ...micro()], 1);
    expect(report.timing).toBeUndefined();
    expect(report.stderr).not.toContain("stages overlapping");
  });
});
