import path from "node:path";
import {
  type AsyncBuffer,
  asyncBufferFromFile,
  type FileMetaData,
  type KeyValue,
  parquetMetadataAsync,
  parquetReadObjects,
  type SchemaElement,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { messageOf, StylizingError } from "../errors.js";
import { asLabel } from "./labels.js";
import { type Catalogue, endingOf, endingOfBytes, IMAGE_ENDINGS, type Part } from "./sample.js";
import { listShards, PARQUETS } from "./shards.js";
import type { LostSample, OpenDataSetOptions, Sample, SampleKey } from "./types.js";

/** A parquet data set: what its writer needs. */
export interface ParquetDataSet extends Catalogue {
  readonly format: "parquet";
  /** As it stands in the files, depth first. */
  readonly schema: readonly SchemaElement[];
  readonly keyValues: readonly KeyValue[];
  /** The column of images, and whether it is `{bytes, path}` or bytes alone. */
  readonly image: { readonly name: string; readonly isStruct: boolean };
}

/** A column with what lies below it. */
interface Column {
  readonly element: SchemaElement;
  readonly children: readonly SchemaElement[];
}

/** Columns of a schema, which lists what lies in a column behind it. */
export function columnsOf(schema: readonly SchemaElement[]): Column[] {
  const end = (at: number): number => {
    let next = at + 1;
    for (let i = 0; i < (schema[at]?.num_children ?? 0); i++) next = end(next);
    return next;
  };
  const columns: Column[] = [];
  for (let at = 1; at < schema.length; at = end(at)) {
    columns.push({ element: schema[at]!, children: schema.slice(at + 1, end(at)) });
  }
  return columns;
}

const isBytes = ({ type }: SchemaElement): boolean => type === "BYTE_ARRAY";
const isStruct = ({ children }: Column): boolean => children.some((child) => child.name === "bytes" && isBytes(child));
const isFlat = ({ element, children }: Column): boolean =>
  children.length === 0 && isBytes(element) && element.converted_type === undefined && element.logical_type === undefined;

/** Features as Hugging Face writes them into a file: kinds and class names of columns by name. */
interface Feature {
  _type?: string;
  names?: string[];
}

function featuresOf(keyValues: readonly KeyValue[]): Record<string, Feature> {
  try {
    const text = keyValues.find(({ key }) => key === "huggingface")?.value ?? "{}";
    return (JSON.parse(text) as { info?: { features?: Record<string, Feature> } }).info?.features ?? {};
  } catch {
    return {};
  }
}

interface Shard {
  file: string;
  buffer: AsyncBuffer;
  metadata: FileMetaData;
}

async function openShard(file: string): Promise<Shard> {
  try {
    const buffer = await asyncBufferFromFile(file);
    return { file, buffer, metadata: await parquetMetadataAsync(buffer) };
  } catch (error) {
    const problem = `${file} is no parquet file, or it is cut short: ${messageOf(error)}.`;
    throw new StylizingError("ARGUMENT", problem, "Fetch or write it again.", { cause: error });
  }
}

/** Names of columns that hold images, the first that there is. */
const IMAGES = ["image", "img", "bytes"];
const LABELS = ["label", "labels", "class", "target"];

/**
 * Images of parquet files as Hugging Face has them: a column `image` of `{bytes, path}`, or one of bytes; other columns pass through. A
 * key is the file's name without its ending, and the row. Read by row groups.
 * @throws StylizingError `ARGUMENT` where there is no such file, column or row, or files differ in their columns.
 */
export async function openParquet(given: string, options: OpenDataSetOptions): Promise<ParquetDataSet> {
  const files = await listShards(given, PARQUETS, options.split, "parquet files");
  const shards: Shard[] = [];
  for (const file of files) shards.push(await openShard(file));
  const { schema, key_value_metadata: keyValues = [] } = shards[0]!.metadata;
  const columns = columnsOf(schema);
  const names = columns.map(({ element }) => element.name);
  const shape = JSON.stringify(columns.map(({ element, children }) => [element.name, element.type, children.map((c) => c.name)]));
  for (const { file, metadata } of shards) {
    const own = columnsOf(metadata.schema).map(({ element, children }) => [
      element.name,
      element.type,
      children.map((c) => c.name),
    ]);
    if (JSON.stringify(own) === shape) continue;
    throw new StylizingError("ARGUMENT", `${file} has other columns than ${files[0]}.`, "Give files of one data set.");
  }
  const found = `${files[0]} has the columns ${names.join(", ")}`;
  const pick = (name: string): string => {
    if (names.includes(name)) return name;
    throw new StylizingError("ARGUMENT", `There is no column "${name}": ${found}.`, "Name one of these.");
  };
  const features = featuresOf(keyValues);
  const candidates = [...IMAGES, ...names.filter((name) => features[name]?._type === "Image")];
  const image = candidates.flatMap(
    (name) => columns.find((one) => one.element.name === name && (isStruct(one) || isFlat(one))) ?? [],
  );
  const [column] = image;
  if (!column) {
    const fix = "Name the column of encoded images image: a struct of bytes and path, or bytes.";
    throw new StylizingError("ARGUMENT", `There is no column of images: ${found}.`, fix);
  }
  const imageName = column.element.name;
  const label = options.label === undefined ? LABELS.find((name) => names.includes(name)) : pick(options.label);
  const domain = options.domain === undefined ? undefined : pick(options.domain);
  if (label === undefined) options.onNote?.(`no labels: ${given} has no column ${LABELS.join(", ")}`);
  const counts = shards.map(({ metadata }) => Number(metadata.num_rows));
  const count = counts.reduce((sum, one) => sum + one, 0);
  if (count === 0) throw new StylizingError("ARGUMENT", `There are no rows in ${given}.`, "Give files with images in them.");
  // Masks are further images.
  const others = columns.filter((one) => one !== column && isStruct(one)).map(({ element }) => element.name);

  const keyOf = (
    { file }: Shard,
    row: number,
    values: Record<string, unknown>,
  ): SampleKey & { error?: unknown; className?: string } => {
    const name = path.basename(file);
    const about = { key: `${name.replace(PARQUETS, "")}/${row}`, source: `${name}#${row}` };
    const value = label === undefined ? undefined : asLabel(values[label]);
    const from = domain === undefined ? undefined : values[domain];
    const className = label !== undefined && typeof value === "number" ? features[label]?.names?.[value] : undefined;
    const key = { ...about, label: value, ...(className === undefined ? {} : { className }) };
    if (label !== undefined && value === undefined) {
      const error = new StylizingError("IMAGE", `${about.source} has no label in "${label}".`, "Fill it in, or remove the row.");
      return { ...key, error };
    }
    return { ...key, domain: from === undefined || from === null ? undefined : String(from) };
  };
  /** Rows of a shard from one on, by row groups. Throws what hyparquet does for a group that is damaged. */
  async function* rowsOf({ buffer, metadata }: Shard, from: number, wanted: string[] | undefined) {
    let first = 0;
    for (const group of metadata.row_groups) {
      const end = first + Number(group.num_rows);
      const rowStart = Math.max(first, from);
      first = end;
      if (rowStart >= end) continue;
      const read = { file: buffer, metadata, rowStart, rowEnd: end, compressors, utf8: false };
      try {
        yield { rowStart, end, rows: await parquetReadObjects(wanted ? { ...read, columns: wanted } : read) };
      } catch (error) {
        yield { rowStart, end, error };
      }
    }
  }
  const damaged = ({ file }: Shard, error: unknown) =>
    new StylizingError("IMAGE", `${file} is damaged: ${messageOf(error)}.`, "Fetch or write it again.", { cause: error });

  return {
    format: "parquet",
    path: given,
    count,
    fields: names.filter((name) => name !== imageName && name !== label && !others.includes(name)),
    parts: others,
    ...{ schema, keyValues, image: { name: imageName, isStruct: isStruct(column) } },
    async *keys(signal) {
      const wanted = [...new Set([label, domain].flatMap((name) => name ?? []))];
      for (const shard of shards) {
        if (wanted.length === 0) {
          for (let row = 0; row < Number(shard.metadata.num_rows); row++) yield keyOf(shard, row, {});
          continue;
        }
        for await (const { rowStart, end, rows, error } of rowsOf(shard, 0, wanted)) {
          for (let row = rowStart; row < end; row++) {
            signal?.throwIfAborted();
            const { className: _, ...key } = keyOf(shard, row, rows?.[row - rowStart] ?? {});
            yield rows ? key : { ...key, error: damaged(shard, error) };
          }
        }
      }
    },
    async *samples({ from = 0, signal } = {}): AsyncGenerator<Sample | LostSample> {
      let index = 0;
      for (const [at, shard] of shards.entries()) {
        const start = Math.max(0, from - index);
        index += counts[at]!;
        if (start >= counts[at]!) continue;
        for await (const { rowStart, end, rows, error } of rowsOf(shard, start, undefined)) {
          for (let row = rowStart; row < end; row++) {
            signal?.throwIfAborted();
            const values = rows?.[row - rowStart] ?? {};
            const { className, ...key } = keyOf(shard, row, values);
            const found = imageIn(values[imageName]);
            if (!rows) yield { ...key, error: damaged(shard, error) };
            else if (key.error !== undefined) yield { ...key, error: key.error };
            else if (!found) {
              const fix = "Files that rows name alone are not read: write the images into the rows.";
              yield { ...key, error: new StylizingError("IMAGE", `${key.source} has no bytes in "${imageName}".`, fix) };
            } else {
              const parts = others.flatMap((name): Part[] => {
                const part = imageIn(values[name]);
                return part ? [{ name: `${name}.${part.ending}`, column: name, bytes: part.bytes }] : [];
              });
              yield { ...key, image: found, rest: { fields: new Map(Object.entries(values)), parts, className } };
            }
          }
        }
      }
    },
    async [Symbol.asyncDispose]() {},
  };
}

/** The image in a value of a column: bytes, or a struct with them. */
function imageIn(value: unknown): { bytes: Uint8Array; ending: string } | undefined {
  const { bytes, path: name } = (value instanceof Uint8Array ? { bytes: value } : (value ?? {})) as {
    bytes?: unknown;
    path?: unknown;
  };
  if (!(bytes instanceof Uint8Array) || bytes.length === 0) return undefined;
  const named = typeof name === "string" ? endingOf(name) : "";
  return { bytes, ending: IMAGE_ENDINGS.has(named) ? named : endingOfBytes(bytes) };
}
