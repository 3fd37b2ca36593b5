import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { CsvError, parse } from "csv-parse/sync";
import { messageOf, StylizingError } from "../errors.js";
import { byCodeUnits, type LeftOut, listImages, nameBelow, realOf } from "../image/folder.js";

/** An image and its class. */
export interface LabelledFile {
  path: string;
  /** Path below the data set's folder, with "/" on every system: what a run knows the image by, so that folders may be moved. */
  name: string;
  /** The class, counting in the data set's list. */
  label: number;
  /** What it belongs to with others, such as a patient or a slide. */
  group?: string;
}

export interface LabelledSet {
  /** By code units, as torchvision's ImageFolder sorts them: "10" comes before "2", "B" before "a". */
  classes: string[];
  /** By name, in the same order. */
  files: LabelledFile[];
}

const KINDS = "PNG, JPEG, WebP, TIFF, GIF or AVIF files";
const isFolder = async (path: string): Promise<boolean> => (await stat(path).catch(() => undefined))?.isDirectory() ?? false;

interface NamedFile extends Omit<LabelledFile, "label"> {
  className: string;
}

/** Counts classes in their order. `where` is what messages call the data set. */
function asSet(named: readonly NamedFile[], where: string, fix: string): LabelledSet {
  const classes = [...new Set(named.map(({ className }) => className))].sort(byCodeUnits);
  if (classes.length < 2) {
    const found = classes.length === 1 ? `one class only, ${classes[0]}` : "no class";
    throw new StylizingError("ARGUMENT", `${where} has ${found}.`, fix);
  }
  const numbers = new Map(classes.map((name, label) => [name, label]));
  const files = named.map(({ className, ...file }) => ({ ...file, label: numbers.get(className)! }));
  return { classes, files: files.sort((a, b) => byCodeUnits(a.name, b.name)) };
}

/**
 * The labelled images of a folder that has a folder for each class, named as the class is; images lie in it at any depth. Links are
 * followed and hidden files and folders passed over, as `listImages` does.
 * @param options `except`: a folder that is passed over, such as the one for results. `leftOut` is told what cannot be taken.
 * @throws StylizingError `ARGUMENT` where there is no such folder, an image lies outside the classes' folders, a class has no image,
 * or there are fewer than two.
 */
export async function labelsOfFolders(
  folder: string,
  { except, leftOut }: { except?: string | undefined; leftOut?: LeftOut | undefined } = {},
): Promise<LabelledSet> {
  if (!(await isFolder(folder))) {
    throw new StylizingError("ARGUMENT", `The folder ${folder} does not exist.`, "Check the path.");
  }
  // All at once: what two classes link to is one folder, and of one of them.
  const images = await listImages(folder, { except, leftOut });
  const named = images.map((image): NamedFile => ({ ...image, className: image.name.split("/")[0]! }));
  const filled = new Set(named.map(({ className }) => className));
  const results = except === undefined ? undefined : await realOf(except);
  for (const className of await readdir(folder).catch(() => [])) {
    const path = join(folder, className);
    if (className.startsWith(".") || filled.has(className) || !(await isFolder(path)) || (await realOf(path)) === results)
      continue;
    const fix = `Put ${KINDS} into it, or remove the folder.`;
    throw new StylizingError("ARGUMENT", `The class folder ${path} holds no image of its own.`, fix);
  }
  const outside = images.find(({ name }) => !name.includes("/"));
  if (outside !== undefined) {
    throw new StylizingError(
      "ARGUMENT",
      `The image ${outside.path} lies outside the folders of classes.`,
      `Move it into the folder of its class in ${folder}, or name labels in a CSV file.`,
    );
  }
  return asSet(named, `The folder ${folder}`, `Give a folder that holds one folder for each class, each with ${KINDS}.`);
}

const HEADER = 'Separate columns by commas and name them in the first line, "path,label".';

