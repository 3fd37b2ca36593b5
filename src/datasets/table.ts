import { stat } from "node:fs/promises";
import path from "node:path";
import { StylizingError } from "../errors.js";
import { nameBelow } from "../image/folder.js";
import { ALL, splitFolder } from "./folder.js";
import { asLabel } from "./labels.js";
import { Masks } from "./masks.js";
import { csvRows, jsonRows, type Row } from "./rows.js";
import { type Catalogue, endingOf, type Part, readPart, stemOf } from "./sample.js";
import type { LostSample, OpenDataSetOptions, Sample, SampleKey } from "./types.js";
import { Seen } from "./unique.js";

/** Columns that hold paths of images, the first that there is. */
const PATHS = ["path", "file", "file_name", "image"];
const LABELS = ["label", "class", "target", "y"];

/** The columns of WILDS' Camelyon17, which has no paths: they follow from the rest. */
const CAMELYON = ["patient", "node", "x_coord", "y_coord", "tumor", "center", "split"];

/** Where WILDS has a patch of Camelyon17, below the folder of its table. */
function patchOf(fields: ReadonlyMap<string, unknown>): string {
  const [patient, node, x, y] = ["patient", "node", "x_coord", "y_coord"].map((name) => String(fields.get(name)));
  const folder = `patient_${patient!.padStart(3, "0")}_node_${node}`;
  return `patches/${folder}/patch_${folder}_x_${x}_y_${y}.png`;
}

/** Hospitals that WILDS keeps for validation and for the test, whatever the column `split` says. */
const CENTRES: Record<string, string> = { "1": "val", "2": "test" };

/** The split that WILDS puts a row of Camelyon17 into. */
const wildsSplit = (fields: ReadonlyMap<string, unknown>): string =>
  CENTRES[String(fields.get("center"))] ?? (String(fields.get("split")) === "0" ? "train" : "id_val");

/** How a table is read. */
interface Layout {
  format: "csv" | "hf";
  /** What was given. */
  given: string;
  file: string;
  rows: () => AsyncGenerator<Row>;
  /** The file of a row's image as the table has it; nothing where the field is empty. */
  imageOf: (row: Row) => string | undefined;
  label: string | undefined;
  domain: string | undefined;
  /** Whether a row is read. */
  takes: (row: Row) => boolean;
  /** Columns that name a further file of the sample. */
  files: readonly string[];
  table: NonNullable<Catalogue["table"]>;
  masks: Masks;
}

/** Columns of a CSV file that name masks. */
const MASKS = /^mask(_path|_file)?$|_mask$|._file_name$/;

function pick(columns: readonly string[], file: string, wanted: string, fix: string): string {
  if (columns.includes(wanted)) return wanted;
  const found = columns.map((name) => `"${name}"`).join(", ");
  throw new StylizingError("ARGUMENT", `${file} has no column "${wanted}": ${found}.`, fix);
}

/** Names of a table's columns: of its first row, or of JSON of all rows. @throws StylizingError `ARGUMENT` where it has no rows. */
async function columnsOf(file: string, rows: AsyncIterable<Row>, all: boolean): Promise<{ names: string[]; first: Row }> {
  const names = new Set<string>();
  let first: Row | undefined;
  for await (const row of rows) {
    first ??= row;
    for (const name of row.fields.keys()) names.add(name);
    if (!all) break;
  }
  if (first) return { names: [...names], first };
  throw new StylizingError("ARGUMENT", `${file} has no rows.`, "Name columns in its first line and give a row for each image.");
}

/** Whether the first row of a CSV file has a column. */
export async function csvHas(file: string, column: string): Promise<boolean> {
  for await (const { fields } of csvRows(file)) return fields.has(column);
  return false;
}

/**
 * Images that a CSV file names, or WILDS' Camelyon17 (`metadata.csv` with its columns as they are). Paths are relative to the file's
 * folder. A key is the path without its ending, or with it where two would be one.
 * @throws StylizingError `ARGUMENT` where it is no such file, lacks a column, or names an image twice.
 */
