import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { ExportReport } from "../../src/index.js";
import { readOnnx } from "../onnx/read.js";
import { build, DEMO_MODEL, type Failure, fresh, listFiles, micro, run, runJson, spoiledModel, start } from "./command.js";

beforeAll(build);

const onnx = (file: string, ...rest: string[]) => ["export", "--onnx", file, ...rest];

describe("export", () => {
  it("writes the model that comes with the package, into a folder that it makes", async () => {
    const file = fresh("new/folder/demo.onnx");
    const { code, stdout, stderr } = await run(onnx(file, "--model", "demo"));
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toContain(`demo as ONNX (opset 17, f32), 2.7 MB: ${file}`);
    const model = readOnnx(readFileSync(file));
    expect(model.outputs).toEqual([{ name: "stylized", type: 1, shape: ["batch", 3, 96, 96] }]);
    const { mean, std } = JSON.parse(readFileSync(join(DEMO_MODEL, "config.json"), "utf8")) as Record<string, number[]>;
    expect(model.properties).toMatchObject({ model: "demo", mean: JSON.stringify(mean), std: JSON.stringify(std) });
    expect(listFiles(dirname(file))).toEqual(["demo.onnx"]);
  });

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

  it("needs no adapter", async () => {
    const { code } = await run(onnx(fresh("x.onnx"), ...micro()), { env: { STYLIZING_VIT_ADAPTER: "hardware" } });
    expect(code).toBe(0);
  });
});

describe("export that cannot be", () => {
  const file = () => fresh("none.onnx");

  it.concurrent.each<[string, () => string[], RegExp]>([
    ["no file", () => ["export", "--model", "demo"], /required option '--onnx <file>'/],
    ["no model", () => onnx(file()), /required option '--model <name>'/],
    ["a choice of device", () => onnx(file(), "--model", "demo", "--precision", "f16"), /unknown option '--precision'/],
    ["a mean of words", () => onnx(file(), "--model", "demo", "--mean", "a,b,c"), /numbers with commas between/],
    ["hashed weights without a shape", () => onnx(file(), "--model", "hashed:1"), /Give a preset/],
    ["an unknown model", () => onnx(file(), "--model", "tiny/epi"), /no published model.*Nearest names: tiny\/epistr/],
  ])("%s: wrong usage, which ends with 2", async (_, args, message) => {
    const { code, stdout, stderr } = await run([...args(), "--json"], { cwd: fresh() });
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(message) });
    expect((JSON.parse(stdout) as Failure).error).toMatchObject({ code: "ARGUMENT", fix: expect.stringMatching(/\w/) });
  });

  it("a mean of two channels for a model of three, a model of more than 2 GiB, weights that lack a tensor", async () => {
    const config = fresh("deep.json");
    writeFileSync(config, JSON.stringify({ embed_dim: 768, num_heads: 12, depth: 80 }));
    const spoiled = await spoiledModel((tensors) => void tensors.delete("encoder.norm.bias"));
    for (const [args, code, message] of [
      [["--model", "demo", "--mean", ".5,.5"], "CONFIG", /mean is \[0\.5,0\.5\]\. Give 3 numbers/],
      [["--model", "hashed:1", "--config", config], "OUTPUT", /at most 2147483647.*16-bit floats/],
      [["--model", spoiled], "CHECKPOINT", /lacks the tensor encoder\.norm\.bias/],
    ] as const) {
      const out = fresh("out.onnx");
      const { error } = await runJson<Failure>(onnx(out, ...args), 1);
      expect(error).toMatchObject({ code, message: expect.stringMatching(message), fix: expect.stringMatching(/\w/) });
      expect(listFiles(dirname(out))).toEqual([]);
    }
  });

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

  it("a full disk: nothing is left, and what was there stays", async (test) => {
    const disk = fresh();
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], { stdio: "pipe" });
    } catch {
      test.skip("no small disk may be mounted here");
    }
    onTestFinished(() => void execFileSync("umount", [disk]));
    const place = join(disk, "demo.onnx");
    writeFileSync(place, "as it was");
    const { error } = await runJson<Failure>(onnx(place, "--model", "demo"), 1);
    expect(error).toMatchObject({ code: "OUTPUT", message: expect.stringContaining("the disk is full") });
    expect(readFileSync(place, "utf8")).toBe("as it was");
    expect(listFiles(disk)).toEqual(["demo.onnx"]);
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
