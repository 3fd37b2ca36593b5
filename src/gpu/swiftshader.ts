import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, dirname, join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { messageOf, StylizingError } from "../errors.js";
import { findInCache, inCacheFolder, isTrusted } from "./cache-folder.js";
import { openLibrary, setVariable } from "./native.js";

/**
 * A Vulkan driver that runs on the CPU, for machines that have none: SwiftShader, as the npm package
 * `@sparticuz/chromium` carries it (Linux x64). Nothing is installed: the archive is unpacked into a cache folder and
 * its loader opened by this process alone.
 */

const PACKAGE = "@sparticuz/chromium";
const WANTED = ["libvulkan.so.1", "libvk_swiftshader.so", "vk_swiftshader_icd.json"];

/** Path of the archive inside the optional package, or undefined where the package is not installed. */
function archivePath(): string | undefined {
  try {
    const entry = createRequire(import.meta.url).resolve(PACKAGE);
    for (let folder = dirname(entry); folder !== dirname(folder); folder = dirname(folder)) {
      const path = join(folder, "bin", "swiftshader.tar.br");
      if (existsSync(path)) return path;
    }
  } catch {
    // Not installed: the caller says so, with the cure.
  }
  return undefined;
}

/** Whether this machine could use the software driver: the right platform and the optional package installed. */
export function softwareDriverAvailable(): boolean {
  return process.platform === "linux" && process.arch === "x64" && archivePath() !== undefined;
}

/** Regular files of an uncompressed tar archive (ustar, short names), by base name. */
function untar(archive: Buffer): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (let at = 0; at + 512 <= archive.length && archive[at] !== 0; ) {
    const name = archive.toString("latin1", at, at + 100).replace(/\0.*$/s, "");
    const size = Number.parseInt(archive.toString("latin1", at + 124, at + 136), 8);
    files.set(name.split("/").pop() ?? name, archive.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}

/** Unpacks the driver once per archive version; two processes may do it at once, the first rename wins. */
function unpack(archive: string): string {
  const bytes = readFileSync(archive);
  const name = `swiftshader-${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}`;
  // A loader of drivers is told of them in a list: whichever folder has a separator in its name will not do.
  const fits = (folder: string) => !folder.includes(delimiter);
  const there = findInCache(name, WANTED, fits);
  if (there !== undefined) return there;

  const files = untar(brotliDecompressSync(bytes));
  for (const file of WANTED) if (!files.has(file)) throw new Error(`${archive} does not contain ${file}`);
  return inCacheFolder((cache) => {
    if (!fits(cache)) throw new Error(`the Vulkan loader takes a name with "${delimiter}" in it for two`);
    const folder = join(cache, name);
    const partial = mkdtempSync(`${folder}.partial-`);
    try {
      // Whatever the umask: others may read it, and what they could change would not be taken for the driver.
      chmodSync(partial, 0o755);
      for (const file of WANTED) writeFileSync(join(partial, file), files.get(file)!, { mode: 0o644 });
      try {
        renameSync(partial, folder);
      } catch {
        // Either another process was first, or what is there has lost a file or is not to be trusted.
        if (!isTrusted(folder, WANTED)) {
          rmSync(folder, { recursive: true, force: true });
          renameSync(partial, folder);
        }
      }
    } finally {
      rmSync(partial, { recursive: true, force: true });
    }
    return folder;
  });
}

let opened: string | undefined;

/**
 * Makes SwiftShader the Vulkan driver of this process and returns the folder it was unpacked to. It must come before
 * the first Dawn instance that is to see it; calling it again does nothing.
 * @throws Error where the package is missing or the archive is damaged; StylizingError `OUTPUT` where there is no folder to unpack
 *   it into, `NO_ADAPTER` where it cannot be loaded from there.
 */
export function openSoftwareDriver(): string {
  if (opened) return opened;
  const archive = archivePath();
  if (!archive) throw new Error(`the npm package ${PACKAGE} is not installed`);
  const folder = unpack(archive);
  try {
    setVariable("VK_DRIVER_FILES", join(folder, "vk_swiftshader_icd.json"));
    // Dawn opens `libvulkan.so.1` by name and finds ours.
    openLibrary(join(folder, "libvulkan.so.1"), true);
  } catch (error) {
    throw new StylizingError(
      "NO_ADAPTER",
      `The software driver in ${folder} cannot be loaded: ${messageOf(error)}.`,
      "Where programs may not be run from that folder (noexec), set XDG_CACHE_HOME to one from which they may; Deno has to be started with --allow-ffi.",
      { cause: error },
    );
  }
  opened = folder;
  return folder;
}
