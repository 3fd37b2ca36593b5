import path from "node:path";
import { StylizingError } from "../errors.js";
import { ensureOutputFolder, removeStale, writeFileAtomic } from "../image/atomic-write.js";
import { fieldsFor, jsonOf } from "./fields.js";
import { type Classes, numberClasses } from "./labels.js";
import { inPieces } from "./pieces.js";
import { type Catalogue, fileOf, restOf } from "./sample.js";
import { type NewMember, tarOf } from "./tar.js";
import type { DataSetWriter, Output, WriterOptions } from "./types.js";

/** The name of a shard. */
const shardOf = (group: number): string => `shard-${String(group).padStart(6, "0")}.tar`;

/** A key as WebDataset can have it: the name of a member ends at its first dot. One to one. */
function tarKey(key: string): string {
  const at = key.lastIndexOf("/") + 1;
  return key.slice(0, at) + key.slice(at).replaceAll("%", "%25").replaceAll(".", "%2E");
}

/** Writes tar shards of WebDataset, one a group. Members of an input in tar shards pass through; of others there are `cls`, `json` and masks. */
export async function createWdsWriter(out: string, like: Catalogue, options: WriterOptions): Promise<DataSetWriter> {
  const classes = like.format === "wds" ? undefined : await numberClasses(like, options);
  await ensureOutputFolder(out);
  await removeStale(out);
  const keyOf = ({ sample, copy }: Output) => `${tarKey(sample.key)}__${copy}`;
  return {
    format: "wds",
    place: (output, group) => `${shardOf(group)}/${keyOf(output)}`,
    async write(group, outputs) {
      const members: NewMember[] = [];
      const keys = new Set<string>();
      for (const output of outputs) {
        const key = keyOf(output);
        if (keys.has(key)) throw new StylizingError("ARGUMENT", `The output ${key} comes twice.`, "Write each once.");
        keys.add(key);
        const { bytes, ending } = await fileOf(output);
        members.push({ path: `${key}.${restOf(output.sample).member ?? ""}${ending}`, bytes });
        for (const [name, bytes] of besides(output, like, classes)) members.push({ path: `${key}.${name}`, bytes });
      }
      await writeFileAtomic(path.join(out, shardOf(group)), inPieces(tarOf(members)));
    },
    async finish() {},
    async [Symbol.asyncDispose]() {},
  };
}

/** What a sample has beside its image, by the endings of members. */
function besides({ sample }: Output, like: Catalogue, classes: Classes | undefined): [string, Uint8Array][] {
  const { parts = [] } = restOf(sample);
  const members = parts.map(({ name, bytes }): [string, Uint8Array] => [name, bytes]);
  if (!classes) return members;
  const number = classes.numberOf(sample.label);
  if (typeof number === "number") members.push(["cls", Buffer.from(String(number))]);
  const json = jsonOf(fieldsFor(like, sample));
  if (typeof number === "object") json.label = number;
  if (sample.domain !== undefined && like.fields.length === 0) json.domain = sample.domain;
  if (Object.keys(json).length > 0) members.push(["json", Buffer.from(JSON.stringify(json))]);
  return members;
}
