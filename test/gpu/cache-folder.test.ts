import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import * as os from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { cacheFile, readEntries, writeEntry } from "../../src/gpu/adapter-cache.js";
import { cacheFolder, findInCache } from "../../src/gpu/cache-folder.js";

const user = process.getuid?.();
const ANOTHER = 71_234;

let folder = "";
/** Where the fallback is to be. */
let fallback = "";

beforeEach(() => {
  folder = mkdtempSync(join(os.tmpdir(), "stylizing-folder-"));
  const temporary = join(folder, "tmp");
  mkdirSync(temporary);
  for (const name of ["TMPDIR", "TEMP", "TMP"]) vi.stubEnv(name, temporary);
  fallback = join(temporary, user === undefined ? "stylizing-vit" : `stylizing-vit-${user}`);
  vi.stubEnv("XDG_CACHE_HOME", undefined);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const mode = (path: string) => statSync(path).mode & 0o777;
/** A name where nothing can be made, whoever asks. */
function impossible(): string {
  const file = join(folder, "a file");
  writeFileSync(file, "");
  return join(file, "below");
}

describe("the cache folder", () => {
  it("is XDG_CACHE_HOME's, else the home's", () => {
    vi.stubEnv("XDG_CACHE_HOME", join(folder, "cache"));
    expect(cacheFolder()).toBe(join(folder, "cache", "stylizing-vit"));
    vi.stubEnv("XDG_CACHE_HOME", "");
    for (const name of ["HOME", "USERPROFILE"]) vi.stubEnv(name, join(folder, "home"));
    expect(cacheFolder()).toBe(join(folder, "home", ".cache", "stylizing-vit"));
    vi.stubEnv("XDG_CACHE_HOME", "~/own");
    expect(cacheFolder()).toBe(join(folder, "home", "own", "stylizing-vit"));
    expect(existsSync(fallback)).toBe(false);
  });

  it("is one of the user's among temporary files where that cannot be written", () => {
    vi.stubEnv("XDG_CACHE_HOME", impossible());
    expect(cacheFolder()).toBe(fallback);
    if (user !== undefined) expect(mode(fallback)).toBe(0o700);
    expect(cacheFolder()).toBe(fallback);
  });

  it.skipIf(user === undefined)("and where there is no home, or an empty one", () => {
    vi.stubEnv("HOME", "");
    expect(cacheFolder()).toBe(fallback);
    vi.stubEnv("XDG_CACHE_HOME", "~/own");
    expect(cacheFolder()).toBe(fallback);
    expect([".cache", "own", "~"].filter((path) => existsSync(path))).toEqual([]);
  });

  it.skipIf(user === undefined)("and where other users may write to it", () => {
    vi.stubEnv("XDG_CACHE_HOME", join(folder, "cache"));
    mkdirSync(cacheFolder(), { recursive: true });
    for (const bits of [0o775, 0o757, 0o777]) {
      chmodSync(join(folder, "cache", "stylizing-vit"), bits);
      expect(cacheFolder()).toBe(fallback);
    }
    chmodSync(join(folder, "cache", "stylizing-vit"), 0o755);
    expect(cacheFolder()).toBe(join(folder, "cache", "stylizing-vit"));
  });

  const refused = expect.objectContaining({
    code: "OUTPUT",
    message: expect.stringContaining(join("tmp", "stylizing-vit-")),
    fix: expect.stringContaining("XDG_CACHE_HOME"),
  });
  const refusal = (): unknown => {
    vi.stubEnv("XDG_CACHE_HOME", impossible());
    try {
      return cacheFolder();
    } catch (error) {
      return error;
    }
  };

  it.skipIf(user === undefined).each([0o770, 0o720, 0o702, 0o777])(
    "is none where the user's temporary one has mode %o",
    (bits) => {
      mkdirSync(fallback);
      chmodSync(fallback, bits);
      expect(refusal()).toEqual(refused);
    },
  );

  it.skipIf(user === undefined)("nor where a link, a file or nothing that can be made is in its place", () => {
    const elsewhere = join(folder, "elsewhere");
    mkdirSync(elsewhere, { mode: 0o700 });
    symlinkSync(elsewhere, fallback);
    expect(refusal()).toEqual(refused);
    rmSync(fallback);
    symlinkSync(join(folder, "nowhere"), fallback);
    expect(refusal()).toEqual(refused);
    expect(existsSync(join(folder, "nowhere"))).toBe(false);
    rmSync(fallback);
    writeFileSync(fallback, "");
    expect(refusal()).toEqual(refused);
    vi.stubEnv("TMPDIR", impossible());
    expect(refusal()).toMatchObject({ code: "OUTPUT" });
  });

  it("nor where another user made it", (test) => {
    if (user !== 0) test.skip("only root can give a folder to another user");
    mkdirSync(fallback, { mode: 0o700 });
    chownSync(fallback, ANOTHER, ANOTHER);
    expect(refusal()).toEqual(refused);
  });
});

describe("what is found in it", () => {
  it.skipIf(user === undefined)("counts where no other user can have put it there", () => {
    vi.stubEnv("XDG_CACHE_HOME", join(folder, "cache"));
    const thing = join(cacheFolder(), "thing");
    expect(findInCache("thing", ["part"])).toBeUndefined();
    mkdirSync(thing, { mode: 0o755 });
    expect(findInCache("thing")).toBe(thing);
    expect(findInCache("thing", ["part"])).toBeUndefined();
    const part = join(thing, "part");
    writeFileSync(part, "", { mode: 0o644 });
    expect(findInCache("thing", ["part"])).toBe(thing);
    for (const [path, bits] of [
      [part, 0o644],
      [thing, 0o755],
      [cacheFolder(), 0o755],
    ] as const) {
      for (const more of [0o020, 0o002]) {
        chmodSync(path, bits | more);
        expect(findInCache("thing", ["part"])).toBeUndefined();
      }
      chmodSync(path, bits);
      if (user === 0) {
        chownSync(path, ANOTHER, ANOTHER);
        expect(findInCache("thing", ["part"])).toBeUndefined();
        chownSync(path, 0, 0);
      }
    }
    rmSync(part);
    writeFileSync(join(folder, "target"), "");
    symlinkSync(join(folder, "target"), part);
    expect(findInCache("thing", ["part"])).toBeUndefined();
  });

  it("is forgotten, and no failure, where there is no folder at all", () => {
    vi.stubEnv("XDG_CACHE_HOME", impossible());
    for (const name of ["TMPDIR", "TEMP", "TMP"]) vi.stubEnv(name, impossible());
    const file = cacheFile("tuning.json");
    expect(file).toBeUndefined();
    writeEntry(file, "a", 1);
    expect(readEntries(file)).toEqual({});
  });
});
