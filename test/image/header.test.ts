import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, expect, it } from "vitest";
import { pixelsIn } from "../../src/image/header.js";

const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-header-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("counts pixels without decoding them, and none where there is no image", async () => {
  const file = join(folder, "a.png");
  await sharp({ create: { width: 31, height: 17, channels: 3, background: "#888" } }).toFile(file);
  expect(await pixelsIn(file)).toBe(31 * 17);
  writeFileSync(join(folder, "none.png"), "none");
  for (const name of ["none.png", "missing.png", "."]) expect(await pixelsIn(join(folder, name))).toBe(0);
});

it("does not wait for the writer of a pipe", async (test) => {
  const pipe = join(folder, "pipe.png");
  try {
    execFileSync("mkfifo", [pipe], { stdio: "pipe" });
  } catch {
    test.skip("no pipes can be made here");
  }
  expect(await pixelsIn(pipe)).toBe(0);
});
