import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { readPairs } from "../../src/command/tensors.js";
import type { StylizingError } from "../../src/errors.js";
import { hashedUniform } from "../../src/hub/hashed.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { goldenFolder, loadGolden, relativeError } from "../support/fixtures.js";
import { build, type Failure, fresh, json, listFiles, run, runJson } from "./command.js";

beforeAll(build);

/** The bound of the whole model in f32, of the largest value. */
const BOUND = 5e-5;

const NANO = goldenFolder("nano")!;
const INPUT = join(NANO, "case.safetensors");
const WEIGHTS = join(NANO, "weights.safetensors");
const SHAPE = { image_size: 32, in_channels: 3, patch_size: 8, embed_dim: 96, depth: 2, num_heads: 3 };

function configFile(config: object = SHAPE): string {
  const file = fresh("config.json");
  writeFileSync(file, JSON.stringify(config));
  return file;
}

const forward = (output: string, ...rest: string[]) => ["forward", "--output", output, ...rest];
const nano = () => ["--model", WEIGHTS, "--config", configFile(), "--input", INPUT];

/** A file's tensors by name: shape and values. */
async function tensors(path: string): Promise<Map<string, { shape: readonly number[]; data: Float32Array }>> {
  await using file = await SafetensorsFile.open(path);
  const found = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [name, { shape, dtype }] of file.tensors) {
    expect(dtype).toBe("F32");
    found.set(name, { shape, data: await file.read(name) });
  }
  return found;
}

/** Inputs of the nano model, or of what `shapes` says. */
async function inputs(shapes: Record<string, number[]>): Promise<string> {
  const path = fresh("input.safetensors");
  const entries = Object.entries(shapes).map(
    ([name, shape]) => [name, { shape, data: hashedUniform(name, shape.reduce((a, b) => a * b, 1), 1) }] as const, // biome-ignore format: one tensor
  );
  await writeSafetensors(path, entries);
  return path;
}

interface ForwardReport {
  model: string;
  tier: string;
  config: typeof SHAPE;
  input: string;
  output: string;
  tensors: { name: string; shape: number[] }[];
  batch: number;
  milliseconds: { load: number; forward: number };
}

describe("forward", () => {
  it("writes what PyTorch computes, in a folder that it makes", async () => {
    const golden = await loadGolden("nano");
    const output = fresh("new/folder/out.safetensors");
    const { code, stdout, stderr } = await run(forward(output, ...nano()));
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toContain(`3 pairs in `);
    expect(stderr).toContain(output);
    const written = await tensors(output);
    expect([...written].map(([name, { shape }]) => [name, shape])).toEqual([["stylized", [3, 3, 32, 32]]]);
    expect(relativeError(written.get("stylized")!.data, golden.tensors.get("stylized")!)).toBeLessThanOrEqual(BOUND);
    expect(listFiles(dirname(output))).toEqual(["out.safetensors"]);
  });

  it("writes all five tensors with --streams, and says so with --json", async () => {
    const golden = await loadGolden("nano");
    const output = fresh("out.safetensors");
    const report = await runJson<ForwardReport>(forward(output, ...nano(), "--streams"));
    const image = [3, 3, 32, 32];
    const tokens = [3, 17, 96];
    const shapes = {
      encoded_anatomy: tokens,
      encoded_style: tokens,
      encoded_stylized: tokens,
      stylized: image,
      reconstruction: image,
    };
    expect(Object.fromEntries(report.tensors.map(({ name, shape }) => [name, shape]))).toEqual(shapes);
    expect(report).toMatchObject({ model: WEIGHTS, tier: "f32", config: SHAPE, input: INPUT, output, batch: 3 });
    expect(report.milliseconds.forward).toBeGreaterThanOrEqual(0);
    const written = await tensors(output);
    expect([...written.keys()].sort()).toEqual(Object.keys(shapes).sort());
    for (const [name, { shape, data }] of written) {
      expect(shape).toEqual(shapes[name as keyof typeof shapes]);
      expect(relativeError(data, golden.tensors.get(name)!), name).toBeLessThanOrEqual(BOUND);
    }
  });

  it("takes hashed weights of any shape: one channel, odd sizes, one pair", async () => {
    const config = configFile({ image_size: 15, in_channels: 1, patch_size: 5, embed_dim: 30, num_heads: 3, depth: 1 });
    const input = await inputs({ content: [1, 1, 15, 15], style: [1, 1, 15, 15] });
    const [first, second, other] = [fresh("a.safetensors"), fresh("b.safetensors"), fresh("c.safetensors")];
    const report = await runJson<ForwardReport>(forward(first, "--model", "hashed:7", "--config", config, "--input", input));
    expect(report).toMatchObject({ model: "hashed:7", batch: 1, tensors: [{ name: "stylized", shape: [1, 1, 15, 15] }] });
    expect((await run(forward(second, "--model", "hashed:7", "--config", config, "--input", input))).code).toBe(0);
    expect((await run(forward(other, "--model", "hashed:8", "--config", config, "--input", input))).code).toBe(0);
    expect(readFileSync(second).equals(readFileSync(first))).toBe(true);
    expect(readFileSync(other).equals(readFileSync(first))).toBe(false);
  });

  it("replaces a result only by a whole one", async () => {
    const output = fresh("out.safetensors");
    writeFileSync(output, "the result of before");
    expect((await run(forward(output, ...nano(), "--input", join(NANO, "none.safetensors")))).code).toBe(1);
    expect(readFileSync(output, "utf8")).toBe("the result of before");
    expect((await run(forward(output, ...nano()))).code).toBe(0);
    expect([...(await tensors(output)).keys()]).toEqual(["stylized"]);
    expect(listFiles(dirname(output))).toEqual(["out.safetensors"]);
  });

  it("leaves nothing behind where the disk is full", async (test) => {
    const disk = fresh();
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], { stdio: "pipe" });
    } catch {
      test.skip("no small disk may be mounted here");
    }
    onTestFinished(() => void execFileSync("umount", [disk]));
    const { error } = await runJson<Failure>(forward(join(disk, "out.safetensors"), ...nano()), 1);
    expect(error).toMatchObject({ code: "OUTPUT", message: expect.stringContaining("disk is full") });
    expect(listFiles(disk)).toEqual([]);
  });
});

