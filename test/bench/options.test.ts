import { describe, expect, it } from "vitest";
import { type Options, parseOptions, UsageError } from "../../bench/options.js";

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
    [["--op", "product"], /--op product/],
    [["--batch", "0"], /positive whole numbers/],
    [["--precision", "f8"], /f32, f16, matrix/],
    [["--wrong"], /wrong/i],
  ])("%j is wrong usage", (args, message) => {
    expect(() => parseOptions(args)).toThrow(UsageError);
    expect(() => parseOptions(args)).toThrow(message);
  });
});
