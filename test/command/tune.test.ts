import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { build, type Failure, fresh, HERE, micro, run, runJson, stylize } from "./command.js";

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

  it.each([
    [["--batch", "0"], /positive whole number/],
    [["--precision", "f8"], /f32/],
    [["--tune", "off"], /unknown option/],
  ])("%j is wrong usage", async (args, message) => {
    const { code, stderr } = await run(["tune", ...micro(), ...args], { ...HERE, env });
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});

describe("--tune", () => {
  it("that is unknown is wrong usage", async () => {
    const { error } = await runJson<Failure>([...stylize(["a.png"], ["b.png"], fresh("out")), "--tune", "always"], 2, HERE);
    expect(error.code).toBe("ARGUMENT");
  });
});
