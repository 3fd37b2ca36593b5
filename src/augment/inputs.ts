import { stat } from "node:fs/promises";
import path from "node:path";
import { messageOf, StylizingError } from "../errors.js";
import { decodeImage } from "../image/decode.js";
import type { OutputFormat } from "../image/encode.js";
import { type FoundImage, type LeftOut, listImages, someOf } from "../image/folder.js";
import { resultNames } from "../image/result-names.js";
import { Slide } from "../image/slide.js";
import { indexBelow } from "../random.js";
import { refuseSameNames } from "./outputs.js";

/** An image that was named on the command line or found in a folder that was. */
export interface InputFile extends FoundImage {
  /** Which of several pages, counted from 1. */
  page?: number;
  /** What is painted by rows, since it is too large to be held. */
  slide?: Slide;
  /** Why it cannot be read, where that is known already. */
  error?: unknown;
}

/**
 * Files as they are named, and the images below folders, at any depth and in order. A name that does not exist stays in
 * the list: it fails by itself, and the others are done. The folder `out` is passed over where it lies below one of them:
 * what is in it are results.
 * @param slides whether files that are named may be whole slides.
 */
export async function listInputs(
  paths: readonly string[],
  { out, leftOut, slides = false }: { out?: string | undefined; leftOut: LeftOut; slides?: boolean },
): Promise<InputFile[]> {
  const files: InputFile[] = [];
  for (const given of paths) {
    const about = await stat(given).catch(() => undefined);
    if (about?.isDirectory()) for (const found of await listImages(given, { except: out, leftOut })) files.push(found);
    else if (about) files.push({ path: given, name: path.basename(given), ...(slides ? await slideIn(given) : {}) });
    else files.push({ path: given, name: path.basename(given), error: await whyUnreadable(given) });
  }
  return files;
}

const slideIn = (file: string): Promise<Pick<InputFile, "slide" | "error">> =>
  Slide.find(file).then(
    (slide) => (slide ? { slide } : {}),
    (error: unknown) => ({ error }),
  );

const whyUnreadable = (file: string): Promise<unknown> =>
  decodeImage(file, { channels: 3 }).then(
    () => undefined,
    (error: unknown) => error,
  );

/** What is known already of files that cannot be read, each once. */
export const knownErrors = (files: readonly InputFile[]): Set<string> =>
  new Set(files.flatMap(({ error }) => (error === undefined ? [] : [messageOf(error)])));

export type Pairing = "each" | "all" | "random";

/** One image to paint; `content` and `style` count in the lists of inputs. The list of styles is empty where none is needed. */
export interface PaintJob {
  content: number;
  style: number;
  /** Below the output folder, without ending, with "/" on every system. */
  output: string;
  /** Whether its content is a whole slide, and its result a TIFF. */
  slide?: boolean;
}

/** Where its result goes. */
export const resultFile = (
  { output, slide }: Pick<PaintJob, "output" | "slide">,
  { out, format }: { out: string; format: OutputFormat },
  { join } = path,
): string => join(out, `${output}.${slide ? "tif" : format}`);

/** What a report calls a job's images. */
export function pathsOf(
  job: PaintJob,
  contents: readonly InputFile[],
  styles: readonly InputFile[],
): { content: string; style?: string; contentPage?: number; stylePage?: number } {
  const [content, style] = [contents[job.content]!, styles[job.style]];
  return {
    ...{ content: content.path, ...(style ? { style: style.path } : {}) },
    ...(content.page === undefined ? {} : { contentPage: content.page }),
    ...(style?.page === undefined ? {} : { stylePage: style.page }),
  };
}

/**
 * Which content is painted in which style, and under what name.
 * @throws StylizingError `ARGUMENT` where two results would have the same name, or `each` has nothing to pair an image with.
 */
export function pairJobs(
  contents: readonly InputFile[],
  styles: readonly InputFile[],
  pairing: Pairing,
  seed: number,
): PaintJob[] {
  const names = resultNames(contents.map(({ name }) => name));
  if (styles.length === 0) {
    refuseSameNames(names, (index) => contents[index]!.path);
    return names.map((output, content) => ({ content, style: 0, output }));
  }
  const inStyle = resultNames(styles.map(({ name }) => path.posix.basename(name)));
  const jobs: PaintJob[] = [];
  if (pairing === "all") {
    for (const [content, name] of names.entries())
      for (const [style, other] of inStyle.entries()) jobs.push({ content, style, output: `${name}__${other}` });
  } else {
    const [n, m] = [contents.length, styles.length];
    if (pairing === "each" && n !== m && n !== 1 && m !== 1)
      throw new StylizingError(
        "ARGUMENT",
        `--pair each takes the i-th content with the i-th style, and there are ${n} contents and ${m} styles.`,
        "Give as many of both, or one of either; or use --pair random or all.",
      );
    for (let i = 0; i < (pairing === "each" ? Math.max(n, m) : n); i++) {
      const content = i % n;
      const style = pairing === "each" ? i % m : indexBelow(m, seed, i);
      // A content that comes round again would write over its first result.
      jobs.push({ content, style, output: i < n ? names[content]! : `${names[content]}__${inStyle[style]}` });
    }
  }
  refuseSameNames(
    jobs.map(({ output }) => output),
    (index) => `${contents[jobs[index]!.content]!.path} in ${styles[jobs[index]!.style]!.path}`,
  );
  return jobs.map((job) => (contents[job.content]!.slide ? { ...job, slide: true } : job));
}

/** @throws StylizingError `ARGUMENT` where there is no job whose images may be readable */
export function refuseUnreadable(jobs: readonly PaintJob[], contents: readonly InputFile[], styles: readonly InputFile[]): void {
  const unreadable = new Set<InputFile>();
  for (const { content, style } of jobs) {
    const lost = [contents[content]!, styles[style]].filter((file) => file?.error !== undefined) as InputFile[];
    if (lost.length === 0) return;
    for (const file of lost) unreadable.add(file);
  }
  const [first] = unreadable;
  const paths = [...unreadable].map(({ path }) => path);
  throw new StylizingError("ARGUMENT", `Nothing can be painted without ${someOf(paths)}.`, messageOf(first!.error));
}
