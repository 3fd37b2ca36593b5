import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import { root } from "../support/fixtures.js";
import { build, type Failure, fresh, HERE, imageFiles, json, listFiles, micro, run, runJson } from "./command.js";

beforeAll(build);

const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };

interface Doctor {
  ok: boolean;
  checks: { name: string; ok: boolean; found: string; fix?: string }[];
  versions: Record<string, string>;
  adapter?: { name: string; vendor: string; architecture: string; driver: string; software: boolean };
  tier?: string;
  limits?: Record<string, number>;
  knownTensor?: { error: number; bound: number; milliseconds: number };
}

/** Whether the system's own Vulkan loader is there, asked for as the command does. */
function systemVulkan(): boolean {
  const open =
    'try { process.dlopen({ exports: {} }, "libvulkan.so.1"); } catch (e) { if (/cannot open shared/.test(e)) process.exit(7); }';
  try {
    execFileSync(process.execPath, ["-e", open], { stdio: "pipe" });
    return true;
  } catch (error) {
    return (error as { status: number }).status !== 7;
  }
}

describe("doctor", () => {
  it("says what the machine offers and that a known tensor comes out right", async () => {
    const report = await runJson<Doctor>(["doctor"]);
    expect(report.ok).toBe(true);
    expect(report.checks.map(({ name, ok }) => `${name} ${ok}`)).toEqual([
      "platform true",
      "software driver true",
      "devices true",
      "adapter true",
      "tier true",
      "limits true",
      "known tensor true",
    ]);
    expect(report.adapter).toMatchObject({ name: "SwiftShader", architecture: "swiftshader", software: true });
    expect(report.tier).toBe("f32");
    expect(report.versions).toEqual({
      "stylizing-vit": version,
      webgpu: expect.stringMatching(/^\d/),
      node: process.versions.node,
    });
    expect(report.limits!.maxComputeWorkgroupStorageSize).toBeGreaterThanOrEqual(16384);
    expect(report.limits!.maxStorageBufferBindingSize).toBeGreaterThanOrEqual(2 ** 27);
    expect(report.knownTensor!.bound).toBe(5e-5);
    expect(report.knownTensor!.error).toBeLessThanOrEqual(report.knownTensor!.bound);
    expect(report.stderr).toBe("");
  });

  it("refuses an adapter that it does not know, from the environment too", async () => {
    const { code, stdout } = await run(["doctor"], { ...HERE, env: { STYLIZING_VIT_ADAPTER: "cuda" } });
    expect(code).toBe(2);
    expect(stdout).toContain('Unknown adapter "cuda"');
  });

  it("says why the software driver cannot be unpacked", async (test) => {
    if (process.platform !== "linux" || process.arch !== "x64") test.skip("no software driver for this platform");
    const file = fresh("file");
    writeFileSync(file, "");
    const report = await runJson<Doctor>(["doctor"], 1, { env: { XDG_CACHE_HOME: file, TMPDIR: join(file, "tmp") } });
    const { found, fix } = report.checks.find(({ name }) => name === "adapter")!;
    expect(found).toMatch(/no folder for the cache.*(ENOTDIR|EEXIST)/);
    expect(found).toContain(file);
    expect(found).not.toMatch(/GPU adapter/);
    expect(fix).toContain("XDG_CACHE_HOME");
  });
});

