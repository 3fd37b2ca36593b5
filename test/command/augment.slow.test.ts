import { cpSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { fraction } from "../../src/random.js";
import { drawTiles, writeTiles } from "../datasets/drawn.js";
import { build, fresh, listFiles, run, start } from "./command.js";

const METHODS = "macenko-augment:2,hed-jitter,he-stain,reinhard,histogram-match";
let data: string;

beforeAll(async () => {
  await build();
  data = fresh("data");
  mkdirSync(data);
  writeTiles(data, await drawTiles(200, 48));
});

const args = (out: string, more: readonly string[] = []) => [
  ...["augment", "--in", data, "--out", out, "--method", METHODS, "--copies", "2", "--p", ".9", "--seed", "9"],
  ...more,
];
const manifestOf = (out: string) => readFileSync(join(out, "manifest.jsonl"), "utf8");

async function augment(out: string, more: readonly string[] = []): Promise<void> {
  const { code, stderr } = await run(args(out, more), { longest: 300_000 });
  expect(code, stderr).toBe(0);
}

describe("200 tiles", () => {
  it("are augmented to the same bytes with other batches and workers", async () => {
    const [one, other] = [fresh("one"), fresh("other")];
    await augment(one, ["--batch", "64", "--workers", "2"]);
    await augment(other, ["--batch", "5", "--workers", "0"]);
    expect(manifestOf(other)).toBe(manifestOf(one));
    expect(manifestOf(one).split("\n")).toHaveLength(402);
  }, 600_000);

  it.each(["folder", "wds", "npz", "parquet", "csv"])(
    "%s: survive kill -9 at random moments, complete, none twice, none half-written",
    async (format) => {
      const more = ["--format", format, "--shard-size", "32", "--batch", "16"];
      const whole = fresh("whole");
      const began = performance.now();
      await augment(whole, more);
      const took = performance.now() - began;
      const out = fresh("killed");
      let kills = 0;
      for (let attempt = 0; attempt < 12; attempt++) {
        const { child, finished } = start(args(out, more), { longest: 300_000 });
        await delay(took * (0.2 + 0.5 * fraction(3, attempt, format.length)));
        child.kill("SIGKILL");
        const { code } = await finished;
        if (code === 0) break;
        kills++;
        // What is there under its own name is whole: as the undisturbed run has it.
        for (const name of listFiles(out)) {
          const isGrowing = name === "manifest.jsonl" || name.includes(".partial") || name.startsWith(".");
          if (!isGrowing) expect(readFileSync(join(out, name)).equals(readFileSync(join(whole, name))), name).toBe(true);
        }
        expect(manifestOf(whole).startsWith(manifestOf(out).slice(0, manifestOf(out).lastIndexOf("\n") + 1))).toBe(true);
      }
      expect(kills).toBeGreaterThan(1);
      await augment(out, more);
      expect(manifestOf(out)).toBe(manifestOf(whole));
      expect(listFiles(out)).toEqual(listFiles(whole));
      for (const name of listFiles(whole))
        expect(readFileSync(join(out, name)).equals(readFileSync(join(whole, name))), name).toBe(true);
      const copy = fresh("copy");
      cpSync(out, copy, { recursive: true });
      const { code, stderr } = await run(["replay", join(copy, "manifest.jsonl")], { longest: 300_000 });
      expect(code, stderr).toBe(0);
      expect(stderr).toContain("400 of 400 outputs are identical");
    },
    900_000,
  );
});
