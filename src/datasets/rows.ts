import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { CsvError, parse } from "csv-parse";
import { messageOf, StylizingError } from "../errors.js";

/** A row of a table: its fields by name, in order. */
export interface Row {
  readonly fields: ReadonlyMap<string, unknown>;
  /** Its line in the file, counted from 1. */
  readonly line: number;
  /** The line itself, of JSON. */
  readonly text?: string | undefined;
}

const unreadable = (file: string, error: unknown): StylizingError => {
  const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
  const problem = missing ? `${file} does not exist.` : `${file} could not be read: ${messageOf(error)}.`;
  return new StylizingError("ARGUMENT", problem, "Check the path.", { cause: error });
};

/**
 * Rows of a CSV file, one at a time: RFC 4180, UTF-8 with or without a byte order mark, names in the first line. Fields stay as they are.
 * @throws StylizingError `ARGUMENT`, with the line.
 */
export async function* csvRows(file: string): AsyncGenerator<Row> {
  const source = createReadStream(file);
  const parser = parse({ bom: true, info: true, skip_empty_lines: true });
  source.on("error", (error) => parser.destroy(error));
  source.pipe(parser);
  let header: string[] | undefined;
  try {
    // With `info` every record comes with its place, which the types do not say.
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
      if (header) yield { fields: new Map(header.map((name, i) => [name, record[i]!])), line: info.lines };
      else {
        header = record.map((name) => name.trim());
        const twice = header.find((name, i) => header!.indexOf(name) < i);
        if (twice !== undefined) {
          throw new StylizingError("ARGUMENT", `${file} has several columns "${twice}".`, "Rename all but one.");
        }
      }
    }
  } catch (error) {
    if (error instanceof StylizingError) throw error;
    if (!(error instanceof CsvError)) throw unreadable(file, error);
    const fix = "Give every line as many fields as the first has, and put fields with commas or quotes into quotes.";
    throw new StylizingError("ARGUMENT", `${file} is no CSV file: ${error.message}.`, fix, { cause: error });
  } finally {
    source.destroy();
  }
}

/** Rows of a file with a JSON object in every line. @throws StylizingError `ARGUMENT`, with the line. */
export async function* jsonRows(file: string): AsyncGenerator<Row> {
  const source = createReadStream(file);
  // readline says nothing of what its source fails with.
  const failed: { error?: unknown } = {};
  const lines = createInterface({ input: source, crlfDelay: Number.POSITIVE_INFINITY });
  source.on("error", (error) => {
    failed.error = error;
    lines.close();
  });
  let line = 0;
  try {
    for await (const read of lines) {
      line++;
      const text = line === 1 ? read.replace(/^\uFEFF/, "") : read;
      if (text.trim() === "") continue;
      let value: unknown;
      try {
        value = JSON.parse(text);
      } catch (error) {
        const problem = `${file}, line ${line}, is no JSON: ${messageOf(error)}.`;
        throw new StylizingError("ARGUMENT", problem, "Write one JSON object a line.", { cause: error });
      }
      if (typeof value !== "object" || value === null || Array.isArray(value)) {
        throw new StylizingError("ARGUMENT", `${file}, line ${line}, is no JSON object.`, "Write one JSON object a line.");
      }
      yield { fields: new Map(Object.entries(value)), line, text };
    }
  } finally {
    source.destroy();
  }
  if (failed.error !== undefined) throw unreadable(file, failed.error);
}
