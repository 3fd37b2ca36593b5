import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { basename } from "node:path";
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

/** What each signal that stops is called. */
const STOPS = { SIGINT: "Ctrl-C", SIGTERM: "SIGTERM", SIGHUP: "a hangup" } as const;
type StopSignal = keyof typeof STOPS;

/** The one that came last. */
let stoppedBy: StopSignal = "SIGINT";

/** 0 done, 1 something failed, 2 wrong usage, 3 no usable adapter; stopped by a signal as shells have it: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  noAdapter: 3,
  get stopped() {
    return 128 + constants.signals[stoppedBy];
  },
} as const;

/** What the first of those signals raises. */
export class Stopped extends Error {
  override readonly name = "Stopped";
  /** How to go on. */
  readonly fix: string;

  constructor(message: string, fix: string) {
    super(`${message} ${fix}`);
    this.fix = fix;
  }
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
  if (error instanceof Stopped) return { code: "STOPPED", message: error.message, fix: error.fix };
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

export const adapterOption = () =>
  new Option("--adapter <kind>", "where to run (default: auto, or STYLIZING_VIT_ADAPTER)").choices([
    "auto",
    "hardware",
    "software",
  ]);

/** Which of several adapters. It is a process's, as Dawn has it, so the environment carries it: see `takeDevice`. */
export const deviceOption = () =>
  new Option(
    "--device <which>",
    "the adapter of this number in `doctor`'s list, or with this in its name (default: STYLIZING_VIT_DEVICE)",
  ).conflicts("adapter");

/** Gives a verb's `--device` to this process and its children. */
export function takeDevice(command: Command): void {
  const device: unknown = command.getOptionValue("device");
  if (typeof device !== "string") return;
  process.env.STYLIZING_VIT_DEVICE = device;
  command.setOptionValue("device", undefined);
}

export function addModelFlags(command: Command, { tune = true, json }: { tune?: boolean; json?: string } = {}): Command {
  addSourceFlags(command, json)
    .addOption(new Option("--precision <tier>", "arithmetic").choices(["auto", "f32", "f16", "matrix"]).default("auto"))
    .addOption(adapterOption())
    .addOption(deviceOption());
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

/**
 * Runs `work` with a signal that the first Ctrl-C, SIGTERM or hangup raises. A second Ctrl-C ends the process as it always does; SIGTERM and
 * SIGHUP may come twice by themselves (`timeout` sends one to the process and one to its group), and are taken once.
 * @param options `after` and `before`: what is finished first, and what the end came before; `fix`: how to go on.
 */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { after = "this batch", before = "anything was painted", fix = "Run it again." } = {},
): Promise<T> {
  const controller = new AbortController();
  const stop = (signal: StopSignal) => {
    if (signal === "SIGHUP" && outlivesTerminal) return;
    process.off("SIGINT", stop);
    if (controller.signal.aborted) return;
    stoppedBy = signal;
    note(
      signal === "SIGINT" ? `\nstopping after ${after} (Ctrl-C again to stop at once)` : `\n${signal}: stopping after ${after}`,
    );
    controller.abort(new Stopped(`Stopped by ${STOPS[signal]} before ${before}.`, fix));
  };
  const outlivesTerminal = hangupIgnored();
  const signals = Object.keys(STOPS) as StopSignal[];
  for (const signal of signals) process.on(signal, stop);
  try {
    return await work(controller.signal);
  } finally {
    for (const signal of signals) process.off(signal, stop);
  }
}

/**
 * Whether this process was started to outlive its terminal. Node puts every signal's default back when it starts, so that one that was to
 * be ignored would end it: what says so are the shell's `_`, the program that it was told to run, and a parent that ignores hangups itself.
 */
function hangupIgnored(): boolean {
  if (basename(process.env._ ?? "") === "nohup") return true;
  return ["self", process.ppid].some((id) => {
    try {
      const [, mask = "0"] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${id}/status`, "utf8")) ?? [];
      return (BigInt(`0x${mask}`) & 1n) === 1n;
    } catch {
      return false;
    }
  });
}
