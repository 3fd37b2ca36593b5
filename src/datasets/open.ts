import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { checkName, StylizingError } from "../errors.js";
import type { Catalogue } from "./sample.js";
import { filesIn, isPattern, PARQUETS, TARS } from "./shards.js";
import type { DataFormat, DataSet, DataSetWriter, OpenDataSetOptions, WriterOptions } from "./types.js";

/** All formats that are read and written. */
export const DATA_FORMATS: readonly DataFormat[] = ["folder", "csv", "npz", "wds", "parquet", "hf"];

/** A format's libraries are loaded with it: together they take longer than all else. */
const OPEN: Record<DataFormat, (path: string, options: OpenDataSetOptions) => Promise<DataSet>> = {
  folder: async (...given) => (await import("./folder.js")).openFolder(...given),
  csv: async (...given) => (await import("./table.js")).openCsv(...given),
  npz: async (...given) => (await import("./npz.js")).openNpzDataSet(...given),
  wds: async (...given) => (await import("./wds.js")).openWds(...given),
  parquet: async (...given) => (await import("./parquet.js")).openParquet(...given),
  hf: async (...given) => (await import("./table.js")).openHf(...given),
};

/**
 * Opens a data set, in the format that its path tells: `.npz`; `.tar` and `.tar.gz`, a pattern or a folder of them; `.parquet` likewise;
 * `.csv`; a folder with `metadata.jsonl` or `metadata.csv`; any other folder has a folder for each class.
 * @throws StylizingError `ARGUMENT` where there is nothing, it is empty, or it is no such data set. What is wrong with single samples
 *   is said of those, when they are read.
 */
export async function openDataSet(path: string, options: OpenDataSetOptions = {}): Promise<DataSet> {
  if (options.format !== undefined) checkName("format", options.format, DATA_FORMATS);
  const format = options.format ?? (await formatOf(path, options.split));
  return await OPEN[format](path, options);
}

async function formatOf(given: string, split = "train"): Promise<DataFormat> {
  const about = await stat(given).catch(() => undefined);
  const unknown = (problem: string) =>
    new StylizingError("ARGUMENT", problem, `Name its format: ${DATA_FORMATS.join(", ")}; or check the path.`);
  if (!about && !isPattern(given)) throw unknown(`${given} does not exist.`);
  if (!about?.isDirectory()) {
    if (/\.npz$/i.test(given)) return "npz";
    if (TARS.test(given)) return "wds";
    if (PARQUETS.test(given)) return "parquet";
    if (/\.jsonl$/i.test(given)) return "hf";
    if (/\.csv$/i.test(given)) return (await isHf(given)) ? "hf" : "csv";
    throw unknown(`${given} is no data set that its name tells.`);
  }
  for (const folder of ["", split]) {
    const names = await readdir(path.join(given, folder)).catch((): string[] => []);
    if (names.includes("metadata.jsonl")) return "hf";
    if (names.includes("metadata.csv")) {
      if (await isHf(path.join(given, folder, "metadata.csv"))) return "hf";
      if (folder === "") return "csv";
    }
  }
  if ((await filesIn(given, TARS, [split])).length > 0) return "wds";
  return (await filesIn(given, PARQUETS, [split, "data"])).length > 0 ? "parquet" : "folder";
}

const isHf = async (file: string): Promise<boolean> =>
  path.basename(file) === "metadata.csv" && (await (await import("./table.js")).csvHas(file, "file_name"));

/**
 * A writer of a data set like another one, in any format; what cannot be carried over is said in a note. Where labels become numbers, or columns
 * have to be known, the keys of `like` are read first.
 * @param out a folder, which is made.
 * @throws StylizingError `OUTPUT` where it cannot be written.
 */
export async function createWriter(format: DataFormat, out: string, options: WriterOptions): Promise<DataSetWriter> {
  checkName("format", format, DATA_FORMATS);
  const like = options.like as Catalogue;
  if (format === "npz") return (await import("./npz-writer.js")).createNpzWriter(out, like, options);
  if (format === "wds") return (await import("./wds-writer.js")).createWdsWriter(out, like, options);
  if (format === "parquet") return (await import("./parquet-writer.js")).createParquetWriter(out, like, options);
  return (await import("./file-writer.js")).createFileWriter(format, out, like, options);
}
