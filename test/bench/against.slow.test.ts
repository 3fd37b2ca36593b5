import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { AgainstRow } from "../../bench/against.js";
import { root } from "../support/fixtures.js";

const bench = (...args: string[]) =>
  spawnSync(process.execPath, [join(root, "bench", "run.mjs"), ...args], { encoding: "utf8", env: process.env });

it("--against holds this checkout beside its last commit, and its exit code says how", () => {
  const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-against-test-"));
  const file = join(folder, "against.json");
  const smallest = ["--against", "HEAD", "--model", "demo:1", "--adapter", "software", "--quick", "--rounds", "1"];
  try {
    const { status, stdout } = bench(...smallest, "--json", file);
    expect(status, stdout).toBe(0);
    const document = JSON.parse(readFileSync(file, "utf8")) as { schemaVersion: number; against: AgainstRow[] };
    expect(document.schemaVersion).toBe(1);
    expect(document.against.map(({ what, batch, rounds }) => [what, batch, rounds.length])).toEqual([
      ["pair", 1, 2],
      ["javascript", 1, 2],
      ["cold", 1, 2],
    ]);
    for (const { tiers, pixels, ratio } of document.against) {
      expect(tiers.here).toBe("f32");
      expect(pixels.levels).toBeLessThanOrEqual(1);
      expect(ratio).toBeGreaterThan(0);
    }

    const failing = bench(...smallest, "--fail-below", "1000");
    expect(failing.status).toBe(1);
    expect(failing.stdout).toMatch(/3 failed:\n {2}demo ×1, pairs: .*below 1000/);

    const unknown = bench("--against", "no-such-commit");
    expect(unknown.status).toBe(2);
    expect(unknown.stdout).toContain("no such commit");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 600_000);
