import { describe, expect, it } from "vitest";
import { OPS, type Options, parseOptions, USAGE, UsageError } from "../../bench/options.js";
import { ALL_OPS, FORWARD_OPS } from "../ops/all.js";

const sections = (...args: string[]) => (parseOptions(args) as Options).sections;

describe("the benches' sections", () => {
  it("are all but those on request where none is named", () => {
    expect(sections()).toEqual(["parity", "op", "host", "model", "files", "cold"]);
    expect(sections("--quick", "--batch", "1")).toEqual(sections());
  });

  it("are those that are named", () => {
    expect(sections("--parity")).toEqual(["parity"]);
    expect(sections("--rivals", "demo")).toEqual(["rivals"]);
    expect(sections("--op", "linear", "--ladder")).toEqual(["op", "ladder"]);
  });

  it("include whole models where --model stands alone or has no names; beside others, names only choose sizes", () => {
    expect(sections("--model", "base")).toEqual(["model"]);
    expect(sections("--model")).toEqual(["model"]);
    expect(sections("--op", "linear", "--model", "base")).toEqual(["op"]);
    expect((parseOptions(["--files", "--model", "base,tiny"]) as Options).models).toEqual(["base", "tiny"]);
    expect(sections("--files", "--model")).toEqual(["model", "files"]);
  });

  it.each([
    [["--op", "gemm"], /--op gemm/],
    [["--batch", "0"], /positive whole numbers/],
    [["--precision", "f8"], /f32, f16, matrix/],
    [["--wrong"], /wrong/i],
  ])("%j is wrong usage", (args, message) => {
    expect(() => parseOptions(args)).toThrow(UsageError);
    expect(() => parseOptions(args)).toThrow(message);
  });
});

describe("--op", () => {
  const ops = (...args: string[]) => (parseOptions(args) as Options).ops;

  it("knows every op of the tests, and stands alone for all of them", () => {
    expect(OPS).toEqual(ALL_OPS.map(({ name }) => name));
    expect(ops("--op")).toEqual(OPS);
    expect(ops("--op", "adamw,linear")).toEqual(["adamw", "linear"]);
    for (const name of OPS) expect(USAGE).toMatch(new RegExp(`\\b${name}\\b`));
    for (const line of USAGE.split("\n")) expect(line.length).toBeLessThanOrEqual(130);
  });

  it("is the ops of a forward pass where it is not there", () => {
    expect(ops()).toEqual(FORWARD_OPS.map(({ name }) => name));
  });
});

describe("--training and --quality", () => {
  const parse = (...args: string[]) => parseOptions(args) as Options;

  it("run on request alone", () => {
    expect(parse("--training")).toMatchObject({ sections: ["training"], training: undefined, trainingRivals: false });
    expect(parse("--training", "nano,base", "--quick")).toMatchObject({ sections: ["training"], training: ["nano", "base"] });
    expect(parse("--training", "--model", "tiny")).toMatchObject({ sections: ["training"], models: ["tiny"] });
    expect(parse("--quality", "images").quality).toEqual({ folder: "images", model: "demo", pairs: undefined });
    expect(parse("--quality", "images", "--checkpoint", "runs/1", "--pairs", "20")).toMatchObject({
      sections: ["quality"],
      quality: { folder: "images", model: "runs/1", pairs: 20 },
    });
    expect(parse().quality).toBeUndefined();
  });

  it("--rivals beside --training holds training beside PyTorch, and no more", () => {
    expect(parse("--training", "nano", "--rivals")).toMatchObject({ sections: ["training"], trainingRivals: true });
    expect(parse("--rivals", "demo").trainingRivals).toBe(false);
  });

  it.each([
    [["--training", "nano", "--rivals", "demo"], /give them to --training/],
    [["--training", "huge"], /choose from nano, demo, tiny, small, base/],
    [["--quality"], /quality/],
    [["--checkpoint", "demo"], /belongs to --quality/],
    [["--quality", "images", "--pairs", "none"], /positive whole number/],
  ])("%j is wrong usage", (args, message) => {
    expect(() => parseOptions(args)).toThrow(UsageError);
    expect(() => parseOptions(args)).toThrow(message);
  });
});
