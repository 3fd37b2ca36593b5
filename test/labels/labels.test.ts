import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { LeftOut } from "../../src/image/folder.js";
import { labelsOfFolders, labelsOfTable } from "../../src/labels/labels.js";
import { failure, temporaryFolder } from "../image/helpers.js";
import { shared } from "../support/fixtures.js";

const root = temporaryFolder();

/** A folder with these files in it; what lists images looks at names only. */
function folderOf(name: string, files: readonly string[]): string {
  const folder = join(root, name);
  for (const file of files) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), "");
  }
  return folder;
}

describe("labelsOfFolders", () => {
  it("takes a folder for each class, by code units, with what lies deeper", async () => {
    const folder = folderOf("classes", [
      "b/1.png",
      "b/deep/er/2.JPG",
      "B/x.png",
      "10/y.webp",
      "2/z.tif",
      "2/notes.txt",
      "readme.md",
      ".hidden/h.png",
      "b/.thumbs/t.png",
      "é/e.png",
    ]);
    const { classes, files } = await labelsOfFolders(folder);
    expect(classes).toEqual(["10", "2", "B", "b", "é"]);
    expect(files).toEqual(
      [
        ["10/y.webp", 0],
        ["2/z.tif", 1],
        ["B/x.png", 2],
        ["b/1.png", 3],
        ["b/deep/er/2.JPG", 3],
        ["é/e.png", 4],
      ].map(([name, label]) => ({ path: join(folder, String(name)), name, label })),
    );
  });

  it("passes over the folder of results and follows links to folders of classes", async () => {
    const folder = folderOf("results", ["a/1.png", "a/out/2.png", "b/3.png", "out/sheet.png"]);
    symlinkSync(join(root, "classes/10"), join(folder, "linked"), "junction");
    const names = async (except?: string) => (await labelsOfFolders(folder, { except })).files.map(({ name }) => name);
    expect(await names(join(folder, "out"))).toEqual(["a/1.png", "a/out/2.png", "b/3.png", "linked/y.webp"]);
    expect(await names(join(folder, "a/out"))).toEqual(["a/1.png", "b/3.png", "linked/y.webp", "out/sheet.png"]);
  });

  it("reads a folder that several classes link to once, and says what it leaves out", async () => {
    const folder = folderOf("shared", ["a/1.png", "b/2.png", "b/3.svs"]);
    symlinkSync(join(folder, "b"), join(folder, "a/more"), "junction");
    const leftOut = new LeftOut();
    const { files } = await labelsOfFolders(folder, { leftOut });
    expect(files.map(({ name, label }) => [name, label])).toEqual([["a/1.png", 0], ["b/2.png", 1]]); // biome-ignore format: a table
    expect(leftOut.lines()).toEqual([expect.stringContaining("1 .svs")]);
    symlinkSync(join(folder, "b"), join(folder, "c"), "junction");
    expect((await failure(labelsOfFolders(folder), "ARGUMENT")).message).toMatch(/c holds no image of its own/);
  });

  it("refuses what is no such folder, and says what to do", async () => {
    const message = async (folder: string) => (await failure(labelsOfFolders(folder), "ARGUMENT")).message;
    expect(await message(join(root, "gone"))).toMatch(/gone does not exist/);
    expect(await message(join(folderOf("file", ["a.png"]), "a.png"))).toMatch(/does not exist/);
    expect(await message(folderOf("outside", ["a/1.png", "b/2.png", "stray.png"]))).toMatch(/stray\.png lies outside.*Move it/);
    expect(await message(folderOf("flat", ["1.png", "2.png"]))).toMatch(/1\.png lies outside/);
    expect(await message(folderOf("hollow", ["a/1.png", "b/2.png", "c/notes.txt"]))).toMatch(/c holds no image.*Put PNG/);
    expect(await message(folderOf("single", ["a/1.png", "a/2.png"]))).toMatch(/one class only, a\. Give/);
    expect(await message(folderOf("none", ["readme.md"]))).toMatch(/has no class\. Give/);
  });

  const real = join(shared, "images/camelyon17");
  it.skipIf(!existsSync(real))("takes real folders", async () => {
    const { classes, files } = await labelsOfFolders(real);
    expect(classes).toEqual([0, 1, 2, 3, 4].map((centre) => `center${centre}`));
    expect(new Set(files.map(({ label }) => label)).size).toBe(5);
    for (const { name, label } of files) expect(name.startsWith(`center${label}/`)).toBe(true);
  });
});

