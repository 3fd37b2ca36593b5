/** The command of a user who has no home, or none that can be written: a container, a service, a job. */
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it, type TestContext } from "vitest";
import {
  build,
  type Failure,
  fresh,
  imageFiles,
  listFiles,
  MAIN,
  type RunOptions,
  run,
  runJson,
  startProgram,
  stylize,
} from "./command.js";

/** A user without an entry in the system's list, so that nothing says where a home would be. */
const USER = 71_234;
const NEIGHBOUR = 71_235;
const FALLBACK = `stylizing-vit-${USER}`;

interface Doctor {
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

function needUser(test: Pick<TestContext, "skip">): void {
  if (process.platform !== "linux" || process.arch !== "x64") test.skip("no software driver for this platform");
  if (process.getuid?.() !== 0) test.skip("only root can run a process as another user");
  if (!reachable) test.skip("another user cannot read this checkout");
}

/** A folder for everybody's temporary files, as /tmp is. */
function temporary(): string {
  const folder = fresh("tmp");
  mkdirSync(folder);
  chmodSync(folder, 0o1777);
  // The folders around it are the test's own, and closed.
  for (let above = dirname(folder); above.startsWith(join(tmpdir(), "stylizing-vit-")); above = dirname(above))
    chmodSync(above, 0o755);
  return folder;
}

const as = (tmp: string, env: Record<string, string | undefined> = {}): RunOptions => ({
  uid: USER,
  cwd: "/",
  env: { TMPDIR: tmp, HOME: undefined, XDG_CACHE_HOME: undefined, HF_HOME: undefined, ...env },
});

const adapterOf = ({ checks }: Doctor) => checks.find(({ name }) => name === "adapter")!;

describe("where no cache folder of the user's can be written", () => {
  it.for<readonly [string, (folder: string) => Record<string, string | undefined>]>([
    ["there is no HOME", () => ({})],
    ["HOME is empty", () => ({ HOME: "" })],
    ["HOME is the root folder", () => ({ HOME: "/" })],
    [
      "HOME can only be read",
      (folder) => {
        const home = join(folder, "home");
        mkdirSync(home, { mode: 0o555 });
        chownSync(home, USER, USER);
        return { HOME: home };
      },
    ],
    [
      "XDG_CACHE_HOME cannot be written",
      (folder) => {
        mkdirSync(join(folder, "cache"), { mode: 0o755 });
        return { XDG_CACHE_HOME: join(folder, "cache") };
      },
    ],
    [
      "the cache is another user's",
      (folder) => {
        const cache = join(folder, "cache");
        mkdirSync(join(cache, "stylizing-vit"), { recursive: true });
        for (const path of [cache, join(cache, "stylizing-vit")]) {
          chownSync(path, NEIGHBOUR, NEIGHBOUR);
          chmodSync(path, 0o777);
        }
        return { XDG_CACHE_HOME: cache };
      },
    ],
  ])("doctor finds nothing amiss: %s", async ([, make], test) => {
    needUser(test);
    const tmp = temporary();
    const options = as(tmp, make(tmp));
    const report = await runJson<Doctor>(["doctor"], 0, options);
    expect(report).toMatchObject({ ok: true, adapter: { software: true }, stderr: "" });
    const folder = statSync(join(tmp, FALLBACK));
    expect([folder.mode & 0o777, folder.uid]).toEqual([0o700, USER]);
    const [driver, ...others] = readdirSync(join(tmp, FALLBACK)).filter((name) => name !== "tuning.json");
    expect([driver, others]).toEqual([expect.stringMatching(/^swiftshader-[0-9a-f]{16}$/), []]);
  });

  it("a driver that root unpacked into a folder for all is used from there", async (test) => {
    needUser(test);
    const tmp = temporary();
    const cache = join(tmp, "cache");
    await runJson<Doctor>(["doctor"], 0, { env: { TMPDIR: tmp, XDG_CACHE_HOME: cache } });
    await runJson<Doctor>(["doctor"], 0, as(tmp, { XDG_CACHE_HOME: cache }));
    const fallback = join(tmp, FALLBACK);
    if (existsSync(fallback)) expect(readdirSync(fallback).filter((name) => name.startsWith("swiftshader"))).toEqual([]);
  });

  it("local models paint, and a download says where it could be kept", async (test) => {
    needUser(test);
    const tmp = temporary();
    const out = join(tmp, "out");
    const [content, style] = [await imageFiles("content"), await imageFiles("style")];
    expect(await run(stylize(content, style, out), as(tmp))).toMatchObject({ code: 0 });
    expect(listFiles(out)).toEqual(["content.png"]);

    const published = [...stylize(content, style, join(tmp, "not")), "--model", "tiny/camelyon17wilds"];
    for (const HOME of [undefined, ""]) {
      const { error } = await runJson<Failure>(published, 1, as(tmp, { HOME }));
      expect(error).toMatchObject({ code: "DOWNLOAD", message: expect.stringMatching(/home folder, and this user has none/) });
      expect(error.fix).toContain("HF_HOME");
    }
  });
});

describe("where the folder among temporary files is not to be trusted", () => {
  it.for<readonly [string, (folder: string, tmp: string) => void]>([
    [
      "another user's",
      (folder) => {
        mkdirSync(folder);
        chownSync(folder, NEIGHBOUR, NEIGHBOUR);
        chmodSync(folder, 0o777);
      },
    ],
    [
      "a link",
      (folder, tmp) => {
        mkdirSync(join(tmp, "elsewhere"), { mode: 0o700 });
        chownSync(join(tmp, "elsewhere"), USER, USER);
        symlinkSync(join(tmp, "elsewhere"), folder);
      },
    ],
    [
      "open to others",
      (folder) => {
        mkdirSync(folder);
        chownSync(folder, USER, USER);
        chmodSync(folder, 0o770);
      },
    ],
    ["a file", (folder) => writeFileSync(folder, "")],
    ["not to be made", (_, tmp) => chmodSync(tmp, 0o755)],
  ])("nothing is loaded from it, and the cure is named: it is %s", async ([, spoil], test) => {
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
  });

  it("the cure helps", async (test) => {
    needUser(test);
    const [tmp, own] = [temporary(), temporary()];
    chmodSync(tmp, 0o755);
    expect(await runJson<Doctor>(["doctor"], 0, as(tmp, { XDG_CACHE_HOME: join(own, "cache") }))).toMatchObject({ ok: true });
  });
});
