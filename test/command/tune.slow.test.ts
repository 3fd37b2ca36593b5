import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { build, fresh, imageFile, listFiles, micro, run, stylize } from "./command.js";

beforeAll(build);

/** A cache of its own: what tests measure is nobody else's. */
const cache = fresh("cache");
const env = { XDG_CACHE_HOME: cache };
const file = join(cache, "stylizing-vit", "tuning.json");

describe("tune", () => {
  it("prints a line an op", async () => {
    const { code, stdout, stderr } = await run(["tune", ...micro(), "--batch", "1"], { env });
    expect(code).toBe(0);
    expect(stdout.trim().split("\n").length).toBeGreaterThan(8);
    for (const line of stdout.trim().split("\n")) expect(line).toMatch(/^linear .* ms {2}quad \d+: .*of \d$/);
    expect(stderr).toMatch(/ops and shapes measured on SwiftShader/);
  });
});

describe("--tune", () => {
  it("off paints the same bytes whatever was remembered, and a damaged memory changes nothing", async () => {
    const content = await imageFile(join(fresh(), "content.png"), 1, 32);
    const style = await imageFile(join(fresh(), "style.png"), 2, 32);
    const paint = async (...rest: string[]) => {
      const out = fresh("out");
      const { code, stderr } = await run([...stylize([content], [style], out), ...micro(), ...rest], { env });
      expect(code, stderr).toBe(0);
      return readFileSync(join(out, listFiles(out)[0]!));
    };
    await run(["tune", ...micro(), "--batch", "1"], { env });
    expect(existsSync(file)).toBe(true);
    const remembering = await paint("--tune", "off");
    writeFileSync(file, '{"0.6.2|google": {"linear');
    const damaged = await paint();
    rmSync(file);
    const fromNothing = await paint("--tune", "off");
    expect(remembering.equals(fromNothing)).toBe(true);
    expect(damaged.equals(fromNothing)).toBe(true);
  });
});
