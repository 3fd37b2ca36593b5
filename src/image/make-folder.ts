import { mkdirSync, statSync } from "node:fs";
import { mkdir, stat } from "node:fs/promises";
import path from "node:path";

// mkdir with `recursive` never returns where nothing can be created, /proc for one, so the parents are made by hand.

const isMissingParent = (error: unknown, folder: string): boolean =>
  (error as NodeJS.ErrnoException).code === "ENOENT" && path.dirname(folder) !== folder;

/** Creates a folder with its parents where it does not exist. Throws what mkdir throws. */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    const about = await stat(folder).catch(() => undefined);
    if (about?.isDirectory()) return;
    if (!isMissingParent(error, folder)) throw error;
    await makeFolder(path.dirname(folder));
    await mkdir(folder).catch((again: NodeJS.ErrnoException) => {
      // Somebody else was faster.
      if (again.code !== "EEXIST") throw again;
    });
  }
}

/** The same at once, with a mode for what is created. */
export function makeFolderSync(folder: string, mode = 0o777): void {
  try {
    mkdirSync(folder, mode);
  } catch (error) {
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return;
    if (!isMissingParent(error, folder)) throw error;
    makeFolderSync(path.dirname(folder), mode);
    try {
      mkdirSync(folder, mode);
    } catch (again) {
      if ((again as NodeJS.ErrnoException).code !== "EEXIST") throw again;
    }
  }
}
