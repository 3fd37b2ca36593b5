import { byCodeUnits, someOf } from "../image/folder.js";
import { isLost, isWhole, labelText } from "./sample.js";
import type { DataSet, SampleKey } from "./types.js";

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
