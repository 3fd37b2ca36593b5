import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { readOnnx } from "../onnx/read.js";
import { build, DEMO_MODEL, type Failure, fresh, HERE, listFiles, micro, run, runJson, spoiledModel } from "./command.js";

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

  it("needs no adapter", async () => {
    const { code } = await run(onnx(fresh("x.onnx"), ...micro()), { ...HERE, env: { STYLIZING_VIT_ADAPTER: "hardware" } });
    expect(code).toBe(0);
  });
});

describe("export that cannot be", () => {
  const file = () => fresh("none.onnx");

  it.each<[string, () => string[], RegExp]>([
    ["no file", () => ["export", "--model", "demo"], /required option '--onnx <file>'/],
    ["no model", () => onnx(file()), /required option '--model <name>'/],
    ["a choice of device", () => onnx(file(), "--model", "demo", "--precision", "f16"), /unknown option '--precision'/],
    ["a mean of words", () => onnx(file(), "--model", "demo", "--mean", "a,b,c"), /numbers with commas between/],
    ["hashed weights without a shape", () => onnx(file(), "--model", "hashed:1"), /Give a preset/],
    ["an unknown model", () => onnx(file(), "--model", "tiny/epi"), /no published model.*Nearest names: tiny\/epistr/],
  ])("%s: wrong usage, which ends with 2", async (_, args, message) => {
    const { code, stdout, stderr } = await run([...args(), "--json"], HERE);
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
      const { error } = await runJson<Failure>(onnx(out, ...args), 1, HERE);
      expect(error).toMatchObject({ code, message: expect.stringMatching(message), fix: expect.stringMatching(/\w/) });
      expect(listFiles(dirname(out))).toEqual([]);
    }
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
});
