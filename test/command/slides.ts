/** What the fast and the slow tests of whole slides share. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import sharp from "sharp";
import { expect } from "vitest";
import { svsFile } from "../image/svs.js";
import { root } from "../support/fixtures.js";
import { fresh, paint, start, startProgram } from "./command.js";

let file: Promise<string> | undefined;
/** A slide that takes a second or two. */
export const slideFile = (): Promise<string> => {
  file ??= svsFile(fresh("large.svs"), { width: 2400, height: 1600 });
  return file;
};

/** Kills a run so many milliseconds after it began to write. @returns the files that it left, hidden ones too; or it was done before. */
export async function killedAfter(milliseconds: number, slide: string, style: string, out: string): Promise<string[]> {
  const { child, finished } = start(paint([slide], [style], out));
  const own = () => readdirSync(out).filter((name) => name.includes(`.tif.${child.pid}.`));
  let ended = false;
  void finished.finally(() => {
    ended = true;
  });
  while (!ended && own().length === 0) await delay(2);
  await delay(milliseconds);
  const left = own();
  child.kill("SIGKILL");
  const { signal, code, stderr } = await finished;
  expect(signal ?? code, stderr).toBe(signal ? "SIGKILL" : 0);
  // As far as it has come: what is there under the result's name is whole.
  for (const name of readdirSync(out).filter((name) => name.endsWith(".tif"))) {
    await sharp(join(out, name), { failOn: "warning" }).stats();
    rmSync(join(out, name));
  }
  return left;
}

/** The largest memory in bytes of a process that paints a slide that is drawn by rows, with all but the model. */
export async function peakOf(width: number, height: number, folder: string): Promise<{ largest: number; milliseconds: number }> {
  const { finished } = startProgram(
    process.execPath,
    [join(root, "test", "command", "slide-rows.mjs"), String(width), String(height), folder],
    {
      longest: 900_000,
    },
  );
  const { code, stdout, stderr } = await finished;
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as { largest: number; milliseconds: number };
}