export async function openCsv(given: string, options: OpenDataSetOptions): Promise<Catalogue> {
  const about = await stat(given).catch(() => undefined);
  const file = about?.isDirectory() ? path.join(given, "metadata.csv") : given;
  const { names } = await columnsOf(file, csvRows(file), false);
  const column = PATHS.find((name) => names.includes(name));
  const isCamelyon = CAMELYON.every((name) => names.includes(name));
  if (column === undefined && !isCamelyon) {
    pick(names, file, "path", `Name the column of images ${PATHS.join(", ")}, or give WILDS' columns of Camelyon17.`);
  }
  const called = [...(isCamelyon ? ["tumor"] : []), ...LABELS];
  const label =
    options.label ??
    called.find((name) => names.includes(name)) ??
    pick(names, file, "label", `It has no labels: name their column ${LABELS.join(", ")}, or say which it is.`);
  const { split } = options;
  const inSplit = (row: Row, name: string): boolean =>
    (isCamelyon ? wildsSplit(row.fields) : String(row.fields.get("split")).trim()) === name;
  let wanted = split === ALL ? undefined : split;
  if (wanted !== undefined && !isCamelyon)
    pick(names, file, "split", `Splits are named in that column; "${ALL}" takes all rows.`);
  if (split === undefined && isCamelyon) wanted = "train";
  else if (split === undefined && names.includes("split")) {
    for await (const row of csvRows(file)) if (inSplit(row, "train")) wanted = "train";
  }
  return await openTable(
    {
      ...{ format: "csv", given, file, rows: () => csvRows(file) },
      imageOf: ({ fields }) => (column === undefined ? patchOf(fields) : String(fields.get(column)).trim() || undefined),
      label: pick(names, file, label, "Name one of these as the label."),
      domain: options.domain === undefined ? undefined : pick(names, file, options.domain, "Name one of these as the domain."),
      takes: (row) => wanted === undefined || inSplit(row, wanted),
      files: names.filter((name) => MASKS.test(name) && name !== column && name !== label),
      masks: new Masks(options.maskSuffix),
      table: { columns: names, path: column, label, isJson: false },
    },
    wanted,
    options,
  );
}

/**
 * A Hugging Face image folder: `metadata.jsonl` or `metadata.csv` beside the images, which `file_name` names; files in other columns
 * that end in `_file_name` belong to the image.
 * @throws StylizingError `ARGUMENT` as {@link openCsv} does.
 */
export async function openHf(given: string, options: OpenDataSetOptions): Promise<Catalogue> {
  const about = await stat(given).catch(() => undefined);
  let file = given;
  if (about?.isDirectory()) {
    const folder = path.join(given, (await splitFolder(given, options.split)) ?? "");
    const isThere = async (name: string) => (await stat(path.join(folder, name)).catch(() => undefined))?.isFile() ?? false;
    file = path.join(folder, (await isThere("metadata.jsonl")) ? "metadata.jsonl" : "metadata.csv");
  }
  const isJson = file.endsWith(".jsonl");
  const rows = () => (isJson ? jsonRows(file) : csvRows(file));
  const { names } = await columnsOf(file, rows(), isJson);
  pick(names, file, "file_name", "Name the column of images file_name.");
  const label = options.label ?? LABELS.find((name) => names.includes(name));
  if (label === undefined) options.onNote?.(`no labels: ${file} has no column ${LABELS.join(", ")}`);
  else pick(names, file, label, "Name one of these as the label.");
  return await openTable(
    {
      ...{ format: "hf", given, file, rows, label },
      imageOf: ({ fields }) => {
        const name = fields.get("file_name");
        return typeof name === "string" && name.trim() !== "" ? name.trim() : undefined;
      },
      domain: options.domain === undefined ? undefined : pick(names, file, options.domain, "Name one of these as the domain."),
      takes: () => true,
      files: names.filter((name) => name.endsWith("_file_name")),
      masks: new Masks(options.maskSuffix),
      table: { columns: names, path: "file_name", label, isJson },
    },
    undefined,
    options,
  );
}

/** The folder that lies above all of these. */
function commonFolder(a: string, b: string): string {
  let folder = a;
  while (folder !== path.dirname(folder) && !`${b}${path.sep}`.startsWith(`${folder}${path.sep}`)) folder = path.dirname(folder);
  return folder;
}

const broken = (problem: string, fix: string): StylizingError => new StylizingError("IMAGE", problem, fix);

/** Files that are looked for together. */
const AT_ONCE = 64;