describe("labelsOfTable", () => {
  const folder = folderOf("table", ["a.png", "b.png", "sub/c.png", 'odd, "name".png']);
  function table(text: string | Uint8Array, name = "labels.csv"): string {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  }

  it("reads columns by name, quotes, CR LF, a byte order mark and blank lines", async () => {
    const file = table(
      '\uFEFFlabel, path,age,patient\r\n\r\nbenign,b.png,71,p2\r\n"malign, ""sure""" , sub/c.png ,,p1\r\n  \r\nbenign,"odd, ""name"".png",1,p1\r\n',
    );
    expect(await labelsOfTable(file)).toEqual({
      classes: ["benign", 'malign, "sure"'],
      files: [
        { path: join(folder, "b.png"), name: "b.png", label: 0 },
        { path: join(folder, 'odd, "name".png'), name: 'odd, "name".png', label: 0 },
        { path: join(folder, "sub/c.png"), name: "sub/c.png", label: 1 },
      ],
    });
    const { files } = await labelsOfTable(file, { group: "patient" });
    expect(files.map(({ group }) => group)).toEqual(["p2", "p1", "p1"]);
  });

  it("takes paths from its own folder, from one that is named, or as they are", async () => {
    const elsewhere = join(folderOf("elsewhere", []), "../labels.csv");
    writeFileSync(elsewhere, `path,label\ntable/a.png,x\n${join(folder, "b.png")},y`);
    const own = await labelsOfTable(elsewhere);
    expect(own.files.map(({ path, name }) => [path, name])).toEqual([
      [join(folder, "a.png"), "table/a.png"],
      [join(folder, "b.png"), "table/b.png"],
    ]);
    writeFileSync(elsewhere, "path,label\nsub/c.png,x\n./sub/../a.png,y\n");
    const named = await labelsOfTable(elsewhere, { folder });
    expect(named.files.map(({ path, name }) => [path, name])).toEqual([
      [resolve(folder, "a.png"), "a.png"],
      [resolve(folder, "sub/c.png"), "sub/c.png"],
    ]);
  });

  it.each([
    ["an empty file", "\n\n", /is empty\. Separate columns/],
    ["no header", "a.png,x\nb.png,y\n", /no column "path", line 1: "a\.png", "x"\. Separate columns/],
    ["other separators", "path;label\na.png;x\n", /no column "path", line 1: "path;label"\. Separate columns by commas/],
    ["no labels", "path,class\na.png,x\n", /no column "label"/],
    ["two columns of a name", "path,label,label\na.png,x,y\n", /several columns "label".*Rename/],
    ["an empty label", "path,label\r\na.png,x\r\n\r\nb.png, \r\n", /line 4: the field "label" is empty\. Fill it in/],
    ["an empty path", "path,label\na.png,x\n,y\n", /line 3: the field "path" is empty/],
    ["an image twice", "path,label\na.png,x\nb.png,y\n\n./a.png,x\n", /names \.\/a\.png twice, in lines 2 and 5\. Remove/],
    ["a missing image", 'path,label\n"a.png" ,x\r\nb.png,y \r\ngone.png,y\r\n', /line 4: there is no file .*gone\.png\. Check/],
    ["a folder", "path,label\na.png,x\nsub,y\n", /line 3: there is no file .*sub\./],
    ["a field too few", "path,label\na.png\n", /no CSV file: .*on line 2\. Give every line/],
    ["a field too many", "path,label\na.png,x,y\n", /no CSV file: .*on line 2\. Give every line/],
    ["an open quote", 'path,label\n"a.png,x\n', /no CSV file: .*line 2/],
    ["a quote inside a field", 'path,label\na"b.png,x\n', /no CSV file: .*line 2/],
    ["one class", "path,label\na.png,x\nb.png,x\n", /one class only, x\. Name at least two/],
    ["no image", "path,label\n", /has no class/],
  ])("refuses %s, with its line", async (_, text, message) => {
    const error = await failure(labelsOfTable(table(text)), "ARGUMENT");
    expect(error.message).toMatch(message);
    expect(error.message).toContain("labels.csv");
  });

  it("refuses groups that are missing or not given, and a file that is not there", async () => {
    const file = table("path,label,patient\na.png,x,1\nb.png,y,\n");
    expect((await failure(labelsOfTable(file, { group: "slide" }), "ARGUMENT")).message).toMatch(
      /no column "slide", line 1: "path", "label", "patient"\. Name one of these/,
    );
    expect((await failure(labelsOfTable(file, { group: "patient" }), "ARGUMENT")).message).toMatch(/line 3.*"patient" is empty/);
    expect((await failure(labelsOfTable(join(root, "gone.csv")), "ARGUMENT")).message).toMatch(/gone\.csv does not exist/);
    expect((await failure(labelsOfTable(root), "ARGUMENT")).message).toMatch(/could not be read/);
  });

  it("looks at many files, whatever their order in the table", async () => {
    const names = Array.from({ length: 300 }, (_, i) => `many/${i}.png`);
    folderOf("table", names);
    const text = (list: readonly string[]) => `path,label\n${list.map((name) => `${name},${name.length}`).join("\n")}`;
    const set = await labelsOfTable(table(text(names)));
    expect(set.files).toHaveLength(300);
    expect(set.files.map(({ name }) => name)).toEqual(names.toSorted());
    expect(await labelsOfTable(table(text(names.toReversed())))).toEqual(set);
    const without = names.with(250, "many/gone.png");
    expect((await failure(labelsOfTable(table(text(without))), "ARGUMENT")).message).toMatch(/line 252: there is no file/);
  });
});
