import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, win32 } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { LeftOut, listImages, nameBelow, someOf, tellingLeftOut } from "../../src/image/folder.js";
import { temporaryFolder } from "./helpers.js";

// Root may read every folder, and some file systems take UTF-8 only.
vi.mock("node:fs/promises", async (importOriginal) => {
  const fs = await importOriginal<typeof import("node:fs/promises")>();
  return {
    ...fs,
    async readdir(folder: string, options: { withFileTypes: true; encoding: "buffer" }) {
      if (folder.endsWith("locked")) throw Object.assign(new Error("EACCES: permission denied, scandir"), { code: "EACCES" });
      const entries = await fs.readdir(folder, options);
      // "ö" as Latin-1 has it.
      for (const entry of entries)
        if (entry.name.toString().startsWith("latin")) entry.name = Buffer.from(`\xf6${entry.name}`, "latin1");
      return entries;
    },
  };
});

const root = temporaryFolder();

/** A folder with these files in it; what lists images looks at names only. */
function folderOf(name: string, ...files: string[]): string {
  const folder = join(root, name);
  mkdirSync(folder);
  for (const file of files) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), "");
  }
  return folder;
}
const link = (to: string, from: string) => symlinkSync(to, from, "junction");

async function list(folder: string, except?: string): Promise<{ names: string[]; left: string[] }> {
  const left: string[] = [];
  const found = await tellingLeftOut(
    (line) => left.push(line),
    (leftOut) => listImages(folder, { except, leftOut }),
  );
  for (const { path, name } of found) expect(path).toBe(join(folder, name));
  return { names: found.map(({ name }) => name), left };
}

describe("images of a folder", () => {
  it("come in the order of the names of files and folders alike, without hidden ones", async () => {
    const folder = folderOf("order", "b/2.png", "b.png", "a.JPG", "b/10.png", "c/d/e.webp", ".h.png", ".h/i.png", "notes.txt");
    expect(await list(folder)).toEqual({ names: ["a.JPG", "b/10.png", "b/2.png", "b.png", "c/d/e.webp"], left: [] });
  });

  it("lie behind links too: each folder once, under its own name where it has one, and cycles end", async () => {
    const elsewhere = folderOf("elsewhere", "x.png", "deep/y.png");
    const folder = folderOf("links", "m/1.png", "z/2.png");
    link(elsewhere, join(folder, "a"));
    link(elsewhere, join(folder, "b"));
    link(join(folder, "z"), join(folder, "c"));
    link(folder, join(folder, "m", "up"));
    link(join(elsewhere, "deep"), join(elsewhere, "deep", "again"));
    expect(await list(folder)).toEqual({ names: ["a/deep/y.png", "a/x.png", "m/1.png", "z/2.png"], left: [] });
    expect((await list(join(folder, "a"))).names).toEqual(["deep/y.png", "x.png"]);
  });

  it("are not those of the results' folder, by whatever way it is reached, unless it is asked for", async () => {
    const out = folderOf("out", "r.png", "sub/s.png");
    const folder = folderOf("with-results", "1.png");
    link(out, join(folder, "painted"));
    link(join(out, "sub"), join(folder, "part"));
    link(out, join(root, "out-by-another-name"));
    expect((await list(folder)).names).toEqual(["1.png", "painted/r.png", "painted/sub/s.png"]);
    for (const except of [out, join(root, "out-by-another-name"), join(folder, "painted")])
      expect((await list(folder, except)).names).toEqual(["1.png"]);
    expect((await list(out, out)).names).toEqual(["r.png", "sub/s.png"]);
    expect((await list(folder, join(root, "not-there-yet"))).names).toHaveLength(3);
  });
});

describe("what is left out", () => {
  it("is said: folders that cannot be read, links to nothing, names that are no text, and kinds by number", async () => {
    const folder = folderOf(
      "left",
      "1.png",
      "locked/2.png",
      "s/1.svs",
      "s/2.SVS",
      "s/3.svs",
      "t.bmp",
      "u.heic",
      "notes.txt",
      ".v.bmp",
    );
    for (const name of ["latin.png", "latin.txt", "latin2.tif", "latin-folder/x.png"]) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), "");
    }
    link(join(root, "gone"), join(folder, "dangling"));
    link(join(root, "gone"), join(folder, "v.png"));
    const { names, left } = await list(folder);
    expect(names).toEqual(["1.png", "v.png"]);
    expect(left).toEqual([
      `left out: ${join(folder, "dangling")}, which cannot be read (ENOENT)`,
      `left out: ${join(folder, "locked")}, which cannot be read (EACCES)`,
      `left out: names that are not UTF-8: ${["latin-folder", "latin.png", "latin2.tif"].map((name) => join(folder, `\\xf6${name}`)).join(", ")}`,
      "left out: 3 .svs, 1 .bmp, 1 .heic (kinds that are not read)",
    ]);
  });

  it("is said where the reading fails, and counted once where folders come twice", async () => {
    const folder = folderOf("twice", "a.ndpi");
    const lines: string[] = [];
    const failing = tellingLeftOut(
      (line) => lines.push(line),
      async (leftOut) => {
        for (let i = 0; i < 2; i++) await listImages(folder, { leftOut });
        throw new Error("no image");
      },
    );
    await expect(failing).rejects.toThrow("no image");
    expect(lines).toEqual(["left out: 1 .ndpi (kinds that are not read)"]);
    expect(new LeftOut().lines()).toEqual([]);
  });

  it("is named by its first few", () => {
    expect(someOf(["a", "b", "c"])).toBe("a, b, c");
    expect(someOf(["a", "b", "c", "d", "e"])).toBe("a, b, c and 2 more");
  });
});

it("names of images have slashes on Windows too, and a backslash elsewhere is a part of them", () => {
  expect(nameBelow("C:\\data", "C:\\data\\tumour\\a 1.png", win32)).toBe("tumour/a 1.png");
  expect(nameBelow("/data", "/data/tumour/a\\1.png")).toBe(process.platform === "win32" ? "tumour/a/1.png" : "tumour/a\\1.png");
});