async function openTable(layout: Layout, split: string | undefined, { onNote }: OpenDataSetOptions): Promise<Catalogue> {
  const { file, rows, imageOf, label, domain, takes, files, masks, table } = layout;
  const folder = path.resolve(path.dirname(file));
  let [root, count, all, keepsEndings] = [folder, 0, 0, false];
  const [paths, stems] = [new Seen(), new Seen()];
  for await (const row of rows()) {
    all++;
    if (!takes(row)) continue;
    count++;
    const image = imageOf(row);
    if (image === undefined) continue;
    const full = path.resolve(folder, image);
    if (!paths.add(full)) {
      throw new StylizingError("ARGUMENT", `${file} names ${image} twice, the second time in line ${row.line}.`, "Remove one.");
    }
    keepsEndings ||= !stems.add(stemOf(full));
    root = commonFolder(root, path.dirname(full));
  }
  if (count === 0) {
    const fix = `Name a split that it has, or "${ALL}".`;
    throw new StylizingError("ARGUMENT", `${file} has no rows of the split ${split}.`, fix);
  }
  if (count < all) onNote?.(`read: the split ${split} alone, ${count} of ${all} rows of ${file}; "${ALL}" takes every row`);

  /** The key of a row, its file, and why it is lost where that is known. */
  const look = (row: Row): { key: SampleKey; image: string; error?: unknown } => {
    const named = imageOf(row);
    const image = path.resolve(folder, named ?? "");
    const source = named === undefined ? `${path.basename(file)}#${row.line}` : nameBelow(root, image);
    const [className, from] = [label, domain].map((name) => (name === undefined ? undefined : row.fields.get(name)));
    const key: SampleKey = {
      key: keepsEndings || named === undefined ? source : stemOf(source),
      source,
      domain: from === undefined || from === null ? undefined : String(from),
      label: asLabel(className),
    };
    const who = `${file}, line ${row.line}`;
    if (named === undefined) return { key, image, error: broken(`${who} names no image.`, "Fill in its path, or remove it.") };
    if (label === undefined || key.label !== undefined) return { key, image };
    return { key, image, error: broken(`${who} has no label in "${label}".`, "Fill it in, or remove the row.") };
  };
  const FIX = `Check the path; paths in the table are relative to ${folder}.`;
  const partsOf = async (row: Row, image: string): Promise<Part[]> => {
    const named = files.filter((column) => endingOf(String(row.fields.get(column) ?? "")) !== "");
    const parts = named.map(async (column): Promise<Part> => {
      const other = String(row.fields.get(column)).trim();
      const name = `${partStem(column)}.${endingOf(other)}`;
      const bytes = await readPart(path.resolve(folder, other), `${file}, line ${row.line}, "${column}"`, FIX);
      return { name, column, bytes };
    });
    // What a column names and what lies beside is one mask.
    const beside = (await masks.of(image)).filter(({ name }) => !named.some((column) => name.startsWith(partStem(column))));
    return [...(await Promise.all(parts)), ...beside];
  };

  const of = path.basename(file);
  return {
    format: layout.format,
    path: layout.given,
    count,
    fields: table.columns.filter((name) => name !== table.path && name !== table.label && !files.includes(name)),
    parts: files.map(partStem),
    table,
    async *keys(signal) {
      let some: Row[] = [];
      const looked = async () => {
        const found = some.map(look);
        some = [];
        return await Promise.all(
          found.map(async ({ key, image, error }) => {
            if (error !== undefined || (await stat(image).catch(() => undefined))?.isFile()) {
              return error === undefined ? key : { ...key, error };
            }
            return { ...key, error: broken(`${of}: there is no file ${image}.`, FIX) };
          }),
        );
      };
      for await (const row of rows()) {
        signal?.throwIfAborted();
        if (takes(row)) some.push(row);
        if (some.length === AT_ONCE) yield* await looked();
      }
      yield* await looked();
    },
    async *samples({ from = 0, signal } = {}): AsyncGenerator<Sample | LostSample> {
      let index = 0;
      for await (const row of rows()) {
        signal?.throwIfAborted();
        if (!takes(row) || index++ < from) continue;
        const { key, image, error } = look(row);
        try {
          if (error !== undefined) throw error;
          const bytes = await readPart(image, `${file}, line ${row.line}`, FIX);
          const rest = { parts: await partsOf(row, image), fields: row.fields, line: row.text };
          yield { ...key, image: { bytes, ending: endingOf(image) }, rest };
        } catch (error) {
          yield { ...key, error };
        }
      }
    },
    async [Symbol.asyncDispose]() {},
  };
}

const partStem = (column: string): string => column.replace(/_(file_name|path|file)$/, "");
