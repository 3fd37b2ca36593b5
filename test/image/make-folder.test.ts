import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { makeFolder, makeFolderSync } from "../../src/image/make-folder.js";

const root = mkdtempSync(join(tmpdir(), "stylizing-vit-folders-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const MAKERS = [
  ["makeFolder", makeFolder],
  ["makeFolderSync", async (folder: string) => makeFolderSync(folder)],
] as const;

it.each(MAKERS)("%s makes parents, takes what is there, and several at once", async (name, make) => {
  const folder = join(root, name, "a", "b");
  await Promise.all([make(folder), make(folder), make(join(folder, "c"))]);
  expect(statSync(join(folder, "c")).isDirectory()).toBe(true);
  await make(folder);
});

it.each(MAKERS)("%s fails where a file is in the way, and comes back where nothing can be made", async (name, make) => {
  const file = join(root, `${name}.txt`);
  writeFileSync(file, "in the way");
  await expect(make(file)).rejects.toThrow(/EEXIST/);
  await expect(make(join(file, "below"))).rejects.toThrow(/ENOTDIR/);
  // mkdir with `recursive` never comes back from there.
  if (process.platform === "linux") await expect(make("/proc/none/below")).rejects.toThrow(/ENOENT/);
});

it("makeFolderSync gives its mode to what it creates", () => {
  const folder = join(root, "private", "folder");
  makeFolderSync(folder, 0o700);
  if (process.platform !== "win32") expect(statSync(folder).mode & 0o777).toBe(0o700);
});
