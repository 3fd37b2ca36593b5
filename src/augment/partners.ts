import { posix } from "node:path";
import { StylizingError } from "../errors.js";
import type { InputFile } from "./inputs.js";

/** Images of two sets that belong together, and those that have nobody. */
export interface Partners {
  pairs: { name: string; a: number; b: number }[];
  /** Indices in each set. */
  alone: { a: number[]; b: number[] };
}

/** Below its folder, without its ending. */
const pairName = ({ name }: InputFile): string => name.slice(0, name.length - posix.extname(name).length);

/** @throws StylizingError `ARGUMENT` where two have one name */
function byName(files: readonly InputFile[]): Map<string, number> {
  const names = new Map<string, number>();
  for (const [index, file] of files.entries()) {
    const name = pairName(file);
    const before = names.get(name);
    if (before !== undefined) {
      const problem = `${files[before]!.path} and ${file.path} have one name but for their endings.`;
      throw new StylizingError("ARGUMENT", problem, "Rename one of them: pairs are found by their names without endings.");
    }
    names.set(name, index);
  }
  return names;
}

/**
 * Pairs images by their names below their folders, without endings: `x/1.png` with `x/1.jpg`.
 * @throws StylizingError `ARGUMENT` where a name occurs twice in a set, or none has a partner
 */
export function pairByName(a: readonly InputFile[], b: readonly InputFile[]): Partners {
  const [ones, others] = [byName(a), byName(b)];
  const pairs = [...ones].flatMap(([name, at]) => {
    const partner = others.get(name);
    return partner === undefined ? [] : [{ name, a: at, b: partner }];
  });
  if (pairs.length === 0) {
    const problem = `No image of the ${a.length} and ${b.length} has a partner: ${[...ones.keys()][0]} is not in the other set.`;
    throw new StylizingError(
      "ARGUMENT",
      problem,
      "Give pairs one name below their folders (endings may differ), or leave --pairs away.",
    );
  }
  const alone = (mine: ReadonlyMap<string, number>, theirs: ReadonlyMap<string, number>) =>
    [...mine].flatMap(([name, at]) => (theirs.has(name) ? [] : [at]));
  return { pairs, alone: { a: alone(ones, others), b: alone(others, ones) } };
}
