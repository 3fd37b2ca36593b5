import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, it } from "vitest";
import { temporaryFolder } from "../image/helpers.js";
import { Random } from "../support/random.js";
import { SLOW } from "../support/slow.js";
import { drawTiles, sha, writeTiles } from "./drawn.js";

const root = temporaryFolder();
const child = fileURLToPath(new URL("child.mjs", import.meta.url));

beforeAll(async () => {
  mkdirSync(join(root, "in"));
  writeTiles(join(root, "in"), await drawTiles(11, 16));
});

/** Files that have their names for good, by hash: nothing that is hidden or lies in a hidden folder. */
function filesOf(out: string): Map<string, string> {
  const names = readdirSync(out, { recursive: true }).map(String).sort();
  const files = names.filter(
    (name) => !name.startsWith("state") && statSync(join(out, name), { throwIfNoEntry: false })?.isFile(),
  );
  return new Map(files.map((name) => [name, sha(readFileSync(join(out, name)))]));
}
const isHidden = (name: string) => name.split(/[/\\]/).some((part) => part.startsWith("."));

/** Runs the child, and kills it so long after it has begun to write. @returns whether it was killed. */
async function run(out: string, killAfter?: number): Promise<boolean> {
  mkdirSync(out, { recursive: true });
  const running = spawn(process.execPath, [child, join(root, "in"), out], { stdio: ["ignore", "pipe", "inherit"] });
  const over = new Promise<number | null>((resolve) => running.once("close", resolve));
  if (killAfter !== undefined) {
    await Promise.race([new Promise((resolve) => createInterface({ input: running.stdout }).once("line", resolve)), over]);
    await delay(killAfter);
    running.kill("SIGKILL");
  }
  const code = await over;
  expect(code === 0 || killAfter !== undefined).toBe(true);
  return code !== 0;
}

const KILLS = SLOW ? 60 : 5;

it(`${KILLS} kills with -9 leave whole files alone, and going on ends as an undisturbed run`, async () => {
  const random = new Random("killed groups");
  await run(join(root, "undisturbed"));
  const undisturbed = filesOf(join(root, "undisturbed"));
  expect([...undisturbed.keys()].filter(isHidden)).toEqual([]);
  expect(undisturbed.size).toBeGreaterThan(3 * 44 + 2 + 6);
  let kills = 0;
  for (let round = 0; kills < KILLS; round++) {
    const out = join(root, `killed ${round}`);
    while (await run(out, kills < KILLS ? random.uniform(0, 150) : undefined)) {
      kills++;
      for (const [name, hash] of filesOf(out)) if (!isHidden(name)) expect([name, hash]).toEqual([name, undisturbed.get(name)]);
    }
    expect(filesOf(out)).toEqual(undisturbed);
    // What is there already is written again to the same, and finished again.
    if (round === 0) await run(out);
    expect(filesOf(out)).toEqual(undisturbed);
  }
});
