import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { makeFolderSync } from "../image/make-folder.js";
import { cacheFolder, findInCache } from "./cache-folder.js";
import { bindingVersion } from "./dawn.js";
import type { AdapterFacts } from "./profile.js";

/**
 * What was found out about adapters, in JSON files that any process may lose, damage or write at the same time: what cannot be
 * read is found out again, and what cannot be written costs a moment next time.
 */

/** One driver of one adapter under one version of the binding: a new one of any of them is found out about anew. */
export function adapterKey(facts: AdapterFacts): string {
  return [bindingVersion(), facts.vendor, facts.architecture, facts.device, facts.description].join("|");
}

/** Where a file is kept; undefined where no folder can be had. */
export function cacheFile(name: string): string | undefined {
  try {
    return findInCache(name) ?? join(cacheFolder(), name);
  } catch {
    // Found out again by the next process.
    return undefined;
  }
}

/** Entries of a file by key; none where it is missing or damaged. */
export function readEntries(file: string | undefined): Record<string, unknown> {
  if (file === undefined) return {};
  try {
    const parsed: unknown = JSON.parse(readFileSync(file, "utf8"));
    return parsed && typeof parsed === "object" && !Array.isArray(parsed) ? (parsed as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Replaces one entry; the file appears whole or not at all. */
export function writeEntry(file: string | undefined, key: string, entry: unknown): void {
  if (file === undefined) return;
  try {
    makeFolderSync(dirname(file));
    const partial = `${file}.${process.pid}.partial`;
    writeFileSync(partial, JSON.stringify({ ...readEntries(file), [key]: entry }, null, 2));
    renameSync(partial, file);
  } catch {
    // A cache that cannot be written is no failure.
  }
}
