import { type Catalogue, restOf } from "./sample.js";
import type { Sample } from "./types.js";

/** Fields of a sample as another format has them: what is its image, label or a file is said there in its own way. */
export function fieldsFor(like: Catalogue, sample: Sample): ReadonlyMap<string, unknown> {
  const { fields = new Map<string, unknown>() } = restOf(sample);
  // JSON in a tar may have any names.
  const names = like.format === "wds" ? [...fields.keys()] : like.fields;
  const others = names.filter((name) => name !== "label" && name !== "file_name" && fields.has(name));
  return new Map(others.map((name) => [name, fields.get(name)]));
}

/** Fields as JSON can have them: bytes and images are left out, and numbers of 64 bits are text where they must be. */
export function jsonOf(fields: ReadonlyMap<string, unknown>): Record<string, unknown> {
  const json: Record<string, unknown> = {};
  for (const [name, value] of fields) {
    const text = JSON.stringify(value, (_, one: unknown) => {
      if (typeof one === "bigint") return Number.isSafeInteger(Number(one)) ? Number(one) : String(one);
      return one instanceof Uint8Array ? undefined : one;
    });
    if (text !== undefined && !(typeof value === "object" && value !== null && "bytes" in value)) json[name] = JSON.parse(text);
  }
  return json;
}

/** A field as text, of a table or of a column; nothing where it has none. */
export function fieldText(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string") return value;
  const json = jsonOf(new Map([["", value]]))[""];
  return typeof json === "string" || json === undefined ? json : JSON.stringify(json);
}
