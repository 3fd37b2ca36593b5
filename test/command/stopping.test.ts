import { readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import { HubServer } from "../hub/hub-server.js";
import { build, type Failure, fresh, imageFiles, json, listFiles, pixels, start, until } from "./command.js";

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

it("a reader of stdout that goes away early does no harm", async () => {
  const { child, finished } = start(["models"]);
  child.stdout!.destroy();
  const { code, stderr } = await finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});
