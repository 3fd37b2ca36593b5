import { StylizingError } from "../errors.js";
import type { Parameter, Params, ParamValue } from "./types.js";

/** A parameter and the values that it can have. */
export interface Spec extends Parameter {
  /** Why a value is none of it, as the end of a sentence; undefined where it is one. */
  problem(value: ParamValue): string | undefined;
}

interface Range {
  least?: number;
  most?: number;
}

const describe = (value: unknown): string => {
  const text = typeof value === "number" ? String(value) : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
};

function numberProblem(value: unknown, { least = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY }: Range): boolean {
  return !(typeof value === "number" && Number.isFinite(value) && value >= least && value <= most);
}

const isVector = (value: unknown, length: number, range: Range): boolean =>
  Array.isArray(value) && value.length === length && !value.some((one) => numberProblem(one, range));

const spec = (name: string, takes: string, otherwise: string, fits: (value: ParamValue) => boolean): Spec => ({
  ...{ name, takes, otherwise },
  problem: (value) => (fits(value) ? undefined : `${name} is ${describe(value)}, and takes ${takes}`),
});

export const numberOf = (name: string, takes: string, otherwise: string, range: Range): Spec =>
  spec(name, takes, otherwise, (value) => !numberProblem(value, range));

export const vectorOf = (name: string, length: number, takes: string, otherwise: string, range: Range = {}): Spec =>
  spec(name, takes, otherwise, (value) => isVector(value, length, range));

/** Rows of three numbers. */
export const rowsOf = (name: string, rows: number, takes: string, otherwise: string, fits: (rows: number[][]) => boolean): Spec =>
  spec(name, takes, otherwise, (value) => {
    const list = value as readonly ParamValue[];
    return (
      Array.isArray(value) && value.length === rows && list.every((row) => isVector(row, 3, {})) && fits(value as number[][])
    );
  });

export const choiceOf = (name: string, choices: readonly string[], otherwise: string): Spec =>
  spec(name, `${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}`, otherwise, (value) => choices.includes(value as string));

export const flagOf = (name: string, otherwise: string, meaning: string): Spec =>
  spec(name, `true or false: ${meaning}`, otherwise, (value) => typeof value === "boolean");

/** Vectors of three numbers by name, all of them. */
export const vectorsOf = (name: string, names: readonly string[], takes: string, otherwise: string): Spec =>
  spec(name, takes, otherwise, (value) => {
    if (typeof value !== "object" || Array.isArray(value)) return false;
    const entries = value as Readonly<Record<string, readonly number[]>>;
    const keys = Object.keys(entries);
    return keys.length === names.length && names.every((one) => isVector(entries[one], 3, {}));
  });

/** Insertions, deletions and changes of letters between two names (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length]!;
}

/** The name that is most like one, where one is like it. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  const all = names.map((one) => ({ one, apart: distance(name.toLowerCase(), one.toLowerCase()) }));
  const best = all.reduce((least, other) => (other.apart < least.apart ? other : least), {
    one: "",
    apart: Number.POSITIVE_INFINITY,
  });
  return best.apart <= Math.max(2, name.length / 3) ? best.one : undefined;
}

/**
 * Holds numbers to a method's parameters.
 * @throws StylizingError `ARGUMENT` for an unknown name or a value that a parameter cannot have
 */
export function checkParams(method: string, specs: readonly Spec[], params: Params): void {
  if (typeof params !== "object" || params === null || Array.isArray(params))
    throw new StylizingError(
      "ARGUMENT",
      `The parameters of ${method} are ${describe(params)}.`,
      "Give an object of numbers by name.",
    );
  for (const [name, value] of Object.entries(params)) {
    const found = specs.find((one) => one.name === name);
    if (!found) {
      const names = specs.map((one) => one.name);
      const like = nearest(name, names);
      const all = names.length > 0 ? `It has ${names.join(", ")}.` : "It has none.";
      throw new StylizingError("ARGUMENT", `${method} has no parameter ${name}.`, like ? `Did you mean ${like}? ${all}` : all);
    }
    const problem = found.problem(value);
    if (problem) throw new StylizingError("ARGUMENT", `${method}: ${problem}.`, `\`stylizing-vit methods ${method}\` says more.`);
  }
}
