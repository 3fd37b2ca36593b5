import { isUtf8 } from "node:buffer";
import { readdir, realpath, stat } from "node:fs/promises";
import path from "node:path";
import { messageOf, StylizingError } from "../errors.js";

const IMAGES = new Set([".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".avif"]);

/** Endings of images that are not read: a folder of them must not look like an empty one. */
const UNREAD = new Set(
  // Slides and microscopes.
  (
    ".svs .ndpi .ndpis .scn .mrxs .vms .vmu .bif .isyntax .qptiff .btf .czi .zvi .lif .lsm .nd2 .oir .oif .oib .vsi .ets " +
    // Scanners and volumes.
    ".dcm .dicom .nii .nrrd .mha .mhd .fits .fit " +
    // Cameras.
    ".heic .heif .hif .dng .raw .cr2 .cr3 .nef .arw .orf .rw2 .raf " +
    // Everything else.
    ".bmp .dib .jp2 .j2k .jpf .jpx .jpm .jxl .jxr .jfif .jpe .svg .psd .psb .tga .ico .pbm .pgm .ppm .pnm .pfm .hdr .exr .pcx .sgi .xcf .eps .apng"
  ).split(" "),
);

/** The first few of many names, and how many more there are. */
export function someOf(names: readonly string[], most = 3): string {
  const shown = names.slice(0, most).join(", ");
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}

/** What was left out where folders were read. What is met twice counts once. */
export class LeftOut {
  /** Endings by path. */
  readonly #kinds = new Map<string, string>();
  readonly #names = new Set<string>();
  /** Reasons by folder. */
  readonly #folders = new Map<string, string>();

  kind(file: string, ending: string): void {
    this.#kinds.set(file, ending);
  }

  name(file: string): void {
    this.#names.add(file);
  }

  folder(folder: string, error: unknown): void {
    this.#folders.set(folder, (error as NodeJS.ErrnoException).code ?? messageOf(error));
  }

  /** For people; nothing where nothing was left out. */
  lines(): string[] {
    const counts = new Map<string, number>();
    for (const ending of this.#kinds.values()) counts.set(ending, (counts.get(ending) ?? 0) + 1);
    const kinds = [...counts].sort(([, a], [, b]) => b - a).map(([ending, count]) => `${count} ${ending}`);
    return [
      ...[...this.#folders].map(([folder, reason]) => `left out: ${folder}, which cannot be read (${reason})`),
      ...(this.#names.size > 0 ? [`left out: names that are not UTF-8: ${someOf([...this.#names])}`] : []),
      ...(kinds.length > 0 ? [`left out: ${kinds.join(", ")} (kinds that are not read)`] : []),
    ];
  }
}

/** Says what `read` left out, also where it fails: that may be the reason. Throws as `read` does. */
export async function tellingLeftOut<T>(
  onNote: ((note: string) => void) | undefined,
  read: (leftOut: LeftOut) => Promise<T>,
): Promise<T> {
  const leftOut = new LeftOut();
  try {
    return await read(leftOut);
  } finally {
    for (const line of leftOut.lines()) onNote?.(line);
  }
}

/** An image that was found in a folder. */
export interface FoundImage {
  path: string;
  /** Path below the folder that was given, with "/" on every system. */
  name: string;
}

/** The path of a file below a folder, with "/" on every system. */
export const nameBelow = (folder: string, file: string, { relative, sep } = path): string =>
  relative(folder, file).replaceAll(sep, "/");

/** A name as people read it, of bytes that may be no text. */
const readable = (name: Buffer): string =>
  isUtf8(name)
    ? name.toString()
    : name.toString("latin1").replace(/[\x80-\xff]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16)}`);

/** As torchvision sorts: the same on every machine, whatever its language. */
export const byCodeUnits = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** As a walk from folder to folder meets them, each in the order of its names. */
function byParts(a: readonly string[], b: readonly string[]): number {
  const at = a.findIndex((part, i) => part !== b[i]);
  return byCodeUnits(a[at] ?? "", b[at] ?? "");
}

/** Whether a path is another one, or lies below it; both are real. */
export const isBelow = (place: string, above: string): boolean => `${place}${path.sep}`.startsWith(`${above}${path.sep}`);

/** Where a path leads to behind all links; what does not exist leads to itself. */
export const realOf = (place: string): Promise<string> => realpath(place).catch(() => path.resolve(place));

/**
 * The images below a folder, at any depth, told by their endings and in the order of their names. Links are followed. A folder
 * that is reached twice is read once, under its own name rather than a link's. Hidden files and folders are passed over, and so is the
 * folder `except`. What else cannot be taken is told to `leftOut`; nothing is thrown.
 */
export async function listImages(
  folder: string,
  { except, leftOut = new LeftOut() }: { except?: string | undefined; leftOut?: LeftOut | undefined } = {},
): Promise<FoundImage[]> {
  const root = await realOf(folder);
  const results = except === undefined ? undefined : await realOf(except);
  // Somebody who gives the results themselves wants them.
  const skipped = results === undefined || isBelow(root, results) ? undefined : results;
  const found: { path: string; parts: string[] }[] = [];
  const links: string[][] = [];
  const seen = new Set<string>();

  const read = async (parts: string[], real: string): Promise<void> => {
    if (seen.has(real) || (skipped !== undefined && isBelow(real, skipped))) return;
    seen.add(real);
    const here = path.join(folder, ...parts);
    const entries = await readdir(here, { withFileTypes: true, encoding: "buffer" }).catch((error: unknown) => {
      leftOut.folder(here, error);
      return [];
    });
    const named = entries.map((entry) => ({ entry, name: readable(entry.name) }));
    for (const { entry, name } of named.sort((a, b) => byCodeUnits(a.name, b.name))) {
      if (name.startsWith(".")) continue;
      const file = path.join(here, name);
      const below = [...parts, name];
      const ending = path.extname(name).toLowerCase();
      const isImage = IMAGES.has(ending);
      if (!isUtf8(entry.name)) {
        if (entry.isDirectory() || entry.isSymbolicLink() || isImage || UNREAD.has(ending)) leftOut.name(file);
      } else if (entry.isDirectory()) await read(below, path.join(real, name));
      else if (entry.isSymbolicLink() && (await leadsToFolder(file, isImage))) links.push(below);
      else if (isImage) found.push({ path: file, parts: below });
      else if (UNREAD.has(ending)) leftOut.kind(file, ending);
    }
  };
  /** Whether there is a folder behind a link. What an image's link has lost, reading the image will say. */
  const leadsToFolder = async (link: string, isImage: boolean): Promise<boolean> => {
    const about = await stat(link).catch((error: unknown) => {
      if (!isImage) leftOut.folder(link, error);
      return undefined;
    });
    return about?.isDirectory() ?? false;
  };

  await read([], root);
  // Behind all real folders, and those that links lead to behind these: the list grows.
  for (const parts of links) await read(parts, await realOf(path.join(folder, ...parts)));
  return found.sort((a, b) => byParts(a.parts, b.parts)).map(({ path, parts }) => ({ path, name: parts.join("/") }));
}

/**
 * The images below folders, by folder and then by name, as `listImages` finds them; a file stands for itself.
 * @param out passed over where it lies below one of them: what is in it are results.
 * @throws StylizingError `ARGUMENT` where a path does not exist or there is no image; `what` names them.
 */
export async function listDataset(
  paths: readonly string[],
  out: string,
  what: string,
  leftOut = new LeftOut(),
): Promise<FoundImage[]> {
  const files: FoundImage[] = [];
  for (const given of paths) {
    const about = await stat(given).catch(() => undefined);
    if (!about) throw new StylizingError("ARGUMENT", `The ${what} ${given} do not exist.`, "Check the path.");
    if (!about.isDirectory()) files.push({ path: given, name: path.basename(given) });
    else for (const found of await listImages(given, { except: out, leftOut })) files.push(found);
  }
  if (files.length > 0) return files;
  const hold = "PNG, JPEG, WebP, TIFF, GIF or AVIF files, at any depth";
  if (paths.length === 0)
    throw new StylizingError(
      "ARGUMENT",
      `There are no ${what}: no folder of them is given.`,
      `Give folders that hold ${hold}: --data to train on, --val to validate with.`,
    );
  throw new StylizingError("ARGUMENT", `There are no ${what} in ${paths.join(", ")}.`, `Give folders that hold ${hold}.`);
}
