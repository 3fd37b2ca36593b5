import path from "node:path";
import type { KeyValue, SchemaElement } from "hyparquet";
import { ByteWriter, parquetWrite } from "hyparquet-writer";
import { messageOf, StylizingError } from "../errors.js";
import { ensureOutputFolder, removeStale, writeFileAtomic } from "../image/atomic-write.js";
import { fieldsFor, fieldText } from "./fields.js";
import { type Classes, numberClasses } from "./labels.js";
import { columnsOf, type ParquetDataSet } from "./parquet.js";
import { type Catalogue, fileOf, isLost, type Part, restOf, stemOf } from "./sample.js";
import type { DataSetWriter, Output, WriterOptions } from "./types.js";

/** As Hugging Face finds the split of a file. */
const fileName = (group: number): string => `data/train-${String(group).padStart(6, "0")}.parquet`;

/** Rows of a row group: what a reader holds at a time. */
const ROW_GROUP = 100;

/** Column and value of a row. */
type RowOf = (output: Output, image: { bytes: Uint8Array; path: string }) => Map<string, unknown>;

interface Layout {
  schema: SchemaElement[];
  keyValues: KeyValue[];
  /** Columns of encoded images, which are not compressed again. */
  images: Set<string>;
  row: RowOf;
}

/**
 * Writes parquet files as Hugging Face has them, one a group, into `data/`. Of parquet the schema, other columns and class names stay; of
 * other formats there are `image`, `label` with class names, fields as text, and masks as further images.
 */
export async function createParquetWriter(out: string, like: Catalogue, options: WriterOptions): Promise<DataSetWriter> {
  const layout = like.format === "parquet" ? sameLayout(like as ParquetDataSet) : await newLayout(like, options);
  await ensureOutputFolder(path.join(out, "data"));
  await removeStale(path.join(out, "data"));
  return {
    format: "parquet",
    place: ({ sample, copy }, group) => `${fileName(group)}#${sample.key}__${copy}`,
    async write(group, outputs) {
      const rows: Map<string, unknown>[] = [];
      for (const output of outputs) {
        const { bytes, ending } = await fileOf(output);
        rows.push(layout.row(output, { bytes, path: `${output.sample.key}__${output.copy}.${ending}` }));
      }
      await writeFileAtomic(path.join(out, fileName(group)), encode(layout, rows));
    },
    async finish() {},
    async [Symbol.asyncDispose]() {},
  };
}

function encode({ schema, keyValues, images }: Layout, rows: readonly ReadonlyMap<string, unknown>[]): Uint8Array {
  const columnData = columnsOf(schema).map(({ element: { name } }) => ({
    name,
    data: rows.map((row) => row.get(name)),
    // Encoded images do not get smaller, and nobody looks for one by its bytes.
    ...(images.has(name) ? { codec: "UNCOMPRESSED" as const, statistics: false } : {}),
  }));
  const writer = new ByteWriter();
  try {
    const about = { schema, kvMetadata: keyValues, createdBy: "stylizing-vit", dictionarySize: 1 << 16 };
    parquetWrite({ writer, columnData, rowGroupSize: ROW_GROUP, ...about });
  } catch (error) {
    const problem = `The columns cannot be written as parquet: ${messageOf(error)}.`;
    throw new StylizingError("OUTPUT", problem, "Choose another format, such as hf or wds.", { cause: error });
  }
  return writer.getBytes();
}

function sameLayout(like: ParquetDataSet): Layout {
  const { name, isStruct } = like.image;
  return {
    schema: [...like.schema],
    // What pandas keeps there is of its index, which had other rows.
    keyValues: like.keyValues.filter(({ key }) => key !== "pandas"),
    images: new Set([name, ...like.parts]),
    row({ sample }, image) {
      const row = new Map(restOf(sample).fields);
      const old = row.get(name);
      return row.set(name, isStruct ? { ...(old as object), ...image } : image.bytes);
    },
  };
}

/** The columns of an image: `{bytes, path}`. */
const imageColumn = (name: string): SchemaElement[] => [
  { name, repetition_type: "OPTIONAL", num_children: 2 },
  { name: "bytes", type: "BYTE_ARRAY", repetition_type: "OPTIONAL" },
  { name: "path", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
];
const text = (name: string): SchemaElement => ({ name, type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" });
const IMAGE = { _type: "Image" };

async function newLayout(like: Catalogue, options: WriterOptions): Promise<Layout> {
  const classes = await numberClasses(like, options);
  if (like.others?.length) options.onNote?.(`not carried over into parquet: ${like.others.join(", ")}`);
  let [hasDomain, hasList] = [false, false];
  for await (const key of like.keys(options.signal)) {
    if (isLost(key)) continue;
    hasDomain = key.domain !== undefined && like.fields.length === 0;
    hasList = typeof key.label === "object";
    break;
  }
  const fields = [...like.fields.filter((name) => name !== "label" && name !== "image"), ...(hasDomain ? ["domain"] : [])];
  const parts = like.parts.filter((name) => !fields.includes(name) && name !== "image" && name !== "label");
  const label: SchemaElement[] = hasList
    ? [
        { name: "label", repetition_type: "OPTIONAL", num_children: 1, converted_type: "LIST" },
        { name: "list", repetition_type: "REPEATED", num_children: 1 },
        { name: "element", type: "INT64", repetition_type: "OPTIONAL" },
      ]
    : [{ name: "label", type: "INT64", repetition_type: "OPTIONAL" }];
  const int = { dtype: "int64", _type: "Value" };
  const names =
    classes.names.length > 0
      ? { names: classes.names, _type: "ClassLabel" }
      : hasList
        ? { feature: int, _type: "Sequence" }
        : int;
  const features = {
    image: IMAGE,
    label: names,
    ...Object.fromEntries(fields.map((name) => [name, { dtype: "string", _type: "Value" }])),
    ...Object.fromEntries(parts.map((name) => [name, IMAGE])),
  };
  return {
    schema: [
      { name: "schema", num_children: 2 + fields.length + parts.length },
      ...[...imageColumn("image"), ...label],
      ...[...fields.map(text), ...parts.flatMap(imageColumn)],
    ],
    keyValues: [{ key: "huggingface", value: JSON.stringify({ info: { features } }) }],
    images: new Set(["image", ...parts]),
    row({ sample }, image) {
      const { parts: besides = [] } = restOf(sample);
      const own = fieldsFor(like, sample);
      const row = new Map<string, unknown>([["image", image], ["label", labelValue(sample.label, classes)]]); // biome-ignore format: a pair each
      for (const name of fields) row.set(name, fieldText(hasDomain && name === "domain" ? sample.domain : own.get(name)));
      const partOf = (name: string): Part | undefined => besides.find((part) => stemOf(part.name) === name);
      for (const name of parts) {
        const part = partOf(name);
        row.set(name, part && { bytes: part.bytes, path: `${stemOf(image.path)}_${part.name}` });
      }
      return row;
    },
  };
}

/** Numbers of 64 bits. */
function labelValue(label: Output["sample"]["label"], classes: Classes): bigint | bigint[] | undefined {
  const number = classes.numberOf(label);
  if (number === undefined) return undefined;
  return typeof number === "number" ? BigInt(Math.trunc(number)) : number.map((one) => BigInt(Math.trunc(one)));
}
