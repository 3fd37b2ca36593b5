import path from "node:path";
import { findNodeAtLocation, parseTree } from "jsonc-parser";
import { ensureOutputFolder, outputError, removeStale, writeFileAtomic } from "../image/atomic-write.js";
import { csvLine } from "../image/csv.js";
import { makeFolder } from "../image/make-folder.js";
import { fieldsFor, fieldText, jsonOf } from "./fields.js";
import { GroupParts } from "./group-parts.js";
import { classNameOf } from "./labels.js";
import { type Catalogue, fileOf, isLost, type Part, restOf, stemOf } from "./sample.js";
import type { DataSetWriter, Output, WriterOptions } from "./types.js";

/** Files that are written together. */
const AT_ONCE = 8;

/** A text of the input as a part of a name: nothing in it leads elsewhere. */
const safe = (text: string): string => text.replaceAll(/[/\\\0]/g, "_");

/** A class as the name of a folder that is not hidden. */
const folderName = (label: string): string => safe(label).replace(/^\.+/, (dots) => "_".repeat(dots.length));

/** Where the file of a part goes, beside its image's. */
const partPlace = (stem: string, { name, behind }: Part): string =>
  `${stem}${behind ?? safe(name.includes(".") ? `_${name}` : `.${name}`)}`;

/** A line of a table: of what there is beside the images of an output. */
type LineOf = (output: Output, place: string, parts: readonly [Part, string][]) => string;

/**
 * Writes images into folders: `CLASS/STEM__N.png`, masks beside them, and for tables `metadata.csv` or `metadata.jsonl` at the end. Keys
 * that are paths stay so; of others the class or `images` is the folder.
 */
export async function createFileWriter(
  format: "folder" | "csv" | "hf",
  out: string,
  like: Catalogue,
  options: WriterOptions,
): Promise<DataSetWriter> {
  const keepsPaths = like.format === "folder" || like.format === "csv" || like.format === "hf";
  const place = ({ sample, copy, image = sample.image }: Output): string => {
    const className = classNameOf(sample);
    const needsClass = format === "folder" && like.format !== "folder" && className !== undefined;
    const above = needsClass ? `${folderName(className)}/` : format !== "folder" && !keepsPaths ? "images/" : "";
    return `${above}${sample.key}__${copy}.${"bytes" in image ? image.ending : "png"}`;
  };
  const isJson = format === "hf" && !(like.format === "hf" && !like.table?.isJson);
  const table = format === "folder" ? undefined : isJson ? jsonTable(like) : await csvTable(format, like, options);
  const lacking = format === "folder" ? like.fields : [];
  if (lacking.length > 0) options.onNote?.(`not carried over into folders: ${lacking.join(", ")}`);

  await ensureOutputFolder(out);
  const ready = new Map<string, Promise<void>>();
  const prepare = (folder: string): Promise<void> => {
    let known = ready.get(folder);
    if (!known) {
      known = makeFolder(folder).then(
        () => removeStale(folder),
        (error: unknown) => {
          throw outputError(folder, error, "folder");
        },
      );
      ready.set(folder, known);
    }
    return known;
  };
  await prepare(out);
  const save = async (name: string, bytes: Uint8Array): Promise<void> => {
    const file = path.join(out, name);
    await prepare(path.dirname(file));
    await writeFileAtomic(file, bytes);
  };
  const parts = new GroupParts(out, options.joins);
  const name = isJson ? "metadata.jsonl" : "metadata.csv";

  const one = async (output: Output): Promise<string> => {
    const image = place(output);
    await save(image, (await fileOf(output)).bytes);
    const files: [Part, string][] = [];
    for (const part of restOf(output.sample).parts ?? []) {
      // The class of a sample of a tar is its folder, or a field; JSON is in lines of JSON.
      if (part.name === "cls" || (part.name === "json" && isJson)) continue;
      const file = partPlace(stemOf(image), part);
      await save(file, part.bytes);
      files.push([part, file]);
    }
    return table?.line(output, image, files) ?? "";
  };
  return {
    format,
    place,
    async write(group, outputs) {
      const lines: string[] = [];
      for (let first = 0; first < outputs.length; first += AT_ONCE) {
        lines.push(...(await Promise.all(outputs.slice(first, first + AT_ONCE).map(one))));
      }
      if (table) await parts.write(group, name, lines.join(""));
    },
    async open() {
      if (table) await parts.open();
    },
    async finish(groups) {
      if (!table) return;
      const file = path.join(out, name);
      await parts.assemble(groups, name, file, () => writeFileAtomic(file, wholeTable(parts, groups, name, table.header)));
    },
    async [Symbol.asyncDispose]() {},
  };
}

