import { byCodeUnits, someOf } from "../image/folder.js";
import { isLost, restOf } from "./sample.js";
import type { DataSet, Sample, SampleKey } from "./types.js";

/** A label as it is in a file; nothing for an empty field or null. */
export function asLabel(value: unknown): SampleKey["label"] {
  if (typeof value === "bigint" || typeof value === "number" || typeof value === "boolean") return Number(value);
  if (typeof value === "string") return value.trim() || undefined;
  if (value instanceof Uint8Array) return Buffer.from(value).toString() || undefined;
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value as ArrayLike<unknown>, Number);
  return undefined;
}

/** A label as text: a name in a folder, a field of a table. */
export const labelText = (label: SampleKey["label"]): string | undefined =>
  label === undefined ? undefined : typeof label === "object" ? label.join(" ") : String(label);

/** Whether a class is written as a number. */
const isWhole = (text: string): boolean => /^(0|[1-9]\d{0,8})$/.test(text);

/** The class of a sample as people call it. */
export const classNameOf = (sample: Sample): string | undefined => restOf(sample).className ?? labelText(sample.label);

/** Numbers of classes, for formats that have no names. */
export interface Classes {
  /** By number; empty where labels are numbers themselves. */
  readonly names: readonly string[];
  numberOf(label: SampleKey["label"]): number | readonly number[] | undefined;
}

/** Numbers a data set's classes in the order of their names, by code units; labels that are whole numbers stay as they are. */
export async function numberClasses(
  like: DataSet,
  { onNote, signal }: { onNote?: ((note: string) => void) | undefined; signal?: AbortSignal | undefined },
): Promise<Classes> {
  const found = new Set<string>();
  let areNumbers = true;
  for await (const key of like.keys(signal)) {
    if (isLost(key) || key.label === undefined || typeof key.label === "object") continue;
    const text = labelText(key.label)!;
    areNumbers &&= typeof key.label === "number" || isWhole(text);
    if (!areNumbers || typeof key.label === "string") found.add(text);
  }
  const names = areNumbers ? [] : [...found].sort(byCodeUnits);
  const numbers = new Map(names.map((name, number) => [name, number]));
  if (names.length > 0)
    onNote?.(
      `classes are numbers there: ${someOf(
        names.map((name, number) => `${number} ${name}`),
        10,
      )}`,
    );
  return {
    names,
    numberOf(label) {
      if (label === undefined || typeof label === "object") return label;
      return areNumbers ? Number(label) : numbers.get(labelText(label)!);
    },
  };
}
