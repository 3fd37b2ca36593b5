import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** Newest modification time below a folder, in milliseconds. */
export function newest(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((latest, entry) => Math.max(latest, statSync(join(entry.parentPath, entry.name)).mtimeMs), 0);
}
