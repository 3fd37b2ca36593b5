import { type Command, InvalidArgumentError, Option } from "commander";
import { type ErrorCode, messageOf, StylizingError } from "../errors.js";
import type { Precision } from "../gpu/profile.js";
import type { LoadOptions, LoadProgress } from "../model/stylizing-vit.js";
import { Progress } from "./progress.js";

/** 0 done, 1 something failed, 2 wrong usage, 3 no usable adapter, 130 stopped by Ctrl-C (as shells have it). */
export const EXIT = { done: 0, failed: 1, usage: 2, noAdapter: 3, stopped: 130 } as const;

/** What the first Ctrl-C raises. */
export class Stopped extends Error {
  override readonly name = "Stopped";
}

export function exitCode(error: unknown): number {
  if (error instanceof Stopped) return EXIT.stopped;
  const code: ErrorCode | undefined = error instanceof StylizingError ? error.code : undefined;
  if (code === "ARGUMENT") return EXIT.usage;
  return code === "NO_ADAPTER" ? EXIT.noAdapter : EXIT.failed;
}

/** Notes go to stderr: stdout carries results alone. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

export function printJson(document: unknown): void {
  process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
}

/** What `--json` prints of a failure. */
export function errorDocument(error: unknown): { code: string; message: string; fix: string } {
  if (error instanceof StylizingError) return { code: error.code, message: error.message, fix: error.fix };
  if (error instanceof Stopped) return { code: "STOPPED", message: error.message, fix: "Run it again." };
  return { code: "UNEXPECTED", message: messageOf(error), fix: "Please report this with the output of `stylizing-vit doctor`." };
}

export function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError("It must be a positive whole number.");
  return value;
}

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(value)) throw new InvalidArgumentError("It must be a whole number.");
  return value;
}

/** `r,g,b`, or one number for a grey model. */
export function channelList(text: string): number[] {
  const values = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (values.some((value) => !Number.isFinite(value)))
    throw new InvalidArgumentError("It must be numbers with commas between, one a channel: .74,.59,.72");
  return values;
}

/** Options of every verb that runs a model. */
export interface ModelFlags {
  model: string;
  config?: string;
  preset?: string;
  precision: Precision;
  adapter?: "auto" | "hardware" | "software";
  json?: boolean;
}

export function addModelFlags(command: Command): Command {
  return command
    .option("--config <file>", "the model's configuration, as JSON")
    .option("--preset <name>", "a published size instead of a configuration: tiny, small or base")
    .addOption(new Option("--precision <tier>", "arithmetic").choices(["auto", "f32", "f16", "matrix"]).default("auto"))
    .addOption(
      new Option("--adapter <kind>", "where to run (default: auto, or STYLIZING_VIT_ADAPTER)").choices([
        "auto",
        "hardware",
        "software",
      ]),
    )
    .option("--json", "print one JSON document on stdout");
}

/** The library's options for a verb's flags, with the loading shown on stderr. */
export function loadOptions(flags: ModelFlags): LoadOptions {
  let bar: Progress | undefined;
  let phase = "";
  return {
    ...(flags.config === undefined ? {} : { config: flags.config }),
    ...(flags.preset === undefined ? {} : { preset: flags.preset }),
    ...(flags.adapter === undefined ? {} : { adapter: flags.adapter }),
    precision: flags.precision,
    onNote: note,
    onProgress: (progress: LoadProgress) => {
      if (progress.phase !== phase) {
        bar?.stop();
        phase = progress.phase;
        const bytes = phase === "download" || phase === "verify";
        bar =
          phase === "ready" || phase === "compile" ? undefined : new Progress(phase, progress.total, bytes ? "bytes" : "layers");
      }
      bar?.update(progress.loaded);
    },
  };
}
