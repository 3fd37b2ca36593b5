import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import { build, fresh, imageFile, imageFiles, listFiles, micro, runJson, stylize } from "./command.js";

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
    const broken = fresh("broken.png");
    writeFileSync(broken, "no image");
    const report = await runJson<StylizeReport>([...stylize([broken], await imageFiles("s"), fresh("out")), ...micro()], 1);
    expect(report.timing).toBeUndefined();
    expect(report.stderr).not.toContain("stages overlapping");
  });
});
