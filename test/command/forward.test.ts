import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { readPairs } from "../../src/command/tensors.js";
import type { StylizingError } from "../../src/errors.js";
import { loadGolden, relativeError } from "../support/fixtures.js";
import { build, type Failure, fresh, HERE, json, listFiles, run, runJson } from "./command.js";
import { BOUND, configFile, forward, INPUT, inputs, nano, SHAPE, tensors, WEIGHTS } from "./forward.js";

beforeAll(build);

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

  it("a missing input, and an output that is a folder or cannot be made", async () => {
    const folder = fresh();
    const file = fresh("file");
    writeFileSync(file, "in the way");
    const args = (output: string, input = INPUT) =>
      forward(output, "--model", WEIGHTS, "--config", configFile(), "--input", input);
    const missing = await runJson<Failure>(args(join(folder, "out.safetensors"), join(folder, "none.safetensors")), 1, HERE);
    expect(missing.error.message).toContain(`${join(folder, "none.safetensors")} does not exist`);
    expect((await runJson<Failure>(args(folder), 1, HERE)).error).toMatchObject({
      code: "OUTPUT",
      message: expect.stringContaining(folder),
    });
    const below = await run([...args(join(file, "out.safetensors")), "--json"], HERE);
    expect(below.code).toBe(1);
    expect(json<Failure>(below).error).toMatchObject({ code: "OUTPUT", message: expect.stringContaining("a file stands where") });
    expect(listFiles(folder)).toEqual([]);
    expect(readFileSync(file, "utf8")).toBe("in the way");
    mkdirSync(join(folder, "still-writable"));
  });
});
