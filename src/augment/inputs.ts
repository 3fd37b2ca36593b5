import { realpath, stat } from "node:fs/promises";
import { basename, posix } from "node:path";
import { StylizingError } from "../errors.js";
import { type LeftOut, listImages } from "../image/folder.js";
import { indexBelow } from "../random.js";

/** An image that was named on the command line or found in a folder that was. */
export interface InputFile {
  path: string;
  /** Path below the folder that was given, with "/" on every system and without the ending; the bare name for a file. */
  name: string;
}

const stem = (name: string) => name.slice(0, name.length - posix.extname(name).length);

/**
 * Files as they are named, and the images below folders, at any depth and in order. A name that does not exist stays in
 * the list: it fails by itself, and the others are done. The folder `out` is passed over where it lies below one of them:
 * what is in it are results.
 */
export async function listInputs(
  paths: readonly string[],
  { out, leftOut }: { out?: string | undefined; leftOut: LeftOut },
): Promise<InputFile[]> {
  const files: InputFile[] = [];
  for (const path of paths) {
    const isFolder = await stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    );
    const found = isFolder ? await listImages(path, { except: out, leftOut }) : [{ path, name: basename(path) }];
    for (const { path, name } of found) files.push({ path, name: stem(name) });
  }
  return files;
}

export type Pairing = "each" | "all" | "random";

/** One image to paint; `content` and `style` count in the lists of inputs. */
export interface PaintJob {
  content: number;
  style: number;
  /** Below the output folder, without ending. */
  output: string;
}

/**
 * Which content is painted in which style, and under what name.
 * @throws StylizingError `ARGUMENT` where two results would have the same name.
 */
export function pairJobs(
  contents: readonly InputFile[],
  styles: readonly InputFile[],
  pairing: Pairing,
  seed: number,
): PaintJob[] {
  const jobs: PaintJob[] = [];
  if (pairing === "all") {
    for (const [content, { name }] of contents.entries()) {
      for (const [style, { name: other }] of styles.entries())
        jobs.push({ content, style, output: `${name}__${posix.basename(other)}` });
    }
  } else {
    const count = pairing === "each" ? Math.max(contents.length, styles.length) : contents.length;
    for (let i = 0; i < count; i++) {
      const content = i % contents.length;
      const style = pairing === "each" ? i % styles.length : indexBelow(styles.length, seed, i);
      // A content that comes round again would write over its first result.
      jobs.push({
        content,
        style,
        output:
          i < contents.length ? contents[content]!.name : `${contents[content]!.name}__${posix.basename(styles[style]!.name)}`,
      });
    }
  }
  const seen = new Map<string, PaintJob>();
  for (const job of jobs) {
    const other = seen.get(job.output);
    if (other) {
      const [a, b] = [other, job].map((j) => `${contents[j.content]!.path} in ${styles[j.style]!.path}`);
      throw new StylizingError(
        "ARGUMENT",
        `Two results would be called ${job.output}: ${a}, and ${b}.`,
        "Paint them into different folders, or give the folder above them.",
      );
    }
    seen.set(job.output, job);
  }
  return jobs;
}

/** @throws StylizingError `ARGUMENT` where a result would take the place of an image that was given, which would be lost. */
export async function refuseOverwriting(inputs: readonly string[], outputs: readonly string[]): Promise<void> {
  const real = (path: string) => realpath(path).catch(() => undefined);
  const given = new Set(await Promise.all(inputs.map(real)));
  for (const output of outputs) {
    const target = await real(output);
    if (target !== undefined && given.has(target)) {
      throw new StylizingError(
        "ARGUMENT",
        `${output} is both an image to read and the place of a result.`,
        "Give another place for results.",
      );
    }
  }
}