async function* wholeTable(parts: GroupParts, groups: number, name: string, header: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(header);
  for (let group = 0; group < groups; group++) yield* parts.read(group, name);
}

interface Table {
  header: string;
  line: LineOf;
}

/** A CSV file: with the columns of a table that is read, or with path, label, domain and the fields that there are. */
async function csvTable(format: "csv" | "hf", like: Catalogue, { signal }: WriterOptions): Promise<Table> {
  const image = format === "hf" ? "file_name" : "path";
  const { table } = like;
  if (table && like.format === format) {
    const column = table.path ?? image;
    const columns = table.columns.includes(column) ? table.columns : [...table.columns, column];
    return {
      header: csvLine(columns),
      line: ({ sample }, place, parts) => {
        const { fields } = restOf(sample);
        const files = new Map(parts.map(([{ column }, file]) => [column, file]));
        return csvLine(
          columns.map((name) => (name === column ? place : (files.get(name) ?? fieldText(fields?.get(name)) ?? ""))),
        );
      },
    };
  }
  let hasDomain = false;
  for await (const key of like.keys(signal)) {
    if (isLost(key)) continue;
    hasDomain = key.domain !== undefined && like.fields.length === 0;
    break;
  }
  const suffix = format === "hf" ? "_file_name" : "";
  const domain = hasDomain ? ["domain"] : [];
  const columns = [
    image,
    "label",
    ...domain,
    ...like.fields.filter((name) => name !== "label"),
    ...like.parts.map((name) => name + suffix),
  ];
  return {
    header: csvLine(columns),
    line: ({ sample }, place, parts) => {
      const fields = fieldsFor(like, sample);
      const files = new Map(parts.map(([{ name }, file]) => [stemOf(name), file]));
      const values = [place, classNameOf(sample) ?? "", ...domain.map(() => sample.domain ?? "")];
      const others = like.fields.filter((name) => name !== "label").map((name) => fieldText(fields.get(name)) ?? "");
      return csvLine([...values, ...others, ...like.parts.map((name) => files.get(name) ?? "")]);
    },
  };
}

/** Lines of JSON: those that are read, with the image's name and those of its files in place of theirs; or what there is of others. */
function jsonTable(like: Catalogue): Table {
  const line: LineOf = ({ sample }, place, parts) => {
    const { line, className } = restOf(sample);
    if (line !== undefined) {
      const names = [
        ["file_name", place],
        ...parts.flatMap(([{ column }, file]) => (column === undefined ? [] : [[column, file]])),
      ];
      return `${replaced(line, names as [string, string][])}\n`;
    }
    const label = className ?? sample.label;
    const files = parts.map(([{ name }, file]) => [`${stemOf(name)}_file_name`, file]);
    const others = jsonOf(fieldsFor(like, sample));
    const domain = sample.domain === undefined || like.fields.length > 0 ? {} : { domain: sample.domain };
    return `${JSON.stringify({ file_name: place, ...(label === undefined ? {} : { label }), ...domain, ...others, ...Object.fromEntries(files) })}\n`;
  };
  return { header: "", line };
}

/** A JSON object with other texts under some of its names; everything else stays byte for byte, numbers too. */
function replaced(line: string, values: readonly [string, string][]): string {
  const tree = parseTree(line);
  const edits = values.flatMap(([name, value]) => {
    const node = tree && findNodeAtLocation(tree, [name]);
    return node ? [{ from: node.offset, to: node.offset + node.length, text: JSON.stringify(value) }] : [];
  });
  let text = line;
  for (const { from, to, text: value } of edits.sort((a, b) => b.from - a.from))
    text = text.slice(0, from) + value + text.slice(to);
  return text.trim();
}
