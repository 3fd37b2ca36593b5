import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { beforeAll, describe, expect, it } from "vitest";
import type { ExportReport } from "../../src/index.js";
import { readOnnx } from "../onnx/read.js";
import { build, type Failure, fresh, listFiles, micro, runJson, start } from "./command.js";

beforeAll(build);

const onnx = (file: string, ...rest: string[]) => ["export", "--onnx", file, ...rest];

describe("export", () => {
  it("takes hashed weights, 16-bit floats and statistics, and reports with --json; what was there is replaced", async () => {
    const file = fresh("micro.onnx");
    writeFileSync(file, "an older one");
    const statistics = ["--mean", ".5,.25,.125", "--std", "1,1,1"];
    const report = await runJson<ExportReport>(onnx(file, ...micro(), "--half", ...statistics));
    const shape = ["batch", 3, 32, 32];
    expect(report).toMatchObject({
      model: "hashed:3",
      file,
      bytes: statSync(file).size,
      opset: 17,
      precision: "f16",
      inputs: [
        { name: "content", shape },
        { name: "style", shape },
      ],
      outputs: [{ name: "stylized", shape }],
    });
    expect(readOnnx(readFileSync(file)).properties).toMatchObject({ mean: "[0.5,0.25,0.125]", std: "[1,1,1]" });
  });
});

describe("export that cannot be", () => {
  it("a place where no file can be: a folder, below a file, a pipe", async () => {
    const [folder, blocked] = [fresh(), fresh("file")];
    writeFileSync(blocked, "in the way");
    const places = [folder, join(blocked, "model.onnx"), ...(process.platform === "linux" ? ["/proc/out/model.onnx"] : [])];
    const pipe = fresh("pipe");
    try {
      execFileSync("mkfifo", [pipe], { stdio: "pipe" });
      places.push(pipe);
    } catch {
      // None can be made here.
    }
    for (const place of places) {
      const { error } = await runJson<Failure>(onnx(place, "--model", "demo"), 1);
      expect(error).toMatchObject({ code: "OUTPUT", fix: expect.stringMatching(/\w/) });
    }
    expect(listFiles(folder)).toEqual([]);
    expect(readFileSync(blocked, "utf8")).toBe("in the way");
    if (existsSync(pipe)) expect(statSync(pipe).isFIFO()).toBe(true);
  });

  it("Ctrl-C in the middle: 130, and nothing is left", async () => {
    const place = fresh("base.onnx");
    const { child, finished } = start(onnx(place, "--model", "hashed:1", "--preset", "base", "--json"));
    for (let i = 0; i < 3000 && readdirSync(dirname(place)).length === 0; i++) await delay(5);
    // The first file there is a trial of the folder; the second is the model.
    while (!readdirSync(dirname(place)).some((name) => name.startsWith(".base.onnx."))) await delay(2);
    child.kill("SIGINT");
    const { code, stdout } = await finished;
    expect(code).toBe(130);
    expect((JSON.parse(stdout) as Failure).error.code).toBe("STOPPED");
    expect(listFiles(dirname(place))).toEqual([]);
  });
});
