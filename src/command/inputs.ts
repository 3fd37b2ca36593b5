import { stat } from "node:fs/promises";
import { basename, dirname, extname, join, relative } from "node:path";
import { StylizingError } from "../errors.js";
import { listPictures } from "../image/folder.js";

/** A picture that was named on the command line or found in a folder that was. */
export interface InputFile {
  path: string;
  /** Path below the folder that was given, without the ending; the bare name for a file. */
  name: string;
}

const stem = (path: string) => join(dirname(path), basename(path, extname(path)));

/**
 * Files as they are named, and the pictures below folders, at any depth and in order. A name that does not exist stays in
 * the list: it fails by itself, and the others are done. The folder `out` is passed over where it lies below one of them:
 * what is in it are results.
 */
export async function listInputs(paths: readonly string[], out: string): Promise<InputFile[]> {
  const files: InputFile[] = [];
  for (const path of paths) {
    const isFolder = await stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (!isFolder) files.push({ path, name: basename(stem(path)) });
    else for (const found of await listPictures(path, out)) files.push({ path: found, name: stem(relative(path, found)) });
  }
  return files;
}

export type Pairing = "each" | "all" | "random";

/** One picture to paint; `content` and `style` count in the lists of inputs. */
export interface PaintJob {
  content: number;
  style: number;
  /** Below the output folder, without ending. */
  output: string;
}

/** A seeded whole number below `count`: the same on every machine (splitmix32 over the index). */
function seededIndex(seed: number, index: number, count: number): number {
  let x = (Math.imul(seed, 0x9e3779b9) + Math.imul(index + 1, 0x85ebca6b)) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return Math.floor((((x ^ (x >>> 15)) >>> 0) / 2 ** 32) * count);
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
        jobs.push({ content, style, output: `${name}__${basename(other)}` });
    }
  } else {
    const count = pairing === "each" ? Math.max(contents.length, styles.length) : contents.length;
    for (let i = 0; i < count; i++) {
      const content = i % contents.length;
      const style = pairing === "each" ? i % styles.length : seededIndex(seed, i, styles.length);
      // A content that comes round again would write over its first result.
      jobs.push({
        content,
        style,
        output: i < contents.length ? contents[content]!.name : `${contents[content]!.name}__${basename(styles[style]!.name)}`,
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
