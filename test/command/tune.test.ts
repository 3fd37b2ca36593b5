import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { build, type Failure, fresh, imageFile, listFiles, micro, run, runJson, stylize } from "./command.js";

beforeAll(build);

interface TuneJson {
  tier: string;
  error: number;
  choices: { op: string; name: string; milliseconds: number; defaultMilliseconds: number; candidates: number }[];
}

/** A cache of its own: what tests measure is nobody else's. */
const cache = fresh("cache");
const env = { XDG_CACHE_HOME: cache };
const file = join(cache, "stylizing-vit", "tuning.json");

describe("tune", () => {
  it("measures every op and shape of all schedules, says what it chose, and remembers it", async () => {
    const report = await runJson<TuneJson>(["tune", ...micro(), "--batch", "1", "3", "--json"], 0, { env });
    expect(report.tier).toBe("f32");
    expect(report.error).toBeLessThan(5e-5);
    // Embedding, query-key-value and its parts, out, fc1, fc2 and the bottleneck, in several sizes.
    expect(report.choices.length).toBeGreaterThan(10);
    for (const { op, name, milliseconds, defaultMilliseconds, candidates } of report.choices) {
      expect(op).toMatch(/^linear \d+x\d+x\d+ (none|gelu|residual|table) (f32|elem)$/);
      expect(name).toMatch(/^quad \d+$/);
      expect(milliseconds).toBeLessThanOrEqual(defaultMilliseconds);
      expect(candidates).toBeGreaterThan(1);
    }
    const [entry] = Object.values(JSON.parse(readFileSync(file, "utf8")) as Record<string, object>);
    expect(Object.keys(entry!).sort()).toEqual(report.choices.map(({ op }) => op).sort());
  });

  it("prints a line an op", async () => {
    const { code, stdout, stderr } = await run(["tune", ...micro(), "--batch", "1"], { env });
    expect(code).toBe(0);
    expect(stdout.trim().split("\n").length).toBeGreaterThan(8);
    for (const line of stdout.trim().split("\n")) expect(line).toMatch(/^linear .* ms {2}quad \d+: .*of \d$/);
    expect(stderr).toMatch(/ops and shapes measured on SwiftShader/);
  });

  it.each([
    [["--batch", "0"], /positive whole number/],
    [["--precision", "f8"], /f32/],
    [["--tune", "off"], /unknown option/],
  ])("%j is wrong usage", async (args, message) => {
    const { code, stderr } = await run(["tune", ...micro(), ...args], { env });
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
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

  it("that is unknown is wrong usage", async () => {
    const { error } = await runJson<Failure>([...stylize(["a.png"], ["b.png"], fresh("out")), "--tune", "always"], 2);
    expect(error.code).toBe("ARGUMENT");
  });
});
