import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import { build, type Failure, fresh, imageFiles, json, listFiles, run, runJson } from "./command.js";

beforeAll(build);

interface Doctor {
  ok: boolean;
  checks: { name: string; ok: boolean; found: string; fix?: string }[];
  adapter?: { software: boolean };
}

describe("doctor", () => {
  it("prints a line for each without --json", async () => {
    const { code, stdout, stderr } = await run(["doctor"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const lines = stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(6);
    for (const line of lines) expect(line).toMatch(/^ok {4}\S/);
    expect(stdout).toMatch(/known tensor.* allowed/);
  });

  it("is a failure of its own where there is no GPU and one is asked for", async (test) => {
    const usual = json<Doctor>(await run(["doctor", "--json"], { env: { STYLIZING_VIT_ADAPTER: "auto" } }));
    if (!usual.adapter?.software) test.skip("this machine has a GPU");
    const report = await runJson<Doctor>(["doctor", "--adapter", "hardware"], 3);
    expect(report.ok).toBe(false);
    const adapter = report.checks.find(({ name }) => name === "adapter")!;
    expect(adapter).toMatchObject({ ok: false, found: expect.stringContaining("No hardware GPU adapter") });
    expect(adapter.fix).toContain("--adapter software");

    const out = fresh("out");
    const args = ["stylize", "--content", ...(await imageFiles("a")), "--style", ...(await imageFiles("s")), "--out", out];
    const { error } = await runJson<Failure>([...args, "--adapter", "hardware"], 3);
    expect(error.code).toBe("NO_ADAPTER");
    expect(listFiles(out)).toEqual([]);
  });
});

describe("demo", () => {
  it("takes images of one's own on both sides, and by itself the model of its name", async () => {
    const out = fresh("demo");
    const [content, style] = [await imageFiles("a"), await imageFiles("s")];
    const report = await runJson<StylizeReport>(["demo", "--content", ...content, "--style", ...style, "--out", out]);
    expect(report).toMatchObject({ model: "demo", done: 1 });
    expect(listFiles(out)).toEqual(["results/a__s.png", "sheet.png"]);
    expect((await sharp(join(out, "results", "a__s.png")).metadata()).width).toBe(96);
  });
});
