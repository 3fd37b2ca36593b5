import { posix } from "node:path";
import { byCodeUnits } from "./folder.js";

/** The same for names that some file system takes for one: of other case, or of another of Unicode's forms. */
export const folded = (name: string): string => name.normalize("NFD").toLowerCase().toUpperCase().normalize("NFD");

/**
 * Names for results of files: without their endings; with them where two would otherwise be one on some file system; and with a
 * number where even these would be. What a file's result is called depends on the names alone and not on their order; equal names
 * stay equal.
 * @param names with "/" on every system.
 */
export function resultNames(names: readonly string[]): string[] {
  const unique = [...new Set(names)].sort(byCodeUnits);
  const chosen = new Map(unique.map((name) => [name, name.slice(0, name.length - posix.extname(name).length)]));
  // An ending that is kept may meet what another is called without one.
  for (let changed = true; changed; ) {
    changed = false;
    const counts = new Map<string, number>();
    for (const name of chosen.values()) counts.set(folded(name), (counts.get(folded(name)) ?? 0) + 1);
    for (const [name, result] of chosen) {
      if (result === name || counts.get(folded(result)) === 1) continue;
      chosen.set(name, name);
      changed = true;
    }
  }
  const taken = new Set<string>();
  const take = (name: string) => !taken.has(folded(name)) && taken.add(folded(name));
  for (const name of unique.filter((name) => !take(chosen.get(name)!))) {
    let number = 2;
    while (!take(`${name}.${number}`)) number++;
    chosen.set(name, `${name}.${number}`);
  }
  return names.map((name) => chosen.get(name)!);
}
