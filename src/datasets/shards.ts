import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { StylizingError } from "../errors.js";
import { byCodeUnits, someOf } from "../image/folder.js";
import { ALL } from "./folder.js";

/** What names shards of each kind. */
export const TARS = /\.(tar|tar\.gz|tgz)$/i;
export const PARQUETS = /\.parquet$/i;

/** Whether a path is a pattern, `shard-{000000..000009}.tar` or `train-*.parquet`, and no name. */
export const isPattern = (given: string): boolean => /[{*?]/.test(given);

const matches = (name: string, pattern: string): boolean => {
  const escaped = pattern
    .replace(/[\\^$+.()|[\]{}]/g, "\\$&")
    .replaceAll("*", "[^/]*")
    .replaceAll("?", "[^/]");
  return new RegExp(`^${escaped}$`).test(name);
};

const namesIn = async (folder: string): Promise<string[]> =>
  (await readdir(folder).catch(() => [])).filter((name) => !name.startsWith(".")).sort(byCodeUnits);

/** Files of one kind in a folder or in one of these below it, the first that has some. */
export async function filesIn(root: string, kind: RegExp, below: readonly string[]): Promise<string[]> {
  for (const folder of ["", ...below]) {
    const names = (await namesIn(path.join(root, folder))).filter((name) => kind.test(name));
    if (names.length > 0) return names.map((name) => path.join(root, folder, name));
  }
  return [];
}

/**
 * Files of a data set of several: one that is named, those of a pattern, or those in a folder (or in its folder `data`, or that of
 * the split). Of several splits in one folder, names that begin with the split: `train-00000.parquet`.
 * @throws StylizingError `ARGUMENT` where there is none, or one of a range is missing.
 */
export async function listShards(given: string, kind: RegExp, split: string | undefined, what: string): Promise<string[]> {
  const about = await stat(given).catch(() => undefined);
  if (about?.isFile()) return [given];
  const files: string[] = [];
  if (about) {
    const all = await filesIn(given, kind, [split ?? "train", "data"]);
    const isOf = (file: string, name: string) =>
      path.basename(path.dirname(file)) === name || path.basename(file).startsWith(name);
    const wanted = all.filter((file) => isOf(file, split ?? "train"));
    const chosen = split === ALL || (split === undefined && wanted.length === 0) ? all : wanted;
    if (chosen.length === 0 && all.length > 0) {
      const found = someOf(all.map((file) => path.basename(file)));
      const problem = `${given} has no ${what} of the split ${split}: ${found}.`;
      throw new StylizingError("ARGUMENT", problem, `Name a split that files begin with, or "${ALL}".`);
    }
    files.push(...chosen);
  } else {
    const { expand } = await import("brace-expansion");
    for (const one of isPattern(given) ? expand(given, { max: 1_000_000 }) : [given]) {
      if (!/[*?]/.test(one)) files.push(one);
      else {
        const folder = path.dirname(one);
        const names = (await namesIn(folder)).filter((name) => matches(name, path.basename(one)));
        files.push(...names.map((name) => path.join(folder, name)));
      }
    }
    for (const file of files) {
      if ((await stat(file).catch(() => undefined))?.isFile()) continue;
      throw new StylizingError("ARGUMENT", `There is no file ${file}.`, "Check the path, and the range of its numbers.");
    }
  }
  if (files.length > 0) return files;
  throw new StylizingError("ARGUMENT", `There are no ${what} in ${given}.`, `Give a folder of them, one of them, or a pattern.`);
}