describe("without any adapter", () => {
  it("3 is the exit code, and the missing part and its cure are named", async (test) => {
    if (systemVulkan()) test.skip("this machine has Vulkan of its own");
    // An installation without the optional package that carries the software driver.
    const folder = fresh();
    for (const name of ["dist", "kernels", "weights", "package.json"]) {
      cpSync(join(root, name), join(folder, name), { recursive: true });
    }
    mkdirSync(join(folder, "node_modules"));
    for (const name of readdirSync(join(root, "node_modules"))) {
      if (name !== "@sparticuz" && !name.startsWith(".build"))
        symlinkSync(join(root, "node_modules", name), join(folder, "node_modules", name));
    }
    const main = join(folder, "dist", "command", "main.js");
    const options = { main, env: { STYLIZING_VIT_ADAPTER: undefined } };

    const report = await runJson<Doctor>(["doctor"], 3, options);
    expect(report.ok).toBe(false);
    expect(report.checks.find(({ name }) => name === "software driver")!.found).toContain("none");
    const adapter = report.checks.find(({ name }) => name === "adapter")!;
    expect(adapter.found).toContain("No usable GPU adapter (found none)");
    expect(adapter.fix).toContain("libvulkan1");
    expect(adapter.fix).toContain("npm install @sparticuz/chromium@147.0.0");
    const text = await run(["doctor"], options);
    expect(text.code).toBe(3);
    expect(text.stdout).toMatch(/^FAIL {2}adapter/m);

    const out = fresh("out");
    const args = ["stylize", "--content", ...(await imageFiles("a")), "--style", ...(await imageFiles("s")), "--out", out];
    const painted = await run([...args, "--json"], options);
    expect(painted.code).toBe(3);
    expect(json<Failure>(painted).error).toMatchObject({
      code: "NO_ADAPTER",
      fix: expect.stringContaining("@sparticuz/chromium"),
    });
    expect(painted.stderr).toContain("stylizing-vit: No usable GPU adapter");
    // What needs no device works.
    expect((await run(["models"], options)).code).toBe(0);
  });
});

describe("models", () => {
  it("lists the small one that is here and the 21 that are published", async () => {
    const { models, ...rest } = await runJson<{ default: string; models: { name: string; mean?: number[]; repo?: string }[] }>([
      "models",
    ]);
    expect(rest.default).toBe("demo");
    expect(models).toHaveLength(22);
    expect(models[0]).toMatchObject({ name: "demo", comesWithPackage: true });
    expect(models.find(({ name }) => name === "base/camelyon17wilds")).toMatchObject({
      repo: "sdoerrich97/stylizing_vit_base_camelyon17wilds",
      mean: [0.744, 0.5895, 0.7214],
    });
    const { code, stdout, stderr } = await run(["models"], HERE);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.trimEnd().split("\n")).toHaveLength(23);
    for (const { name } of models) expect(stdout).toContain(`\n${name} `);
  });
});

describe("demo", () => {
  it("draws tissue, paints it in every style and writes a sheet, the same for the same seed", async () => {
    const [out, again] = [fresh("demo"), fresh("demo")];
    const report = await runJson<StylizeReport>(["demo", "--out", out, ...micro()]);
    const [contents, styles, results] = ["content", "style", "results"].map((name) => listFiles(join(out, name)));
    expect(contents).toHaveLength(5);
    expect(styles).toHaveLength(5);
    expect(results).toHaveLength(25);
    expect(report).toMatchObject({ done: 25, failed: 0, sheet: join(out, "sheet.png") });
    expect(report.stderr).toContain(`look at ${join(out, "sheet.png")}`);
    expect(results).toContain(`${contents![0]!.replace(".png", "")}__${styles![0]}`);
    expect((await sharp(join(out, "sheet.png")).metadata()).width).toBeGreaterThan(500);
    for (const name of results!) expect((await sharp(join(out, "results", name)).metadata()).width).toBe(128);

    const own = await imageFiles("mine");
    await runJson<StylizeReport>(["demo", "--out", again, "--content", ...own, "--seed", "1", ...micro()]);
    expect(existsSync(join(again, "content"))).toBe(false);
    expect(listFiles(join(again, "results"))).toEqual(styles!.map((name) => `mine__${name}`));
    for (const name of styles!) {
      expect(readFileSync(join(again, "style", name)).equals(readFileSync(join(out, "style", name)))).toBe(true);
    }
  });
});

describe("help and version", () => {
  it("go to stdout and end with 0", async () => {
    expect(await run(["--version"])).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: "" });
    for (const verb of [[], ["stylize"], ["forward"], ["doctor"], ["models"], ["demo"]]) {
      const { code, stdout, stderr } = await run([...verb, "--help"], HERE);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toContain(`Usage: stylizing-vit ${verb[0] ?? "[options]"}`);
    }
  });
});
