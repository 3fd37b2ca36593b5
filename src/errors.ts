/**
 * Every failure that a caller can act on is a `StylizingError`: a stable `code` to branch on and a `fix`, the
 * sentence that says what to do. The message holds both, so that a bare `console.error` is already useful.
 *
 * | code | meaning |
 * |---|---|
 * | `ARGUMENT` | an argument of a call or of the command is missing, of the wrong type or out of range |
 * | `CONFIG` | a model configuration that cannot exist, or that contradicts its weights |
 * | `CHECKPOINT` | a weights file that is damaged, of an unsupported format, or lacks a tensor |
 * | `DOWNLOAD` | a checkpoint could not be fetched, or arrived damaged |
 * | `IMAGE` | an image could not be read, or is too large |
 * | `OUTPUT` | a result could not be written, or there is no folder for the cache |
 * | `NO_ADAPTER` | no usable GPU adapter, neither hardware nor software, or a worker thread, which cannot open one |
 * | `GPU` | the device failed: a shader did not compile, validation failed, memory ran out |
 * | `DEVICE_LOST` | the device was lost and a second one failed too |
 * | `TRAINING` | a loss or a gradient was not a finite number |
 * | `QUEUE` | there is no Redis to use, or what workers were given could not be done |
 * | `DISPOSED` | an object was used after `dispose()` |
 */
export type ErrorCode =
  | "ARGUMENT"
  | "CONFIG"
  | "CHECKPOINT"
  | "DOWNLOAD"
  | "IMAGE"
  | "OUTPUT"
  | "NO_ADAPTER"
  | "GPU"
  | "DEVICE_LOST"
  | "TRAINING"
  | "QUEUE"
  | "DISPOSED";

export class StylizingError extends Error {
  override readonly name = "StylizingError";
  readonly code: ErrorCode;
  /** What to do about it, one or two sentences. */
  readonly fix: string;

  constructor(code: ErrorCode, problem: string, fix: string, options?: { cause?: unknown }) {
    super(`${problem} ${fix}`, options);
    this.code = code;
    this.fix = fix;
  }
}

/**
 * Holds an option to its names: types do not, where a caller writes plain JavaScript or reads them from a file.
 * @param what it is called in the message.
 * @throws StylizingError `ARGUMENT`, listing the names.
 */
export function checkName(what: string, value: unknown, names: readonly string[]): void {
  if (names.includes(value as string)) return;
  const found = typeof value === "string" ? `"${value}"` : String(value);
  throw new StylizingError("ARGUMENT", `Unknown ${what} ${found}.`, `Use ${names.slice(0, -1).join(", ")} or ${names.at(-1)}.`);
}

const isList = (value: unknown, of: string): boolean => Array.isArray(value) && value.every((one) => typeof one === of);

/** What an option can be, and how messages call it. */
const KINDS = {
  text: ["a text", (value) => typeof value === "string"],
  texts: ["a list of texts", (value) => isList(value, "string")],
  number: ["a number", (value) => typeof value === "number"],
  numbers: ["a list of numbers", (value) => isList(value, "number")],
  flag: ["true or false", (value) => typeof value === "boolean"],
  object: ["an object", (value) => typeof value === "object" && value !== null && !Array.isArray(value)],
  function: ["a function", (value) => typeof value === "function"],
  signal: ["an AbortSignal", (value) => value instanceof AbortSignal],
} as const satisfies Record<string, readonly [string, (value: unknown) => boolean]>;

/** The kinds that options can be of, by name. */
export type Kinds<Options> = { readonly [Name in keyof Options]?: keyof typeof KINDS | readonly (keyof typeof KINDS)[] };

/**
 * Holds options to their types, as `checkName` holds one to its names.
 * @throws StylizingError `ARGUMENT`, naming the option.
 */
export function checkKinds<Options extends object>(options: Options, kinds: Kinds<Options>): void {
  for (const [name, kind] of Object.entries(kinds) as [keyof Options & string, keyof typeof KINDS | (keyof typeof KINDS)[]][]) {
    const value: unknown = options[name];
    const allowed = [kind].flat().map((one) => KINDS[one]);
    if (value === undefined || allowed.some(([, fits]) => fits(value))) continue;
    const example = kind === "texts" && typeof value === "string" ? `: [${JSON.stringify(value)}]` : "";
    const fix = `Give ${allowed.map(([called]) => called).join(", or ")}${example}.`;
    throw new StylizingError("ARGUMENT", `${name} is ${shown(value)}.`, fix);
  }
}

/** A value in a message, whatever it is. */
function shown(value: unknown): string {
  if (typeof value === "function") return "a function";
  try {
    return (typeof value === "object" || typeof value === "string" ? JSON.stringify(value) : String(value)).slice(0, 80);
  } catch {
    return "an object";
  }
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What reports say of a failure. */
export function describeError(error: unknown): { code: string; message: string; fix: string } {
  if (error instanceof StylizingError) return { code: error.code, message: error.message, fix: error.fix };
  return { code: "UNEXPECTED", message: messageOf(error), fix: "Please report this with the output of `stylizing-vit doctor`." };
}
