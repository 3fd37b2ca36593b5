import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { matrixVerdict, runTrial, TRIAL_VARIABLE } from "../../src/gpu/matrix-trial.js";
import { someFacts } from "../support/facts.js";

const folder = mkdtempSync(join(tmpdir(), "stylizing-trial-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => {
  delete process.env[TRIAL_VARIABLE];
});

let count = 0;
/** A trial program; it logs every start, so that tests can count trials. */
function program(body: string): { path: string; starts: () => number } {
  const path = join(folder, `trial${count++}.mjs`);
  const log = `${path}.log`;
  writeFileSync(path, `import { appendFileSync } from "node:fs";\nappendFileSync(${JSON.stringify(log)}, "x");\n${body}\n`);
  return { path, starts: () => (existsSync(log) ? readFileSync(log, "utf8").length : 0) };
}
const verdictFile = () => join(folder, `cache${count++}`, "verdicts.json");
const stored = (file: string) => JSON.parse(readFileSync(file, "utf8")) as Record<string, { ok: boolean; reason: string }>;

describe("a trial", () => {
  it("passes where the program ends with 0, whatever it printed", async () => {
    const verdict = await runTrial(program(`console.error("a warning"); console.log("text");`).path, "auto");
    expect(verdict.ok).toBe(true);
  });

  it("fails with the last line of what the program complained about", async () => {
    const verdict = await runTrial(program(`console.error("first\\nresults are off by 3"); process.exit(1);`).path, "auto");
    expect(verdict).toEqual({ ok: false, reason: "results are off by 3" });
  });

  it("fails with the exit code where the program says nothing", async () => {
    const verdict = await runTrial(program("process.exit(7);").path, "auto");
    expect(verdict).toEqual({ ok: false, reason: "exit code 7" });
  });

  it("fails where the process is aborted, as some drivers do, and this process lives on", async () => {
    const verdict = await runTrial(program("process.abort();").path, "auto");
    expect(verdict.ok).toBe(false);
    expect(verdict.reason).toMatch(/SIGABRT/);
  });

  it("fails with what was thrown, not with the version of Node that ends a stack trace", async () => {
    const verdict = await runTrial(program(`throw new Error("no such feature");`).path, "auto");
    expect(verdict.ok).toBe(false);
    expect(verdict.reason).toContain("no such feature");
  });

  it("tells the program its adapter, and that it is the trial", async () => {
    const checks = `if (process.argv[2] !== "software" || !process.env.${TRIAL_VARIABLE}) process.exit(1);`;
    expect((await runTrial(program(checks).path, "software")).ok).toBe(true);
  });
});

describe("the verdict", () => {
  it("is remembered, good or bad: the second time costs no process", async () => {
    for (const [body, ok] of [
      ["", true],
      [`console.error("bad"); process.exit(1);`, false],
    ] as const) {
      const trial = program(body);
      const file = verdictFile();
      const first = await matrixVerdict(someFacts(), "auto", trial.path, file);
      const second = await matrixVerdict(someFacts(), "auto", trial.path, file);
      expect(first.ok).toBe(ok);
      expect(second).toEqual(first);
      expect(trial.starts()).toBe(1);
    }
  });

  it("belongs to one driver: another device or driver version is tried anew", async () => {
    const trial = program("");
    const file = verdictFile();
    for (const changes of [
      {},
      { device: "another" },
      { description: "driver 551" },
      { architecture: "hopper" },
      { vendor: "amd" },
    ]) {
      await matrixVerdict(someFacts(changes), "auto", trial.path, file);
    }
    expect(trial.starts()).toBe(5);
    expect(Object.keys(stored(file))).toHaveLength(5);
  });

  it.each(["", "{", "[]", "null", "7", '{"a": {"ok": "yes"}}'])("is made again where its file holds %j", async (text) => {
    const trial = program("");
    const file = join(folder, `damaged${count++}.json`);
    writeFileSync(file, text);
    expect(await matrixVerdict(someFacts(), "auto", trial.path, file)).toMatchObject({ ok: true });
    expect(trial.starts()).toBe(1);
    expect(Object.values(stored(file)).some((verdict) => verdict.ok === true)).toBe(true);
  });

  it("is still given where it cannot be written down", async () => {
    const blocked = join(folder, `blocked${count++}`);
    writeFileSync(blocked, "a file, not a folder");
    const verdict = await matrixVerdict(someFacts(), "auto", program("").path, join(blocked, "verdicts.json"));
    expect(verdict.ok).toBe(true);
  });

  it("of many drivers at once is complete, and no partial file stays", async () => {
    const file = verdictFile();
    const trial = program("");
    const devices = ["a", "b", "c", "d"];
    const verdicts = await Promise.all(devices.map((device) => matrixVerdict(someFacts({ device }), "auto", trial.path, file)));
    expect(verdicts.every(({ ok }) => ok)).toBe(true);
    expect(Object.keys(stored(file))).toHaveLength(devices.length);
    expect(readdirSync(join(file, ".."))).toEqual(["verdicts.json"]);
  });

  it("of a program that is missing is no verdict on the driver, and not remembered", async () => {
    const file = verdictFile();
    const verdict = await matrixVerdict(someFacts(), "auto", join(folder, "missing.mjs"), file);
    expect(verdict.ok).toBe(false);
    expect(existsSync(file) ? Object.keys(stored(file)) : []).toEqual([]);
  });

  it("where there is no program at all is none on the driver either", async () => {
    const file = verdictFile();
    expect(await matrixVerdict(someFacts(), "auto", undefined, file)).toMatchObject({ ok: false });
    expect(existsSync(file)).toBe(false);
  });

  it("is not waited for inside the trial itself", async () => {
    process.env[TRIAL_VARIABLE] = "1";
    const trial = program("process.exit(1);");
    expect(await matrixVerdict(someFacts(), "auto", trial.path, verdictFile())).toMatchObject({ ok: true });
    expect(trial.starts()).toBe(0);
  });
});
