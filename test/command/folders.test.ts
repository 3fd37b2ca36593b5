import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import { build, fresh, HERE, imageFile, imageFiles, listFiles, paint, run, runJson } from "./command.js";

beforeAll(build);

/** A folder with an image in it, one behind a link, and kinds that are not read. */
async function folderOf(): Promise<string> {
  const [folder, elsewhere] = [fresh("data"), fresh("elsewhere")];
  await imageFile(join(folder, "a.png"), 1);
  await imageFile(join(elsewhere, "b.png"), 2);
  symlinkSync(elsewhere, join(folder, "linked"), "junction");
  for (const name of ["1.svs", "2.svs", "3.bmp"]) writeFileSync(join(folder, name), "");
  return folder;
}
const LEFT_OUT = "left out: 2 .svs, 1 .bmp (kinds that are not read)\n";

it("stylize paints what is behind links, in its place, and says what it left out", async () => {
  const [folder, out] = [await folderOf(), fresh("out")];
  const report = await runJson<StylizeReport>(paint([folder], await imageFiles("s"), out), 0, HERE);
  expect(report).toMatchObject({ done: 2, failed: 0 });
  expect(listFiles(out)).toEqual(["a.png", "linked/b.png"]);
  expect(report.stderr.split(LEFT_OUT)).toHaveLength(2);
});

it("classify says so too", async () => {
  const { stderr } = await run(["classify", await folderOf(), "--model", "/no/such/model"], HERE);
  expect(stderr.split(LEFT_OUT)).toHaveLength(2);
});

it.each(["stylize", "classify"])("train says so too, and counts what is behind links: %s", async (task) => {
  const data = fresh("classes");
  mkdirSync(data);
  for (const name of ["one", "two"]) symlinkSync(await folderOf(), join(data, name), "junction");
  const args = ["--task", task, "--data", data, "--val", data, "--out", fresh("out"), "--config", fresh("none.json")];
  const { code, stderr } = await run(["train", ...args, "--batch", "512"], HERE);
  expect({ code, stderr }).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("left out: 4 .svs, 2 .bmp (kinds that are not read)\n"),
  });
});
