import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import {
  build,
  fresh,
  imageFiles,
  json,
  levelsApart,
  listFiles,
  MAIN,
  micro,
  run,
  spoiledModel,
  start,
  startProgram,
  until,
} from "./command.js";

beforeAll(build);

const NAMES = "abcdefghijklmnopqrstuvwxyz";

describe("in a terminal", () => {
  const script = (() => {
    try {
      return /util-linux/.test(execFileSync("script", ["--version"], { encoding: "utf8" }));
    } catch {
      return false;
    }
  })();
  const command = (args: readonly string[]) => [process.execPath, MAIN, ...args].map((a) => `'${a}'`).join(" ");
  /** Runs a command with a terminal for stdout and stderr, as `script` of util-linux makes one. */
  const startInTerminal = (line: string) => startProgram("script", ["--quiet", "--return", "--command", line, "/dev/null"]);
  const inTerminal = (args: readonly string[]) => startInTerminal(command(args)).finished;

  it.skipIf(!script)(
    `progress is shown and ends, also where loading fails${script ? "" : ": needs script(1) of util-linux"}`,
    async () => {
      const [contents, styles, out] = [await imageFiles("a", "b"), await imageFiles("s"), fresh("out")];
      const args = ["stylize", "--content", ...contents, "--style", ...styles, "--out", out];
      const painted = await inTerminal([...args, ...micro()]);
      expect(painted.code).toBe(0);
      expect(painted.stdout).toContain("painting");
      expect(painted.stdout).toContain("2 of 2 painted");
      // Found while the weights are uploaded, when the bar is already there.
      const broken = await spoiledModel((tensors) => {
        (tensors.get("post_process_conv.weight")!.data as Float32Array)[0] = Number.NaN;
      });
      const failed = await inTerminal([...args, "--overwrite", "--model", broken]);
      expect(failed.code).toBe(1);
      // The cursor that the bar hid is back.
      expect(failed.stdout.lastIndexOf("\u001b[?25h")).toBeGreaterThan(failed.stdout.lastIndexOf("\u001b[?25l"));
    },
  );

  it.skipIf(!script)(`one that is closed stops as SIGHUP does${script ? "" : ": needs script(1) of util-linux"}`, async () => {
    const [contents, styles, out, code] = [await imageFiles(...NAMES), await imageFiles("s"), fresh("out"), fresh("code")];
    const args = ["stylize", "--content", ...contents, "--style", ...styles, "--out", out, "--batch", "2"];
    // The shell is what gets the hangup; it passes it on, and lives on to write the code down.
    const line = `trap 'kill -HUP $!' HUP; ${command(args)} & wait $!; wait $!; echo $? > '${code}'`;
    const { child, finished } = startInTerminal(line);
    await until(() => existsSync(out) && readdirSync(out).some((name) => /^\w\.png$/.test(name)));
    child.kill("SIGKILL");
    await finished;
    await until(() => existsSync(code) && readFileSync(code, "utf8") !== "");
    expect(readFileSync(code, "utf8")).toBe("129\n");
    expect(listFiles(out).length).toBeLessThan(26);
  });
});

describe("two processes at once", () => {
  it("may write into one folder", async () => {
    const [contents, styles] = [await imageFiles("a", "b", "c", "d"), await imageFiles("s")];
    const [both, alone] = [fresh("out"), fresh("out")];
    // One of them may begin when the other has painted already.
    const given = ["--content", ...contents, "--style", ...styles, "--overwrite", ...micro()];
    const args = (out: string) => ["stylize", "--out", out, ...given];
    const ended = await Promise.all([run(args(both)), run(args(both))]);
    expect(ended.map(({ code }) => code)).toEqual([0, 0]);
    await run(args(alone));
    expect(listFiles(both)).toEqual(["a.png", "b.png", "c.png", "d.png"]);
    for (const name of listFiles(both)) expect(await levelsApart(join(both, name), join(alone, name))).toBe(0);
  });

  const carried = process.platform === "linux" && process.arch === "x64";
  it.skipIf(!carried)("may unpack the software driver together", async () => {
    const env = { XDG_CACHE_HOME: fresh("cache") };
    const ended = await Promise.all([run(["doctor"], { env }), run(["doctor"], { env })]);
    expect(ended.map(({ code }) => code)).toEqual([0, 0]);
    const left = readdirSync(join(env.XDG_CACHE_HOME, "stylizing-vit"));
    expect(left.filter((name) => name.includes("partial"))).toEqual([]);
  });
});

it.skipIf(process.platform === "win32")("SIGTERM ends the batch under way too, once however often it comes", async () => {
  const [contents, styles] = [await imageFiles(...NAMES), await imageFiles("s")];
  const out = fresh();
  const painting = ["stylize", "--content", ...contents, "--style", ...styles, "--out", out, "--batch", "2", "--json"];
  const some = () => readdirSync(out).some((name) => /^\w\.png$/.test(name));
  const { child, finished } = start(painting);
  await until(some);
  // As `timeout` sends it: to the process, and to its group.
  for (let time = 0; time < 2; time++) child.kill("SIGTERM");
  const ended = await finished;
  expect({ code: ended.code, signal: ended.signal }).toEqual({ code: 143, signal: null });
  const report = json<StylizeReport>(ended);
  expect(report.done).toBeGreaterThan(0);
  expect(report).toMatchObject({ failed: 0, stopped: 26 - report.done });
  expect(listFiles(out)).toHaveLength(report.done);
  expect(ended.stderr).toContain("SIGTERM: stopping after this batch");
});
