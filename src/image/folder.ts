import { readdir, stat } from "node:fs/promises";
import { basename, extname, join, relative, resolve } from "node:path";
import { StylizingError } from "../errors.js";

const IMAGES = new Set([".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".avif"]);

/**
 * Paths of the images below a folder, at any depth, told by their endings and in the order of their names. Hidden files
 * and folders are passed over, and so is the folder `except`.
 */
export async function listImages(folder: string, except?: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const found: string[] = [];
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith(".")) continue;
    const path = join(folder, entry.name);
    if (except !== undefined && resolve(path) === resolve(except)) continue;
    if (entry.isDirectory()) found.push(...(await listImages(path, except)));
    else if (IMAGES.has(extname(entry.name).toLowerCase())) found.push(path);
  }
  return found;
}

/**
 * The images below folders, each with its path below the one that was given, at any depth, by folder and then by name; a file stands for itself.
 * @param out passed over where it lies below one of them: what is in it are results.
 * @throws StylizingError `ARGUMENT` where a path does not exist or there is no image; `what` names them.
 */
export async function listDataset(
  paths: readonly string[],
  out: string,
  what: string,
): Promise<{ path: string; name: string }[]> {
  const files: { path: string; name: string }[] = [];
  for (const path of paths) {
    const about = await stat(path).catch(() => undefined);
    if (!about) throw new StylizingError("ARGUMENT", `The ${what} ${path} do not exist.`, "Check the path.");
    if (!about.isDirectory()) files.push({ path, name: basename(path) });
    else for (const found of await listImages(path, out)) files.push({ path: found, name: relative(path, found) });
  }
  if (files.length > 0) return files;
  const hold = "PNG, JPEG, WebP, TIFF, GIF or AVIF files, at any depth";
  if (paths.length === 0)
    throw new StylizingError(
      "ARGUMENT",
      `There are no ${what}: no folder of them is given.`,
      `Give folders that hold ${hold}: --data to train on, --val to validate with.`,
    );
  throw new StylizingError("ARGUMENT", `There are no ${what} in ${paths.join(", ")}.`, `Give folders that hold ${hold}.`);
}