/** The lines of a CSV file that hold something, each with its number. Fields as RFC 4180 has them, without the spaces around them. */
async function readTable(file: string): Promise<{ fields: string[]; line: number }[]> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    const problem = error.code === "ENOENT" ? `${file} does not exist.` : `${file} could not be read: ${messageOf(error)}.`;
    throw new StylizingError("ARGUMENT", problem, "Check the path.", { cause: error });
  });
  // One kind of line ending: csv-parse counts CR LF after a space or between quotes as two lines.
  const lines = text.replace(/\r\n?/g, "\n");
  try {
    const options = { bom: true, info: true, skip_empty_lines: true, trim: true };
    // With `info` every record comes with its place, which the types do not say.
    const records = parse(lines, options) as unknown as { record: string[]; info: { lines: number } }[];
    return records.map(({ record, info }) => ({ fields: record, line: info.lines }));
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const fix = "Give every line as many fields as the first has, and put fields with commas or quotes into quotes.";
    throw new StylizingError("ARGUMENT", `${file} is no CSV file: ${error.message}.`, fix, { cause: error });
  }
}

/** Files that are looked at together. */
const AT_ONCE = 64;

/**
 * The labelled images of a CSV file with a header and the columns `path` and `label`; there may be others. UTF-8, with or without a
 * byte order mark; quotes as in RFC 4180; blank lines are passed over, and so are spaces around fields.
 * @param options `folder`: what paths are relative to, by default the folder of the CSV file. `group`: the column that names what an
 * image belongs to with others.
 * @throws StylizingError `ARGUMENT`, with the line, where the file is no such CSV file, a field is empty, an image is named twice or
 * does not exist; also where there are fewer than two classes.
 */
export async function labelsOfTable(
  file: string,
  { folder = dirname(file), group }: { folder?: string | undefined; group?: string | undefined } = {},
): Promise<LabelledSet> {
  const [header, ...rows] = await readTable(file);
  if (!header) throw new StylizingError("ARGUMENT", `${file} is empty.`, HEADER);
  const column = (name: string, fix: string): number => {
    const places = header.fields.flatMap((field, i) => (field === name ? [i] : []));
    if (places.length === 1) return places[0]!;
    const found = header.fields.map((field) => `"${field}"`).join(", ");
    const problem = `${file} has ${places.length > 1 ? "several columns" : "no column"} "${name}", line ${header.line}: ${found}.`;
    throw new StylizingError("ARGUMENT", problem, places.length > 1 ? "Rename all but one." : fix);
  };
  const path = column("path", HEADER);
  const label = column("label", HEADER);
  const member = group === undefined ? undefined : column(group, "Name one of these as the column of groups.");

  const named: (NamedFile & { line: number })[] = [];
  const lines = new Map<string, number>();
  for (const { fields, line } of rows) {
    const empty = [path, label, member].find((place) => place !== undefined && fields[place] === "");
    if (empty !== undefined) {
      const problem = `${file}, line ${line}: the field "${header.fields[empty]}" is empty.`;
      throw new StylizingError("ARGUMENT", problem, "Fill it in, or remove the line.");
    }
    const image = resolve(folder, fields[path]!);
    const earlier = lines.get(image);
    if (earlier !== undefined) {
      const problem = `${file} names ${fields[path]} twice, in lines ${earlier} and ${line}.`;
      throw new StylizingError("ARGUMENT", problem, "Remove one of them.");
    }
    lines.set(image, line);
    const inGroup = member === undefined ? {} : { group: fields[member]! };
    named.push({ path: image, name: nameBelow(folder, image), className: fields[label]!, line, ...inGroup });
  }
  for (let first = 0; first < named.length; first += AT_ONCE) {
    const some = named.slice(first, first + AT_ONCE);
    const exist = await Promise.all(some.map(async ({ path }) => (await stat(path).catch(() => undefined))?.isFile() ?? false));
    const missing = some[exist.indexOf(false)];
    if (!missing) continue;
    const fix = `Check the path; paths in the file are relative to ${folder}.`;
    throw new StylizingError("ARGUMENT", `${file}, line ${missing.line}: there is no file ${missing.path}.`, fix);
  }
  const files = named.map(({ line: _, ...rest }) => rest);
  return asSet(files, file, "Name at least two classes in the column label.");
}