describe("forward refuses, and writes nothing", () => {
  const image = [2, 3, 32, 32];
  it.each<[string, Record<string, number[]>, RegExp]>([
    ["inputs without a content", { style: image }, /has no tensor "content"/],
    [
      "another size",
      { content: image, style: [2, 3, 32, 40] },
      /style has the shape \[2, 3, 32, 40\]\. This model takes content and style, \[batch, 3, 32, 32\]/,
    ],
    ["another order of axes", { content: [2, 32, 32, 3], style: image }, /content has the shape \[2, 32, 32, 3\]/],
    ["one image without a batch", { content: [3, 32, 32], style: [3, 32, 32] }, /content has the shape \[3, 32, 32\]/],
    ["no images", { content: [0, 3, 32, 32], style: [0, 3, 32, 32] }, /content has the shape \[0, 3, 32, 32\]/],
    ["more contents than styles", { content: image, style: [1, 3, 32, 32] }, /2 contents and 1 styles/],
  ])("%s, as what reads them says", async (_, shapes, message) => {
    const error = await readPairs(await inputs(shapes), SHAPE).catch((thrown: unknown) => thrown as StylizingError);
    expect(error).toMatchObject({ code: "ARGUMENT", message: expect.any(String), fix: expect.stringMatching(/\w/) });
    expect(`${(error as StylizingError).message} ${(error as StylizingError).fix}`).toMatch(message);
  });

  it("inputs without a style", async () => {
    const output = fresh("out.safetensors");
    const args = ["--model", "hashed:1", "--config", configFile(), "--input", await inputs({ content: image })];
    const { error } = await runJson<Failure>(forward(output, ...args), 2);
    const message = /has no tensor "style"\. It must hold content and style, \[batch, 3, 32, 32\]/;
    expect(error).toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(message) });
    expect(existsSync(output)).toBe(false);
  });

  it("values that are no numbers", async () => {
    const input = fresh("input.safetensors");
    const data = new Float32Array(3 * 32 * 32).fill(Number.NaN, 17, 18);
    await writeSafetensors(input, [["content", { shape: [1, 3, 32, 32], data }], ["style", { shape: [1, 3, 32, 32], data }]]); // biome-ignore format: two tensors
    const output = fresh("out.safetensors");
    const { error } = await runJson<Failure>(
      forward(output, "--model", "hashed:1", "--config", configFile(), "--input", input),
      1,
    );
    expect(error.message).toContain(`${input} has NaN in content, element 17`);
    expect(existsSync(output)).toBe(false);
  });

  it("a missing input, and an output that is a folder or cannot be made", async () => {
    const folder = fresh();
    const file = fresh("file");
    writeFileSync(file, "in the way");
    const args = (output: string, input = INPUT) =>
      forward(output, "--model", WEIGHTS, "--config", configFile(), "--input", input);
    const missing = await runJson<Failure>(args(join(folder, "out.safetensors"), join(folder, "none.safetensors")), 1);
    expect(missing.error.message).toContain(`${join(folder, "none.safetensors")} does not exist`);
    expect((await runJson<Failure>(args(folder), 1)).error).toMatchObject({
      code: "OUTPUT",
      message: expect.stringContaining(folder),
    });
    const below = await run([...args(join(file, "out.safetensors")), "--json"]);
    expect(below.code).toBe(1);
    expect(json<Failure>(below).error).toMatchObject({ code: "OUTPUT", message: expect.stringContaining("a file stands where") });
    expect(listFiles(folder)).toEqual([]);
    expect(readFileSync(file, "utf8")).toBe("in the way");
    mkdirSync(join(folder, "still-writable"));
  });
});
