import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import { build, fresh, imageFiles, listFiles, micro, pixels, runJson, stylize } from "./command.js";

beforeAll(build);

describe("images that cannot be read", () => {
  it("fail only what needs them, where they are styles", async () => {
    const [contents, styles] = [await imageFiles("a", "b"), await imageFiles("s")];
    const missing = join(fresh(), "gone.png");
    const some = fresh("out");
    const report = await runJson<StylizeReport>(
      [...stylize(contents, [...styles, missing], some), "--pair", "all", ...micro()],
      1,
    );
    expect(report.images.map(({ output, status }) => `${basename(output)} ${status}`)).toEqual([
      "a__s.png done",
      "a__gone.png failed",
      "b__s.png done",
      "b__gone.png failed",
    ]);
    expect(report.images[1]!.error!.message).toContain(missing);
    expect(listFiles(some)).toEqual(["a__s.png", "b__s.png"]);
  });
});

describe("results that cannot be written", () => {
  it("fail alone where a folder has a result's name", async () => {
    const out = fresh();
    mkdirSync(join(out, "a.png"));
    const report = await runJson<StylizeReport>(
      [...stylize(await imageFiles("a", "b"), await imageFiles("s"), out), ...micro()],
      1,
    );
    expect(report.images[0]).toMatchObject({ status: "failed", error: { code: "OUTPUT" } });
    expect(report.images[0]!.error!.message).toContain(`${join(out, "a.png")} cannot be written: it is a folder.`);
    expect(report.images[1]).toMatchObject({ status: "done" });
    expect(listFiles(out)).toEqual(["b.png"]);
  });

  it("leave nothing half-written on a full disk", async (test) => {
    const disk = fresh();
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], { stdio: "pipe" });
    } catch {
      test.skip("no small disk may be mounted here");
    }
    onTestFinished(() => void execFileSync("umount", [disk]));
    // Some 25 kB each.
    const contents = await imageFiles("a", "b", "c", "d");
    const report = await runJson<StylizeReport>([...stylize(contents, await imageFiles("s"), disk), "--batch", "1"], 1);
    expect(report.done).toBeGreaterThan(0);
    expect(report.failed).toBeGreaterThan(0);
    expect(report.failed + report.stopped).toBe(4 - report.done);
    for (const { status, error, output } of report.images) {
      expect(existsSync(output)).toBe(status === "done");
      if (status === "done") expect(await pixels(output)).toMatchObject({ width: 96, height: 96 });
      else if (status === "failed")
        expect(error).toMatchObject({ code: "OUTPUT", message: expect.stringContaining("the disk is full") });
    }
    expect(listFiles(disk)).toHaveLength(report.done);

    // Rewriting a result that is there: it stays as it was.
    const full = join(disk, "fill");
    try {
      writeFileSync(full, new Uint8Array(65536));
    } catch {}
    const kept = report.images.find(({ status }) => status === "done")!;
    const before = readFileSync(kept.output);
    await runJson([...stylize([kept.content], await imageFiles("other"), disk, "--overwrite")], 1);
    expect(readFileSync(kept.output).equals(before)).toBe(true);
    expect(listFiles(disk)).toHaveLength(report.done + 1);
  });
});
