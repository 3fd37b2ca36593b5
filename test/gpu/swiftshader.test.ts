import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { cacheFolder } from "../../src/gpu/cache-folder.js";
import { softwareDriverAvailable } from "../../src/gpu/swiftshader.js";

const FILES = ["libvk_swiftshader.so", "libvulkan.so.1", "vk_swiftshader_icd.json"];

/** The module anew, as another process would load it. */
async function openDriver(): Promise<string> {
  vi.resetModules();
  return (await import("../../src/gpu/swiftshader.js")).openSoftwareDriver();
}

describe.runIf(softwareDriverAvailable())("the software driver", () => {
  let home = "";
  let temporary = "";
  beforeAll(() => {
    home = mkdtempSync(join(tmpdir(), "stylizing-cache-"));
    // Where no run of this user's has left a driver: one that is there would be taken.
    temporary = mkdtempSync(join(tmpdir(), "stylizing-temporary-"));
    vi.stubEnv("XDG_CACHE_HOME", home);
    vi.stubEnv("TMPDIR", temporary);
  });
  afterAll(() => {
    vi.unstubAllEnvs();
    for (const folder of [home, temporary]) rmSync(folder, { recursive: true, force: true });
  });

  it("is unpacked into the cache folder, completely and without leftovers", async () => {
    const folder = await openDriver();
    expect(folder.startsWith(cacheFolder())).toBe(true);
    expect(folder.startsWith(home)).toBe(true);
    expect(readdirSync(folder).sort()).toEqual(FILES);
    expect(readdirSync(cacheFolder())).toHaveLength(1);
    expect(process.env.VK_DRIVER_FILES).toBe(join(folder, "vk_swiftshader_icd.json"));
  });

  it("is found again by the next process", async () => {
    const before = readdirSync(cacheFolder());
    await openDriver();
    expect(readdirSync(cacheFolder())).toEqual(before);
  });

  it("is unpacked again where a file of it was cleaned away", async () => {
    const folder = join(cacheFolder(), readdirSync(cacheFolder())[0]!);
    rmSync(join(folder, "libvk_swiftshader.so"));
    expect(await openDriver()).toBe(folder);
    expect(existsSync(join(folder, "libvk_swiftshader.so"))).toBe(true);
  });

  it.for<readonly [string, (file: string) => void]>([
    ["others may write to a file of it", (file) => chmodSync(file, 0o666)],
    ["others may write to its folder", (file) => chmodSync(join(file, ".."), 0o777)],
    ["a file of it is another user's", (file) => chownSync(file, 71_234, 71_234)],
    ["its folder is another user's", (file) => chownSync(join(file, ".."), 71_234, 71_234)],
  ])("is not loaded but unpacked again where %s", async ([what, spoil], test) => {
    if (what.includes("another user's") && process.getuid!() !== 0) test.skip("only root can give a file to another user");
    const folder = join(cacheFolder(), readdirSync(cacheFolder())[0]!);
    const file = join(folder, "libvulkan.so.1");
    const before = readFileSync(file);
    writeFileSync(file, "planted");
    spoil(file);
    expect(await openDriver()).toBe(folder);
    expect(readFileSync(file).equals(before)).toBe(true);
    expect([statSync(file).mode & 0o022, statSync(folder).mode & 0o022]).toEqual([0, 0]);
    expect([statSync(file).uid, statSync(folder).uid]).toEqual(Array(2).fill(process.getuid!()));
    expect(readdirSync(cacheFolder())).toHaveLength(1);
  });
});
