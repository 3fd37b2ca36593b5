/** What the fast and the slow tests of whole slides share. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
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

/** When a process is killed: when there is a file for its rows, while rows are written, and while these become a pyramid. */
export type Moment = "rows" | "painting" | "pyramid";

/** Kills a run there, or that share of a tenth of a second later. @returns what it left behind */
export async function killedAt(moment: Moment, slide: string, style: string, out: string, later: number): Promise<string[]> {
  const { child, finished } = start(paint([slide], [style], out));
  const own = () => readdirSync(out).filter((name) => name.includes(`.${child.pid}.`));
  const reached = () => {
    const names = own();
    if (moment === "pyramid") return names.length === 2;
    return names.some((name) => moment === "rows" || statSync(join(out, name)).size > 1e6);
  };
  let ended = false;
  void finished.finally(() => {
    ended = true;
  });
  while (!ended && !reached()) await delay(2);
  if (moment !== "pyramid") await delay(100 * later);
  child.kill("SIGKILL");
  const { signal, stderr } = await finished;
  expect(signal, stderr).toBe("SIGKILL");
  return readdirSync(out).filter((name) => !name.endsWith(".partial") || name.includes(`.${child.pid}.`));
}

/** The largest memory in bytes of a process that paints a slide that is drawn by rows, with all but the model. */
export async function peakOf(side: number, folder: string): Promise<{ largest: number; milliseconds: number }> {
  const { finished } = startProgram(process.execPath, [join(root, "test", "command", "slide-rows.mjs"), String(side), folder]);
  const { code, stdout, stderr } = await finished;
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as { largest: number; milliseconds: number };
}
