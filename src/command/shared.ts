import { type Command, InvalidArgumentError, Option } from "commander";
import { describeError, type ErrorCode, StylizingError } from "../errors.js";
import type { Precision } from "../gpu/profile.js";
import type { TuneMode } from "../gpu/tuner.js";
import { MOST_LEVELS } from "../image/decode.js";
import { statisticsCure } from "../models/config-checks.js";
import type { LoadProgress } from "../models/load.js";
import type { ExportProgress } from "../onnx/export.js";
import type { LoadOptions } from "../painter/types.js";
import { note, Progress } from "./progress.js";

export { note };

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

export function printJson(document: unknown): void {
  process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
}

/** A line of a stream of them. */
export function printJsonLine(document: unknown): void {
  process.stdout.write(`${JSON.stringify(document)}\n`);
}

/** What `--json` prints of a failure. */
export function errorDocument(error: unknown): ReturnType<typeof describeError> {
  if (error instanceof Stopped) return { code: "STOPPED", message: error.message, fix: "Run it again." };
  return describeError(error);
}

export function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError("It must be a positive whole number.");
  return value;
}

export function countFromZero(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError("It must be a whole number from 0 on.");
  return value;
}

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(value)) throw new InvalidArgumentError("It must be a whole number.");
  return value;
}

export function positiveNumber(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError("It must be a number above 0.");
  return value;
}

export function numberFromZero(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError("It must be a number from 0 on.");
  return value;
}

/** Numbers with commas between; NaN where one is none. */
export const numberList = (text: string): number[] =>
  text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));

/** `r,g,b`, or one number for a grey model: the mean or the deviation of pixels in [0, 1]. */
const channelList =
  (name: "mean" | "std") =>
  (text: string): number[] => {
    const values = numberList(text);
    if (values.some((value) => !Number.isFinite(value)))
      throw new InvalidArgumentError("It must be numbers with commas between, one a channel: .74,.59,.72");
    const cure = statisticsCure(name, values);
    if (cure !== undefined) throw new InvalidArgumentError(cure);
    return values;
  };

export const meanList = channelList("mean");
export const deviationList = channelList("std");

/** Options of verbs that read image files. */
export function addReadFlags(command: Command): Command {
  const page = (text: string) => (text === "all" ? text : positiveInteger(text));
  const white = (text: string) => {
    const value = text === "auto" ? text : positiveInteger(text);
    if (value === "auto" || value <= MOST_LEVELS) return value;
    throw new InvalidArgumentError(`It must be auto, or a whole number up to ${MOST_LEVELS}.`);
  };
  return command
    .option("--page <n>", "which page or frame of files that have several; all: an image for each (default: the first)", page)
    .option(
      "--white <value>",
      "the value of 16-bit files that is white, where they use fewer bits, such as 4095; auto: by each file's largest",
      white,
    );
}

/** Options of every verb that takes a model. */
export interface SourceFlags {
  model: string;
  config?: string;
  preset?: string;
  json?: boolean;
}

/** And of those that run it. */
export interface ModelFlags extends SourceFlags {
  precision: Precision;
  adapter?: "auto" | "hardware" | "software";
  tune?: TuneMode;
}

export function addSourceFlags(command: Command, json = "print one JSON document on stdout"): Command {
  return command
    .option("--config <file>", "the model's configuration, as JSON")
    .option(
      "--preset <name>",
      "a published size instead of a configuration: tiny, small or base; of a classifier deit-tiny, deit-small or deit-base",
    )
    .option("--json", json);
}

export function addModelFlags(command: Command, { tune = true, json }: { tune?: boolean; json?: string } = {}): Command {
  addSourceFlags(command, json)
    .addOption(new Option("--precision <tier>", "arithmetic").choices(["auto", "f32", "f16", "matrix"]).default("auto"))
    .addOption(
      new Option("--adapter <kind>", "where to run (default: auto, or STYLIZING_VIT_ADAPTER)").choices([
        "auto",
        "hardware",
        "software",
      ]),
    );
  if (tune) {
    const text = "choose kernels' tiles by measuring (default: auto); off gives the same bits on every run";
    command.addOption(new Option("--tune <mode>", text).choices(["auto", "off"]));
  }
  return command;
}

/** The library's options for where a model comes from, with the way of it shown on stderr. */
export function sourceOptions(flags: SourceFlags) {
  let bar: Progress | undefined;
  let phase = "";
  return {
    ...(flags.config === undefined ? {} : { config: flags.config }),
    ...(flags.preset === undefined ? {} : { preset: flags.preset }),
    onProgress: (progress: Pick<LoadProgress | ExportProgress, "phase" | "loaded" | "total">) => {
      if (progress.phase !== phase) {
        bar?.stop();
        phase = progress.phase;
        bar =
          phase === "ready" || phase === "compile"
            ? undefined
            : new Progress(phase, progress.total, phase === "upload" ? "layers" : "bytes");
      }
      bar?.update(progress.loaded);
    },
  };
}

/** And for where it runs. */
export function loadOptions(flags: ModelFlags): Omit<LoadOptions, "config"> & { config?: string } {
  return {
    ...sourceOptions(flags),
    ...(flags.adapter === undefined ? {} : { adapter: flags.adapter }),
    ...(flags.tune === undefined ? {} : { tune: flags.tune }),
    precision: flags.precision,
    onNote: note,
  };
}

/** Runs `work` with a signal that the first Ctrl-C raises; the second ends the process as it always does. */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { after = "this batch", before = "anything was painted" } = {},
): Promise<T> {
  const controller = new AbortController();
  const stop = () => {
    note(`\nstopping after ${after} (Ctrl-C again to stop at once)`);
    controller.abort(new Stopped(`Stopped by Ctrl-C before ${before}.`));
  };
  process.once("SIGINT", stop);
  try {
    return await work(controller.signal);
  } finally {
    process.off("SIGINT", stop);
  }
}
