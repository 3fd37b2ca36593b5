/** The command of a user who has no home, or none that can be written: what its fast and its slow tests share. */
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { beforeAll, expect, type TestContext } from "vitest";
import { build, fresh, MAIN, type RunOptions, runJson, startProgram } from "./command.js";

/** A user without an entry in the system's list, so that nothing says where a home would be. */
export const USER = 71_234;
export const NEIGHBOUR = 71_235;
export const FALLBACK = `stylizing-vit-${USER}`;

export interface Doctor {
  ok: boolean;
  checks: { name: string; ok: boolean; found: string; fix?: string }[];
  adapter?: { software: boolean };
}

let reachable = false;

beforeAll(async () => {
  await build();
  if (process.getuid?.() !== 0) return;
  const look = `require("node:fs").accessSync(${JSON.stringify(MAIN)}); require("node:os").tmpdir()`;
  const { code } = await startProgram(process.execPath, ["--eval", look], { uid: USER, cwd: "/" }).finished.catch(() => ({
    code: 1,
  }));
  reachable = code === 0;
});

export function needUser(test: Pick<TestContext, "skip">): void {
  if (process.platform !== "linux" || process.arch !== "x64") test.skip("no software driver for this platform");
  if (process.getuid?.() !== 0) test.skip("only root can run a process as another user");
  if (!reachable) test.skip("another user cannot read this checkout");
}

/** A folder for everybody's temporary files, as /tmp is. */
export function temporary(): string {
  const folder = fresh("tmp");
  mkdirSync(folder);
  chmodSync(folder, 0o1777);
  // The folders around it are the test's own, and closed.
  for (let above = dirname(folder); above.startsWith(join(tmpdir(), "stylizing-vit-")); above = dirname(above))
    chmodSync(above, 0o755);
  return folder;
}

export const as = (tmp: string, env: Record<string, string | undefined> = {}): RunOptions => ({
  uid: USER,
  cwd: "/",
  env: { TMPDIR: tmp, HOME: undefined, XDG_CACHE_HOME: undefined, HF_HOME: undefined, ...env },
});

export const adapterOf = ({ checks }: Doctor) => checks.find(({ name }) => name === "adapter")!;

/** A cache folder that only has to be found elsewhere: `make` says what is set. */
export async function findsNothingAmiss(
  make: (folder: string) => Record<string, string | undefined>,
  test: Pick<TestContext, "skip">,
) {
  needUser(test);
  const tmp = temporary();
  const options = as(tmp, make(tmp));
  const report = await runJson<Doctor>(["doctor"], 0, options);
  expect(report).toMatchObject({ ok: true, adapter: { software: true }, stderr: "" });
  const folder = statSync(join(tmp, FALLBACK));
  expect([folder.mode & 0o777, folder.uid]).toEqual([0o700, USER]);
  const [driver, ...others] = readdirSync(join(tmp, FALLBACK)).filter((name) => name !== "tuning.json");
  expect([driver, others]).toEqual([expect.stringMatching(/^swiftshader-[0-9a-f]{16}$/), []]);
}

/** A fallback that is not to be trusted, as `spoil` makes it. */
export async function refuses(spoil: (folder: string, tmp: string) => void, test: Pick<TestContext, "skip">) {
  needUser(test);
  const tmp = temporary();
  spoil(join(tmp, FALLBACK), tmp);
  const report = await runJson<Doctor>(["doctor"], 1, as(tmp));
  expect(report.ok).toBe(false);
  expect(adapterOf(report).found).toMatch(/no folder for the cache/);
  expect(adapterOf(report).found).toContain(join(tmp, FALLBACK));
  expect(adapterOf(report).found).not.toMatch(/GPU adapter/);
  expect(adapterOf(report).fix).toContain("XDG_CACHE_HOME");
  if (existsSync(join(tmp, "elsewhere"))) expect(readdirSync(join(tmp, "elsewhere"))).toEqual([]);
}
