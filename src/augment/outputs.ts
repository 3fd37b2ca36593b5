import { realpath, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { StylizingError } from "../errors.js";
import { realOf, someOf } from "../image/folder.js";
import { folded } from "../image/result-names.js";

/**
 * Refuses names of results that are one on some file system.
 * @param what is drawn from which files, for the message.
 * @throws StylizingError `ARGUMENT`
 */
export function refuseSameNames(names: readonly string[], what: (index: number) => string): void {
  const seen = new Map<string, number>();
  for (const [index, name] of names.entries()) {
    const other = seen.get(folded(name));
    if (other !== undefined)
      throw new StylizingError(
        "ARGUMENT",
        `Two results would be called ${name}: ${what(other)}, and ${what(index)}.`,
        "Write them into different folders, or give the folder above them.",
      );
    seen.set(folded(name), index);
  }
}

/**
 * Looks where results would go.
 * @returns those in whose place there is a file already.
 * @throws StylizingError `ARGUMENT` where one would take the place of an image that was given, which would be lost, or of another one.
 */
export async function checkOutputs(inputs: readonly string[], outputs: readonly string[]): Promise<string[]> {
  const folders = new Map<string, Promise<string>>();
  // A folder that does not exist yet may lie behind a link.
  const folderOf = (file: string): Promise<string> => {
    const folder = dirname(file);
    let real = folders.get(folder);
    if (!real) {
      const up = async () => (dirname(folder) === folder ? folder : join(await folderOf(folder), basename(folder)));
      real = realpath(folder).catch(up);
      folders.set(folder, real);
    }
    return real;
  };
  const given = new Set(await Promise.all(inputs.map(realOf)));
  const places = await Promise.all(
    outputs.map(async (output) => {
      const real = await realpath(output).catch(() => undefined);
      if (real === undefined) return { place: join(await folderOf(output), basename(output)), taken: false };
      return { place: real, taken: (await stat(real)).isFile() };
    }),
  );
  const seen = new Map<string, string>();
  for (const [index, { place }] of places.entries()) {
    const output = outputs[index]!;
    const other = seen.get(folded(place));
    const problem = given.has(place)
      ? `${output} is both an image to read and the place of a result.`
      : other !== undefined && `${other} and ${output} are one file, and two results would go there.`;
    if (problem) throw new StylizingError("ARGUMENT", problem, "Give another place for results.");
    seen.set(folded(place), output);
  }
  return outputs.filter((_, index) => places[index]!.taken);
}

/** @throws StylizingError `ARGUMENT` where there are some, naming them */
export function refuseExisting(
  there: readonly string[],
  fix = "Replace them with --overwrite, leave them as they are with --skip-existing, or give another folder.",
): void {
  if (there.length === 0) return;
  const problem = `${there.length === 1 ? "A result exists" : `${there.length} results exist`} already: ${someOf(there)}.`;
  throw new StylizingError("ARGUMENT", problem, fix);
}
