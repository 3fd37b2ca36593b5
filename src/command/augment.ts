import { type Command, InvalidArgumentError, Option } from "commander";
import { type AugmentDataSetOptions, type AugmentReport, augmentDataSet } from "../augment/augment-data-set.js";
import { STYLE_WAYS, type StyleWay } from "../augment/augment-options.js";
import { replay } from "../augment/replay.js";
import { DATA_FORMATS } from "../datasets/open.js";
import type { DataFormat } from "../datasets/types.js";
import type { Params } from "../restyle/types.js";
import { Progress } from "./progress.js";
import {
  addModelFlags,
  countFromZero,
  EXIT,
  interruptible,
  loadOptions,
  type ModelFlags,
  note,
  positiveInteger,
  printJson,
  wholeNumber,
} from "./shared.js";

interface AugmentFlags extends ModelFlags {
  in: string;
  out: string;
  method?: string;
  params?: Params;
  copies: number;
  portion?: number;
  p?: number;
  styles?: StyleWay;
  style?: string[];
  exclude?: string[];
  strength?: readonly [number, number];
  styleCrop?: boolean;
  keepOriginals?: boolean;
  seed: number;
  inputFormat?: DataFormat;
  format?: DataFormat;
  domain?: string;
  split?: string;
  label?: string;
  maskSuffix?: string;
  background?: "keep" | "paint";
  skipBlank?: boolean;
  batch?: number;
  workers?: number;
  shardSize?: number;
  queue?: string;
  overwrite?: boolean;
}

/** A probability. */
export function share(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError("It must be a number from 0 to 1.");
}

/** `A:B`, or one number for both. */
export function range(text: string): readonly [number, number] {
  const [least, most = least, ...more] = text.split(":").map(share);
  if (more.length > 0 || least! > most!) throw new InvalidArgumentError("It must be A:B, A the smaller one.");
  return [least!, most!];
}

/** An object in JSON. */
export function paramsOf(text: string): Params {
  try {
    const value: unknown = JSON.parse(text);
    if (value && typeof value === "object" && !Array.isArray(value)) return value as Params;
  } catch {}
  throw new InvalidArgumentError(`It must be a JSON object: '{"scale": [1.1, 0.9]}'.`);
}

/** Says on stderr what was done. @returns the exit code */
function conclude(report: AugmentReport, { out, json }: Pick<AugmentFlags, "out" | "json">): number {
  const { samples, outputs, restyled, unchanged, failed, skipped, imagesPerSecond, manifest, failedShards = [] } = report;
  if (skipped === samples) note(`nothing left to do: all ${samples} samples are in ${out}`);
  else {
    const before = skipped > 0 ? `, ${skipped} samples were there already` : "";
    note(
      `${outputs} images of ${samples - skipped} samples into ${out} (${restyled} restyled, ${unchanged} as they were${failed > 0 ? `, ${failed} failed` : ""}${before}), ${imagesPerSecond} images/s`,
    );
  }
  for (const { first, groups, error } of failedShards)
    note(`not made: groups ${first} to ${first + groups - 1}: ${error.message} Run the command again to try them once more.`);
  note(`what was done to each: ${manifest}`);
  if (json) printJson(report);
  return failed > 0 || report.stopReason || failedShards.length > 0 ? EXIT.failed : EXIT.done;
}

/** Runs `work` with a bar of samples. */
async function withBar<T>(
  what: string,
  work: (onProgress: (done: number, total: number, detail?: string) => void) => Promise<T>,
): Promise<T> {
  let bar: Progress | undefined;
  try {
    return await work((done, total, detail) => {
      bar ??= new Progress(what, total, "samples", { detail: detail !== undefined });
      bar.update(done, detail);
    });
  } finally {
    bar?.stop();
  }
}

const STOP = { after: "what is under way", before: "all was done", fix: "The same command goes on where this one ended." };

