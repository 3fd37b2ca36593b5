import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runJson } from "./command.js";
import { as, type Doctor, FALLBACK, findsNothingAmiss, NEIGHBOUR, needUser, refuses, temporary, USER } from "./no-home.js";

describe("where no cache folder of the user's can be written", () => {
  it.for<readonly [string, (folder: string) => Record<string, string | undefined>]>([
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
  ])("doctor finds nothing amiss: %s", ([, make], test) => findsNothingAmiss(make, test));

  it("a driver that root unpacked into a folder for all is used from there", async (test) => {
    needUser(test);
    const tmp = temporary();
    const cache = join(tmp, "cache");
    await runJson<Doctor>(["doctor"], 0, { env: { TMPDIR: tmp, XDG_CACHE_HOME: cache } });
    await runJson<Doctor>(["doctor"], 0, as(tmp, { XDG_CACHE_HOME: cache }));
    const fallback = join(tmp, FALLBACK);
    if (existsSync(fallback)) expect(readdirSync(fallback).filter((name) => name.startsWith("swiftshader"))).toEqual([]);
  });
});

describe("where the folder among temporary files is not to be trusted", () => {
  it.for<readonly [string, (folder: string, tmp: string) => void]>([
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
  ])("nothing is loaded from it, and the cure is named: it is %s", ([, make], test) => refuses(make, test));

  it("the cure helps", async (test) => {
    needUser(test);
    const [tmp, own] = [temporary(), temporary()];
    chmodSync(tmp, 0o755);
    expect(await runJson<Doctor>(["doctor"], 0, as(tmp, { XDG_CACHE_HOME: join(own, "cache") }))).toMatchObject({ ok: true });
  });
});
