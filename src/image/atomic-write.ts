import { createHash, randomBytes } from "node:crypto";
import { readlinkSync } from "node:fs";
import { open, opendir, readdir, realpath, rename, rm, stat, unlink } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { messageOf, StylizingError } from "../errors.js";
import { makeFolder } from "./make-folder.js";

/**
 * Writes a file so that nobody ever sees half of it: into `.<name>.<pid>.<machine>.<random>.partial` in the same folder, flushed to
 * disk, then renamed over the target. The partial file is removed when anything fails. A link is written through.
 * Throws `OUTPUT`; the target is then as it was before. What is too large to be held is given piece by piece; a
 * `StylizingError` of the giver's is passed on.
 */
export async function writeFileAtomic(file: string, bytes: Uint8Array | string | AsyncIterable<Uint8Array>): Promise<void> {
  let partial: string | undefined;
  try {
    const target = await writableTarget(file);
    partial = partialOf(target);
    const handle = await open(partial, "wx");
    try {
      // Node takes iterables here since 14.18; its types do not say so.
      await handle.writeFile(bytes as Uint8Array);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, target);
  } catch (error) {
    if (partial !== undefined) await rm(partial, { force: true }).catch(() => {});
    throw outputError(file, error);
  }
}

/**
 * Creates a folder with its parents where it does not exist and writes a trial file into it, so that a long run fails
 * at its start and not at its first result. Throws `OUTPUT`.
 */
export async function ensureOutputFolder(folder: string): Promise<void> {
  try {
    await makeFolder(folder);
    const trial = path.join(folder, partialName("trial"));
    await (await open(trial, "wx")).close();
    await unlink(trial);
  } catch (error) {
    throw outputError(folder, error, "folder");
  }
}

/**
 * Makes the folder of a file, and fails before a long run and not after it where the file cannot be written. A device such as /dev/null
 * must not be replaced by a file. Throws `OUTPUT`.
 */
export async function ensureOutputFile(file: string): Promise<void> {
  const there = await stat(file).catch(() => undefined);
  if (there && !there.isFile()) {
    throw new StylizingError(
      "OUTPUT",
      `${file} is ${there.isDirectory() ? "a folder" : "a device or a pipe"} and cannot be replaced by a file.`,
      "Give the name of a file.",
    );
  }
  await ensureOutputFolder(path.dirname(file));
}

/** Errors that every other write to the disk will fail with as well. */
const DISK_ERRORS = new Set(["ENOSPC", "EDQUOT", "EROFS"]);

/** Whether a failed write means that the disk takes no more. */
export const diskIsFull = (error: unknown): boolean =>
  error instanceof StylizingError && DISK_ERRORS.has((error.cause as NodeJS.ErrnoException | undefined)?.code ?? "");

/** Of this machine, and of the processes that it sees: numbers of processes mean something among those only. */
const MACHINE = createHash("sha256").update(`${hostname()} ${processesSeen()}`).digest("hex").slice(0, 8);

/** Number of the process, and machine, which older versions do not name. */
const PARTIAL = /^\..+?\.(\d+)(?:\.([0-9a-f]{8}))?\.[0-9a-f]{12}\.partial$/;

/** Containers of one machine may have its name and yet processes of their own. */
function processesSeen(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "";
  }
}

const partialName = (base: string): string => `.${base}.${process.pid}.${MACHINE}.${randomBytes(6).toString("hex")}.partial`;

/** Where what becomes `target` is written first. The name is cut so that a long one does not exceed the 255 bytes of most file systems. */
export const partialOf = (target: string): string =>
  path.join(path.dirname(target), partialName(path.basename(target).slice(0, 40)));

/**
 * Removes partial files of processes that are no more: of a slide they are as large as a disk. Those of other machines, which may write into
 * the same folder, and what cannot be removed stay.
 */
export async function removeStale(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch((): string[] => [])) {
    const [, pid, machine = MACHINE] = PARTIAL.exec(name) ?? [];
    if (pid !== undefined && machine === MACHINE && !isRunning(Number(pid)))
      await rm(path.join(folder, name), { force: true }).catch(() => {});
  }
}

/** Removes the partial files of everyone at any depth, once all is there: who is writing still, too late, fails at that alone. */
export async function removePartial(folder: string): Promise<void> {
  for await (const entry of await opendir(folder, { recursive: true }))
    if (PARTIAL.test(entry.name)) await rm(path.join(entry.parentPath, entry.name), { force: true });
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Another user's may not be asked.
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** The file that is really meant. A rename over a device such as /dev/null would replace the device, so it is refused. */
export async function writableTarget(file: string): Promise<string> {
  let target = file;
  try {
    target = await realpath(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return file;
    throw error;
  }
  const about = await stat(target);
  if (about.isDirectory()) throw Object.assign(new Error("it is a folder"), { code: "EISDIR" });
  if (!about.isFile()) {
    throw new StylizingError(
      "OUTPUT",
      `${file} is a device or a pipe and cannot be replaced by a file.`,
      "Give the name of a file.",
    );
  }
  return target;
}

/** What a failed write means and what to do about it. `kind` says what was to be written. */
export function outputError(target: string, error: unknown, kind: "file" | "folder" = "file"): StylizingError {
  if (error instanceof StylizingError) return error;
  const cause = error as NodeJS.ErrnoException;
  const folder = path.dirname(path.resolve(target));
  const where = kind === "folder" ? `The folder ${target}` : target;
  const [problem, fix] = ((): [string, string] => {
    switch (cause?.code) {
      case "ENOENT":
        if (kind === "folder") return [`${where} cannot be created in ${folder}.`, "Write somewhere else."];
        return [`${where} cannot be written: there is no folder ${folder}.`, "Create it or give another one."];
      case "ENOTDIR":
      case "EEXIST":
        return [`${where} cannot be written: a file stands where a folder should be.`, "Remove that file or give another path."];
      case "EISDIR":
        return [`${where} cannot be written: it is a folder.`, "Give the name of a file in it, or remove the folder."];
      case "EACCES":
      case "EPERM":
        return [`${where} may not be written.`, "Change the permissions or write somewhere else."];
      case "EROFS":
        return [`${where} is on a file system that is read-only.`, "Write somewhere else."];
      case "ENOSPC":
      case "EDQUOT":
        return [`${where} could not be written: the disk is full.`, "Free some space or write to another disk."];
      case "ENAMETOOLONG":
        return [`${where} cannot be written: the name is too long.`, "Give a shorter one."];
      default:
        return [`${where} could not be written: ${messageOf(error)}.`, "Check the path and the disk."];
    }
  })();
  return new StylizingError("OUTPUT", problem, fix, { cause: error });
}
