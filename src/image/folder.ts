import { readdir } from "node:fs/promises";
import { extname, join, resolve } from "node:path";

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
