import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { addFit } from "../../src/command/fit.js";
import { addMethods } from "../../src/command/methods.js";
import { StylizingError } from "../../src/errors.js";
import { saveImage } from "../../src/image/encode.js";
import { fitRandStainNA } from "../../src/restyle/closed-forms.js";
import { METHODS } from "../../src/restyle/methods.js";
import { noise } from "../image/helpers.js";
import { fresh } from "./command.js";

let printed: string;
let noted: string;
beforeEach(() => {
  [printed, noted] = ["", ""];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed += text;
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    noted += text;
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = 0;
});

async function run(...args: string[]): Promise<void> {
  const program = new Command().exitOverride();
  addMethods(program);
  addFit(program);
  await program.parseAsync(args, { from: "user" });
}

describe("methods", () => {
  it("lists all, one a line", async () => {
    await run("methods");
    const [head, ...lines] = printed.trim().split("\n");
    expect(head).toMatch(/^METHOD +STYLE +PARAMETERS +WHAT$/);
    expect(lines.map((line) => line.split(" ")[0])).toEqual(METHODS.map(({ name }) => name));
  });

  it("describes one, and refuses what is none", async () => {
    await run("methods", "hed-jitter");
    expect(printed).toMatch(/^hed-jitter: .*\nafter Tellez .*; needs no style\n\n {2}scale\n {4}3 numbers, one a stain\n/);
    await expect(run("methods", "hed-jiter")).rejects.toThrow(/Did you mean hed-jitter\?/);
  });

  it("prints a document", async () => {
    await run("methods", "--json");
    const { methods } = JSON.parse(printed) as {
      methods: { name: string; needsStyle: boolean; parameters: { name: string }[] }[];
    };
    expect(methods.map(({ name }) => name)).toEqual(METHODS.map(({ name }) => name));
    const reinhard = methods.find(({ name }) => name === "reinhard")!;
    expect(reinhard.needsStyle).toBe(true);
    expect(reinhard.parameters.map(({ name }) => name)).toEqual(["space", "tissueOnly", "targetMean", "targetDeviation"]);
  });
});

describe("fit", () => {
  const folder = fresh("tiles");
  const images = [noise(24, 17, 3), noise(40, 31, 3), noise(9, 9, 3)];
  beforeAll(async () => {
    mkdirSync(folder);
    for (const [index, image] of images.entries()) await saveImage(join(folder, `${index}.png`), image, { format: "png" });
  });
  const flags = ["--adapter", "software", "--json"];

  it("writes the table of a folder's images, and replaces none unasked", async () => {
    const out = fresh("table.json");
    await run("fit", "--in", folder, "--out", out, ...flags);
    expect(process.exitCode).toBe(0);
    const table = JSON.parse(readFileSync(out, "utf8")) as Record<string, number[]>;
    expect(table).toEqual(await fitRandStainNA(images, { adapter: "software" }));
    expect(JSON.parse(printed)).toMatchObject({ table, measured: 3, failed: 0, output: out });
    await expect(run("fit", "--in", folder, "--out", out, ...flags)).rejects.toThrow(/--overwrite/);
    await run("fit", "--in", folder, "--out", out, "--overwrite", ...flags);
  });

  it("leaves out what cannot be read and says so; of nothing that can be read there is no table", async () => {
    const broken = fresh("broken.png");
    writeFileSync(broken, "no image");
    const out = fresh("some.json");
    await run("fit", "--in", folder, broken, "--out", out, ...flags);
    expect(process.exitCode).toBe(1);
    expect(noted).toMatch(/failed: .*broken\.png/);
    expect(JSON.parse(printed)).toMatchObject({ measured: 3, failed: 1 });
    await run("fit", "--in", folder, broken, "--out", out, "--overwrite", "--skip-unreadable", ...flags);
    expect(process.exitCode).toBe(0);
    const none = fresh("none.json");
    const error = await run("fit", "--in", broken, "--out", none, ...flags).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(StylizingError);
    expect((error as StylizingError).message).toMatch(/None of 1 images can be read/);
    expect(existsSync(none)).toBe(false);
  });
});
