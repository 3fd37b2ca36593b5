import { accessSync, constants, lstatSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { messageOf, StylizingError } from "../errors.js";
import { expandHome } from "../hub/api.js";
import { makeFolderSync } from "../image/make-folder.js";

/**
 * Where this program keeps what it can make again: an unpacked driver, verdicts about adapters. That is the user's cache, and where
 * it cannot be written (a container, a service without a home) a folder of the user's among the temporary ones, whose
 * neighbours are everybody's. A driver is loaded from there, so a folder counts only where others cannot have put it there.
 */

const NAME = "stylizing-vit";

/** The folder in the user's cache, whether or not it exists; undefined where the user has no home. */
function usualFolder(): string | undefined {
  try {
    const { XDG_CACHE_HOME } = process.env;
    if (XDG_CACHE_HOME) return join(expandHome(XDG_CACHE_HOME), NAME);
    const home = homedir();
    return isAbsolute(home) ? join(home, ".cache", NAME) : undefined;
  } catch {
    // Neither HOME nor an entry in the list of users.
    return undefined;
  }
}

/** Windows has no numbers of users, and gives each one temporary files of their own. */
function fallbackFolder(): string {
  const user = process.getuid?.();
  return join(tmpdir(), user === undefined ? NAME : `${NAME}-${user}`);
}

/** The usual folder first; they may not exist, and may not be ours. */
function cacheFolders(): string[] {
  const usual = usualFolder();
  return usual === undefined ? [fallbackFolder()] : [usual, fallbackFolder()];
}

/**
 * Whether nobody but this user and root can change what is at a path. A link may be anybody's to turn, so it does not count.
 * @throws Error where there is nothing.
 */
function isPrivate(path: string): boolean {
  const found = lstatSync(path);
  const user = process.getuid?.();
  if (user === undefined) return true;
  return !found.isSymbolicLink() && (found.uid === user || found.uid === 0) && (found.mode & 0o022) === 0;
}

/** Whether something in a cache folder is there, with the parts named, and only this user and root can have put it there. */
export function isTrusted(path: string, parts: readonly string[] = []): boolean {
  try {
    return [dirname(path), path, ...parts.map((part) => join(path, part))].every(isPrivate);
  } catch {
    return false;
  }
}

/**
 * What is there already and is to be trusted, also where nothing can be written, as in a container's image.
 * @param fits where not every folder will do.
 */
export function findInCache(
  name: string,
  parts: readonly string[] = [],
  fits: (folder: string) => boolean = () => true,
): string | undefined {
  return cacheFolders()
    .filter(fits)
    .map((folder) => join(folder, name))
    .find((path) => isTrusted(path, parts));
}

/**
 * Does `work` in the usual folder, and where that fails in the other.
 * @throws StylizingError `OUTPUT` where both fail, with the reasons.
 */
export function inCacheFolder<T>(work: (folder: string) => T): T {
  const folders = cacheFolders();
  const reasons = folders.length === 1 ? ["this user has no home"] : [];
  for (const folder of folders) {
    try {
      makeFolderSync(folder, folder === fallbackFolder() ? 0o700 : 0o755);
      if (!isPrivate(folder)) throw new Error("it is another user's, or a link, or other users may write to it");
      accessSync(folder, constants.W_OK | constants.X_OK);
      return work(folder);
    } catch (error) {
      reasons.push(`${folder} (${messageOf(error)})`);
    }
  }
  throw new StylizingError(
    "OUTPUT",
    `There is no folder for the cache: ${reasons.join("; ")}.`,
    "Set XDG_CACHE_HOME to a folder that you can write to and others cannot.",
  );
}

/**
 * A folder that can be written.
 * @throws StylizingError `OUTPUT` where there is none.
 */
export function cacheFolder(): string {
  return inCacheFolder((folder) => folder);
}
