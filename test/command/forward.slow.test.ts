import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { loadGolden, relativeError } from "../support/fixtures.js";
import { build, type Failure, fresh, listFiles, run, runJson } from "./command.js";
import { BOUND, configFile, forward, INPUT, inputs, NANO, nano, SHAPE, tensors, WEIGHTS } from "./forward.js";

beforeAll(build);

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
});