export function addAugment(program: Command): void {
  const command = program
    .command("augment")
    .description("multiply a data set: its images in other styles, labels and masks as they are")
    .requiredOption("--in <path>", "the data set: a folder a class, CSV, .npz, tar shards, parquet, or a Hugging Face folder")
    .requiredOption("--out <folder>", "where the augmented one goes")
    .option("--method <names>", "NAME[:WEIGHT],...: each copy gets one, drawn by weight (default: stylizing-vit)")
    .option("--params <json>", "numbers of the method, or of several by name; what is missing is drawn", paramsOf)
    .option("--copies <n>", "of each sample", positiveInteger, 1)
    .option("--p <share>", "how often a copy is restyled at all, from 0 to 1 (default: 1)", share)
    .option("--portion <share>", "the same under its published name", share)
    .addOption(
      new Option(
        "--styles <way>",
        "roll: a sample that follows; bank: one of --style; domain: a sample of another domain (default: bank with --style, else roll)",
      ).choices([...STYLE_WAYS]),
    )
    .option("--style <path...>", "images, or folders of images, to take styles from")
    .option("--exclude <folder...>", "images that must not be among the styles: validation and test splits")
    .option("--strength <a:b>", "between the image, 0, and its restyled one, 1; drawn between two (default: 1)", range)
    .option("--style-crop", "take a square of the style, half to all of its shorter side")
    .option("--keep-originals", "write the samples themselves too")
    .option("--seed <n>", "of all that is drawn", wholeNumber, 0)
    .addOption(new Option("--input-format <kind>", "where it cannot be told").choices([...DATA_FORMATS]))
    .addOption(new Option("--format <kind>", "of the result (default: the input's)").choices([...DATA_FORMATS]))
    .option("--domain <name>", "the column, or the number of the folder below --in, that says where a sample is from")
    .option("--split <name>", "which part of the data set (default: train, where there is one)")
    .option("--label <name>", "the column or field that is the class (default: one that is called so)")
    .option("--mask-suffix <text>", "what a mask's name ends with before its ending (default: _mask)")
    .addOption(
      new Option("--background <way>", "keep: bare glass stays as it is; paint: everything is painted").choices([
        "keep",
        "paint",
      ]),
    )
    .option("--skip-blank", "leave tiles without tissue as they are")
    .option("--batch <n>", "images per submission; results do not depend on it", positiveInteger)
    .option("--workers <n>", "threads that read and write images; 0: none", countFromZero)
    .option("--shard-size <n>", "images of a shard, for tar, parquet and npz (default: 256)", positiveInteger)
    .option("--model <name>", "of stylizing-vit: a published name, a folder, a .safetensors file, or demo", "demo")
    .option("--queue <url>", "a Redis, redis://HOST:PORT: those who run `stylizing-vit worker --queue` make the images")
    .option("--overwrite", "begin anew where results are there already (default: go on with them)");
  addModelFlags(command, { tune: false }).action(async (flags: AugmentFlags) => {
    const { in: data, json, config, preset, precision, adapter, ...rest } = flags;
    const options: Omit<AugmentDataSetOptions, "onProgress"> = { ...rest, data, load: loadOptions(flags), onNote: note };
    const work = (signal: AbortSignal) =>
      withBar("augmenting", (onProgress) => augmentDataSet({ ...options, onProgress }, signal));
    process.exitCode = conclude(await interruptible(work, STOP), flags);
  });
}

interface ReplayFlags extends Omit<ModelFlags, "model"> {
  in?: string;
  model?: string;
  batch?: number;
  workers?: number;
}

export function addReplay(program: Command): void {
  const command = program
    .command("replay")
    .description("compute what a manifest lists again, and compare")
    .argument("<manifest>", "manifest.jsonl, or manifest.jsonl:LINE for one line alone")
    .option("--in <path>", "where the data set is now (default: as the manifest says)")
    .option("--model <name>", "where the model is now (default: as the manifest says)")
    .option("--batch <n>", "images per submission", positiveInteger)
    .option("--workers <n>", "threads that read images; 0: none", countFromZero);
  addModelFlags(command, { tune: false }).action(async (given: string, flags: ReplayFlags) => {
    const [, file = given, line] = /^(.+):(\d+)$/.exec(given) ?? [];
    const options = {
      manifest: file,
      line: line === undefined ? undefined : Number(line),
      load: loadOptions({ model: "", ...flags }),
      onNote: note,
    };
    const report = await interruptible(
      (signal) =>
        withBar("replaying", (onProgress) =>
          replay(
            { ...options, in: flags.in, model: flags.model, batch: flags.batch, workers: flags.workers, onProgress },
            signal,
          ),
        ),
      { after: "this batch", before: "all was compared" },
    );
    const { outputs, identical, samePixels, withinOneLevel, differences, skipped } = report;
    for (const { line: number, key, copy, problem } of differences) note(`line ${number}: ${key}, copy ${copy}: ${problem}`);
    const rest = [
      samePixels && `${samePixels} have the same pixels in other bytes`,
      withinOneLevel && `${withinOneLevel} are within one level, on another adapter`,
      differences.length && `${differences.length} differ`,
      skipped && `${skipped} had failed`,
    ].filter(Boolean);
    note([`${identical} of ${outputs} outputs are identical`, ...rest].join(", "));
    if (flags.json) printJson(report);
    process.exitCode = differences.length > 0 ? EXIT.failed : EXIT.done;
  });
}
