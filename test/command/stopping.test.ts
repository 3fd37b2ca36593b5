import { readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { ClassifyReport } from "../../src/augment/classify-files.js";
import type { StylizeReport } from "../../src/augment/report.js";
import { concludeClassify } from "../../src/command/classify.js";
import { errorDocument, exitCode, interruptible } from "../../src/command/shared.js";
import { concludeStylize } from "../../src/command/stylize.js";
import { HubServer } from "../hub/hub-server.js";
import { writeClasses } from "../train/runs.js";
import { build, type Failure, fresh, imageFiles, json, listFiles, MAIN, pixels, start, startProgram, until } from "./command.js";

beforeAll(build);

describe("Ctrl-C", () => {
  it("ends after the batch under way, keeps what is done and says what is not", async () => {
    const [contents, styles] = [await imageFiles(..."abcdefghijklmnopqrstuvwxyz"), await imageFiles("s")];
    const out = fresh();
    const { child, finished } = start([
      "stylize",
      "--content",
      ...contents,
      "--style",
      ...styles,
      "--out",
      out,
      "--batch",
      "2",
      "--json",
    ]);
    await until(() => readdirSync(out).some((name) => /^\w\.png$/.test(name)));
    child.kill("SIGINT");
    const ended = await finished;
    expect({ code: ended.code, signal: ended.signal }).toEqual({ code: 130, signal: null });
    const report = json<StylizeReport>(ended);
    expect(report.images).toHaveLength(26);
    expect(report.done).toBeGreaterThan(0);
    expect(report.stopped).toBeGreaterThan(0);
    expect(report).toMatchObject({ failed: 0, stopped: 26 - report.done });
    expect(ended.stderr).toContain("stopping after this batch");
    expect(ended.stderr).toContain(`${report.done} of 26 painted into ${out} (${report.stopped} not begun)`);
    const done = report.images.filter(({ status }) => status === "done").map(({ output }) => output);
    expect(listFiles(out).map((name) => join(out, name))).toEqual(done);
    for (const file of done) expect(await pixels(file)).toMatchObject({ width: 96, height: 96 });
  });

  it("a second time ends at once", async () => {
    const [contents, styles] = [await imageFiles(..."abcdefgh"), await imageFiles("s")];
    const out = fresh();
    // One batch of all: it would take seconds to end by itself.
    const { child, finished } = start(["stylize", "--content", ...contents, "--style", ...styles, "--out", out, "--batch", "8"]);
    let stderr = "";
    child.stderr!.on("data", (text: string) => (stderr += text));
    await until(() => stderr.includes("demo on "));
    child.kill("SIGINT");
    await until(() => stderr.includes("stopping after this batch"));
    child.kill("SIGINT");
    expect(await finished).toMatchObject({ code: null, signal: "SIGINT", stdout: "" });
  });

  it("ends a download that hangs", async () => {
    const hub = await HubServer.start();
    onTestFinished(() => hub[Symbol.asyncDispose]());
    hub.interfere = () => true;
    const args = [
      "stylize",
      "--model",
      "tiny/epistr",
      "--content",
      ...(await imageFiles("a")),
      "--style",
      ...(await imageFiles("s")),
    ];
    const env = { HF_ENDPOINT: hub.url, HF_HOME: fresh() };
    const { child, finished } = start([...args, "--out", fresh("out"), "--json"], { env });
    await until(() => hub.requests.length > 0);
    child.kill("SIGINT");
    const ended = await finished;
    expect(ended.code).toBe(130);
    expect(json<Failure>(ended).error).toMatchObject({ code: "STOPPED", message: expect.stringContaining("Ctrl-C") });
  });
});

describe.skipIf(process.platform === "win32")("SIGTERM and SIGHUP", () => {
  it.each([
    ["SIGTERM", 143],
    ["SIGHUP", 129],
    ["SIGINT", 130],
  ] as const)(
    "%s is raised once and has its own exit code, of what fails and of what is only not all done",
    async (signal, code) => {
      // Whoever runs the tests may do so with nohup.
      vi.stubEnv("_", undefined);
      const before = process.listeners(signal);
      const own = () => process.listeners(signal).filter((listener) => !before.includes(listener));
      const stderr = vi.spyOn(process.stderr, "write").mockReturnValue(true);
      onTestFinished(() => {
        stderr.mockRestore();
        vi.unstubAllEnvs();
      });
      let raised = 0;
      const work = (stop: AbortSignal) =>
        new Promise<never>((_, reject) => {
          stop.addEventListener("abort", () => reject(stop.reason));
          stop.addEventListener("abort", () => raised++);
          for (let time = 0; time < 2; time++) for (const listener of own()) listener(signal);
          // The next Ctrl-C is the system's.
          expect(process.listeners("SIGINT").filter((listener) => listener === own()[0])).toEqual([]);
        });
      const error = await interruptible(work, { fix: "Go on." }).catch((thrown: unknown) => thrown);
      expect(exitCode(error)).toBe(code);
      expect(raised).toBe(1);
      expect(errorDocument(error)).toMatchObject({
        code: "STOPPED",
        fix: "Go on.",
        message: expect.stringMatching(/^Stopped by .* Go on\.$/),
      });
      const left = { images: [], done: 0, failed: 0, stopped: 1 };
      expect(concludeStylize(left as unknown as StylizeReport, { out: "out" } as never)).toBe(code);
      expect(concludeClassify({ ...left, classes: [] } as unknown as ClassifyReport, { top: 1 })).toBe(code);
      expect(own()).toEqual([]);
    },
  );

  it("save a training run and say how to go on", async () => {
    const [data, out, config] = [await writeClasses("classes", [3, 3, 2]), fresh("out"), fresh("config.json")];
    const shape = { kind: "vit", image_size: 16, in_channels: 3, patch_size: 8, embed_dim: 24, depth: 1, num_heads: 2 };
    writeFileSync(config, JSON.stringify({ ...shape, mlp_ratio: 2, qkv_bias: true, num_classes: 3 }));
    const given = ["--task", "classify", "--data", data, "--val", data, "--config", config, "--out", out, "--batch", "4"];
    const stopped = async (signal: NodeJS.Signals, ...more: string[]) => {
      const { child, finished } = start(["train", ...given, "--epochs", "1000000", "--resume", "--workers", "0", ...more]);
      let stderr = "";
      child.stderr!.on("data", (text: string) => (stderr += text));
      await until(() => /^epoch \d+: loss/m.test(stderr));
      for (let time = 0; time < 2; time++) child.kill(signal);
      return finished;
    };
    const first = await stopped("SIGTERM");
    expect({ code: first.code, signal: first.signal }, first.stderr).toEqual({ code: 143, signal: null });
    expect(first.stderr).toContain("SIGTERM: stopping after this step");
    const [, epoch, step] = /stopped in epoch (\d+) after step (\d+); --resume goes on from there/.exec(first.stderr)!;
    expect(first.stderr).toMatch(/Stopped by SIGTERM before its last epoch was done\. --resume goes on\.\n$/);
    const second = await stopped("SIGHUP", "--json");
    expect(second.code, second.stderr).toBe(129);
    expect(second.stderr).toContain(`resumed in epoch ${epoch} after step ${step}`);
    expect(JSON.parse(second.stdout.trimEnd().split("\n").at(-1)!)).toMatchObject({
      done: false,
      error: { code: "STOPPED", message: expect.stringContaining("a hangup"), fix: "--resume goes on." },
    });
  });

  const told = process.platform === "linux";
  it.skipIf(!told)(`nohup keeps a hangup from a run${told ? "" : ": told on Linux only"}`, async () => {
    const shared = JSON.stringify(join(dirname(MAIN), "shared.js"));
    // Ends when it is told to, and says that it still runs.
    const work = `(stop) => new Promise((_, reject) => {
      setInterval(() => console.log("runs"), 10);
      stop.addEventListener("abort", () => reject(stop.reason));
    })`;
    const script = `import(${shared}).then((s) => s.interruptible(${work}).catch((e) => process.exit(s.exitCode(e))))`;
    const program = `'${process.execPath}' -e '${script}'`;
    // By the shell's word, and where a script that nohup started is what ignores them.
    for (const [shell, code] of [
      [`nohup ${program} & echo $!; wait $!`, 143],
      [`trap '' HUP; ${program} & echo $!; wait $!`, 143],
      [`${program} & echo $!; wait $!`, 129],
    ] as const) {
      const { child, finished } = startProgram("bash", ["-c", shell]);
      let stdout = "";
      child.stdout!.on("data", (text: string) => (stdout += text));
      await until(() => stdout.includes("runs"));
      const pid = Number.parseInt(stdout, 10);
      process.kill(pid, "SIGHUP");
      if (code === 143) {
        const then = stdout.length;
        await until(() => stdout.length > then + 20);
        process.kill(pid, "SIGTERM");
      }
      expect((await finished).code, shell).toBe(code);
    }
  });
});

it("a reader of stdout that goes away early does no harm", async () => {
  const { child, finished } = start(["models"]);
  child.stdout!.destroy();
  const { code, stderr } = await finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});
