import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join, win32 } from "node:path";
import { describe, expect, it } from "vitest";
import { pairJobs, resultFile } from "../../src/augment/inputs.js";
import { checkOutputs, refuseExisting } from "../../src/augment/outputs.js";
import { StylizingError } from "../../src/errors.js";
import { resultNames } from "../../src/image/result-names.js";
import { temporaryFolder } from "../image/helpers.js";

describe("names of results", () => {
  const cases: [string, string[], string[]][] = [
    ["lose their endings", ["a.png", "sub/b.tar.jpg", "sub/a.png", "c"], ["a", "sub/b.tar", "sub/a", "c"]],
    ["keep them where they would be one", ["a.jpg", "a.png", "b.png"], ["a.jpg", "a.png", "b"]],
    ["keep them where an ending that is kept is another's name", ["a.jpg", "a.png", "a.jpg.tif"], ["a.jpg", "a.png", "a.jpg.tif"]],
    ["are told apart by more than case", ["Tile.jpg", "tile.png", "STRASSE.png", "straße.jpg"], ["Tile.jpg", "tile.png", "STRASSE.png", "straße.jpg"]],
    ["are told apart by more than Unicode's form", ["\u00e9.png", "e\u0301.jpg"], ["\u00e9.png", "e\u0301.jpg"]],
    ["are numbered where even endings are alike", ["a.png", "A.png", "A.PNG"], ["a.png.3", "A.png.2", "A.PNG"]],
    ["are numbered past what is called so", ["a.png", "A.png", "a.png.2.tif"], ["a.png.3", "A.png", "a.png.2"]],
    ["differ in folders too", ["x/a.png", "X/a.png"], ["x/a.png.2", "X/a.png"]],
    ["stay equal where they are", ["a.png", "a.png"], ["a", "a"]],
  ]; // biome-ignore format: a table
  it.each(cases)("%s", (_, names, expected) => {
    expect(resultNames(names)).toEqual(expected);
    expect(resultNames(names.toReversed())).toEqual(expected.toReversed());
  });

  const files = (...names: string[]) => names.map((name) => ({ path: `/given/${name}`, name }));
  const outputs = (...given: Parameters<typeof pairJobs>) => pairJobs(...given).map(({ output }) => output);

  it("hold content and style where every content meets every style", () => {
    expect(outputs(files("a.jpg", "a.png"), files("x/s.png", "y/S.jpg"), "all", 0)).toEqual([
      "a.jpg__s.png",
      "a.jpg__S.jpg",
      "a.png__s.png",
      "a.png__S.jpg",
    ]);
  });

  it("are refused where two files of two folders have one name, and where content and style run together", () => {
    const refused = (...given: Parameters<typeof pairJobs>) => expect(() => pairJobs(...given)).toThrow(StylizingError);
    refused(files("a.png", "a.png"), files("s.png"), "each", 0);
    refused(files("a.png"), files("x/s.png", "y/s.png"), "all", 0);
    refused(files("a.png", "A__b.png"), files("b__c.png", "c.png"), "all", 0);
  });
});

it("files of results lie in folders of their own on Windows too", () => {
  const file = resultFile({ output: "tumour/a__s" }, { out: "D:\\painted", format: "png" }, win32);
  expect(file).toBe("D:\\painted\\tumour\\a__s.png");
  expect(win32.dirname(file)).toBe("D:\\painted\\tumour");
});

describe("--pair each", () => {
  const files = (count: number) => Array.from({ length: count }, (_, i) => ({ path: `${i}.png`, name: `${i}.png` }));
  it("pairs as many with as many, and one with any number", () => {
    const couples = (n: number, m: number) => pairJobs(files(n), files(m), "each", 0).map((job) => [job.content, job.style]);
    expect(couples(2, 2)).toEqual([[0, 0], [1, 1]]); // biome-ignore format: pairs
    expect(couples(3, 1)).toEqual([[0, 0], [1, 0], [2, 0]]); // biome-ignore format: pairs
    expect(couples(1, 2)).toEqual([[0, 0], [0, 1]]); // biome-ignore format: pairs
  });

  it.each([
    [4, 2],
    [2, 3],
  ])("refuses %i contents and %i styles", (n, m) => {
    // biome-ignore format: one call
    expect(() => pairJobs(files(n), files(m), "each", 0)).toThrow(new RegExp(`there are ${n} contents and ${m} styles\\. .*--pair random or all`));
    expect(pairJobs(files(n), files(m), "all", 0)).toHaveLength(n * m);
    expect(pairJobs(files(n), files(m), "random", 0)).toHaveLength(n);
  });
});

describe("places of results", () => {
  const root = temporaryFolder();
  const at = (name: string) => join(root, name);
  mkdirSync(at("out/folder"), { recursive: true });
  for (const name of ["in.png", "out/old.png"]) writeFileSync(at(name), name);
  symlinkSync(at("out"), at("link"), "junction");
  symlinkSync(at("in.png"), at("out/in-link.png"));

  it("are told where something is there already: files, not folders", async () => {
    const outputs = ["out/old.png", "out/new.png", "new/new.png", "out/folder"].map(at);
    expect(await checkOutputs([at("in.png")], outputs)).toEqual([at("out/old.png")]);
    expect(await checkOutputs([], [at("link/old.png")])).toEqual([at("link/old.png")]);
    expect(() => refuseExisting([])).not.toThrow();
    expect(() => refuseExisting(["a", "b", "c", "d", "e"])).toThrow(
      /5 results exist already: a, b, c and 2 more\. .*--skip-existing/,
    );
  });

  it.each([
    ["of an image that is given", ["in.png"], /in\.png is both an image to read and the place of a result/],
    ["of one behind a link", ["out/in-link.png"], /is both an image to read/],
    ["of another result", ["out/a.png", "out/a.png"], /are one file/],
    ["of one whose name differs in case", ["out/a.png", "out/A.png"], /are one file/],
    ["of one that does not exist yet, behind a link", ["out/a/b.png", "link/a/b.png"], /are one file/],
  ])("are refused in the place %s", async (_, outputs, message) => {
    await expect(checkOutputs([at("in.png")], outputs.map(at))).rejects.toMatchObject({
      code: "ARGUMENT",
      message: expect.stringMatching(message),
    });
  });
});
