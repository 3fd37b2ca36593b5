import { parseArgs } from "node:util";
import type { AdapterChoice } from "../src/gpu/gpu.js";
import type { Tier } from "../src/gpu/profile.js";
import { ALL_OPS, FORWARD_OPS } from "../test/ops/all.js";

export const SECTIONS = ["parity", "op", "ladder", "host", "model", "files", "cold", "rivals", "training", "quality"] as const;
/** Sections that run only when they are named: a course, what fetches much when it is first asked for, what takes long, and what needs images. */
const ON_REQUEST: readonly Section[] = ["ladder", "rivals", "training", "quality"];
export type Section = (typeof SECTIONS)[number];
export const OPS: readonly string[] = ALL_OPS.map(({ name }) => name);
/** What runs where no kernels are asked for. */
const FEW_OPS: readonly string[] = FORWARD_OPS.map(({ name }) => name);
export type OpName = string;
export const LADDERS = ["linear", "attention"] as const;
export type LadderName = (typeof LADDERS)[number];
export const MODELS = ["demo", "tiny", "small", "base"] as const;
export type ModelName = (typeof MODELS)[number];
/** Training takes many times a forward pass: `nano` is small enough for any CPU. */
export const TRAINING_MODELS = ["nano", ...MODELS] as const;
export type TrainingName = (typeof TRAINING_MODELS)[number];

/** What `--against` compares a commit on. */
export interface Against {
  commit: string;
  /** A ratio below this one fails. */
  failBelow: number | undefined;
  /** Rounds a case before it is first looked at whether that was enough; undefined: what suits `--quick`. */
  rounds: number | undefined;
  cases: readonly { model: ModelName; batch: number }[];
}

export interface Options {
  /** Another commit to be measured against this checkout; then nothing else is measured. */
  against: Against | undefined;
  sections: readonly Section[];
  ops: readonly OpName[];
  ladders: readonly LadderName[];
  /** Undefined: what suits the adapter. */
  models: readonly ModelName[] | undefined;
  /** Models to hold beside rivals; undefined: those of `models`. */
  rivals: readonly ModelName[] | undefined;
  /** Models to train; undefined: those of `models`. */
  training: readonly TrainingName[] | undefined;
  /** Whether PyTorch trains in turns with ours. */
  trainingRivals: boolean;
  /** A folder of images, any model's name or path, and pairs at most. */
  quality: { folder: string; model: string; pairs: number | undefined } | undefined;
  batches: readonly number[] | undefined;
  precisions: readonly Tier[] | undefined;
  adapter: AdapterChoice;
  json: string | undefined;
  svg: string | undefined;
  quick: boolean;
}

export const ROUNDS = { full: 12, quick: 8 } as const;

/** Names in lines that fit a terminal, below one another. */
const lines = (names: readonly string[]): string =>
  names
    .join(", ")
    .match(/.{1,85}(?:, |$)/g)!
    .join(`\n${" ".repeat(23)}`)
    .replaceAll(/ +$/gm, "");

export const USAGE = `Usage: npm run bench -- [options]

What to measure (without any of these: everything but the ladder, rivals, training, quality and the kernels
that only training has)
  --parity             golden cases against PyTorch, in every tier
  --op [NAME,...]      kernels alone: ${lines(OPS)}
  --ladder [NAME,...]  kernels from naive to best, step by step: ${LADDERS.join(", ")}
  --host               JavaScript on the host: checkpoints, images, encoding a pass
  --model [NAME,...]   whole models: ${MODELS.join(", ")}; names beside another section only choose its sizes
  --files              from JPEG files to pixels through stream(), against the model alone and decoding alone
  --cold               cold start: a new process up to its first image
  --rivals [NAME,...]  whole models beside PyTorch, onnxruntime and the closed-form colour match; beside --training, without
                       names, it is training that is held beside PyTorch, and nothing else
  --training [NAME,...]
                       steps of training: ${TRAINING_MODELS.join(", ")}; time by share, memory a pair
  --quality FOLDER     a model beside the closed-form colour match on pairs of a folder's images
  --checkpoint NAME    the model of --quality, as \`stylize --model\` takes it (default: demo)
  --pairs N            pairs of --quality at most (default: 60 on a CPU, 12 with --quick; 1000 on a GPU)
  --against COMMIT     this checkout beside another commit of it, in turns, and nothing else; here --model takes batch sizes
                       too, as in demo:4,tiny:1, which is the default
  --fail-below RATIO   exit code 1 where COMMIT's time over ours is less
  --rounds N           rounds a case of --against, four times as many where they do not tell (default: ${ROUNDS.full};
                       ${ROUNDS.quick} with --quick, and then twice)

Where and how much
  --batch N,...        batch sizes (kernels are tabled for 1, 8 and 64, some of training for fewer)
  --precision f32,f16,matrix
                       matrix where the adapter has matrix units (default: f32 on a CPU, all of them on a GPU)
  --adapter auto|hardware|software
  --quick              fewer repeats, the smallest shapes

Results
  --json FILE|-        the same as JSON; with - the table goes to stderr
  --svg FILE           the rooflines, the ladder and the share of time by kernel, as a figure
`;

/** Wrong usage: exit 2. */
export class UsageError extends Error {}

function names<T extends string>(flag: string, given: string | undefined, known: readonly T[]): readonly T[] | undefined {
  if (given === undefined) return undefined;
  const list = given.split(",").filter((name) => name !== "");
  const wrong = list.find((name) => !known.includes(name as T));
  if (wrong !== undefined || list.length === 0)
    throw new UsageError(`--${flag} ${wrong ?? ""}: choose from ${known.join(", ")}.`);
  return list as T[];
}

/** `--op`, `--ladder`, `--model`, `--rivals` and `--training` also stand alone, for all of them; parseArgs has no optional values. */
function withValues(args: readonly string[]): string[] {
  const all: Record<string, string> = {
    "--op": OPS.join(),
    "--ladder": LADDERS.join(),
    ...Object.fromEntries(["--model", "--rivals", "--training"].map((flag) => [flag, "auto"])),
  };
  return args.flatMap((arg, index) => {
    const bare = all[arg] !== undefined && (args[index + 1] === undefined || args[index + 1]!.startsWith("--"));
    return bare ? [arg, all[arg]!] : [arg];
  });
}

/** The cases of `--against`: `NAME` or `NAME:BATCH`. Where no batch is named all of `--batch` are taken, or what is quick on a CPU. */
function againstCases(given: string | undefined, batches: readonly number[] | undefined): Against["cases"] {
  return (given ?? "demo,tiny").split(",").flatMap((item) => {
    const [name, batch, ...more] = item.split(":");
    const model = names("model", name, MODELS)![0]!;
    if (batch === undefined) return (batches ?? [model === "demo" ? 4 : 1]).map((size) => ({ model, batch: size }));
    if (more.length > 0 || !/^[1-9]\d*$/.test(batch))
      throw new UsageError(`--model ${item}: give NAME or NAME:BATCH, a positive whole number.`);
    return [{ model, batch: Number(batch) }];
  });
}

export function parseOptions(args: readonly string[]): Options | "help" {
  let values: Record<string, string | boolean | undefined>;
  try {
    ({ values } = parseArgs({
      args: withValues(args),
      options: {
        ...Object.fromEntries(
          [
            ...["op", "ladder", "model", "rivals", "training", "quality", "checkpoint", "pairs"],
            ...["against", "fail-below", "rounds", "batch", "precision", "adapter", "json", "svg"],
          ].map((name) => [name, { type: "string" } as const]),
        ),
        ...Object.fromEntries(
          ["parity", "host", "files", "cold", "quick", "help"].map((name) => [name, { type: "boolean" } as const]),
        ),
      },
    }));
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  if (values.help) return "help";
  const text = (name: string) => values[name] as string | undefined;
  const given = SECTIONS.filter((section) => values[section] !== undefined && values[section] !== false);
  const trainingRivals = given.includes("training") && given.includes("rivals");
  if (trainingRivals && text("rivals") !== "auto")
    throw new UsageError(`--rivals ${text("rivals")}: beside --training it takes no names; give them to --training.`);
  const named = trainingRivals ? given.filter((section) => section !== "rivals") : given;
  // Beside another section the names of models say which sizes that one takes, and nothing more.
  const onlySizes = named.length > 1 && values.model !== "auto";
  const chosen = named.filter((section) => section !== "model" || !onlySizes);
  const batches = text("batch")?.split(",").map(Number);
  if (batches?.some((batch) => !Number.isSafeInteger(batch) || batch < 1))
    throw new UsageError(`--batch ${text("batch")}: give positive whole numbers.`);
  const count = (flag: string) => {
    const value = text(flag) === undefined ? undefined : Number(text(flag));
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 1))
      throw new UsageError(`--${flag} ${text(flag)}: give a positive whole number.`);
    return value;
  };
  const [pairs, rounds] = [count("pairs"), count("rounds")];
  const folder = text("quality");
  const lonely = ["checkpoint", "pairs"].find((flag) => text(flag) !== undefined && folder === undefined);
  if (lonely) throw new UsageError(`--${lonely} belongs to --quality.`);
  const commit = text("against");
  const alone = ["fail-below", "rounds"].find((flag) => text(flag) !== undefined && commit === undefined);
  if (alone) throw new UsageError(`--${alone} belongs to --against.`);
  const other = commit === undefined ? undefined : (given.find((section) => section !== "model") ?? (text("svg") && "svg"));
  if (other) throw new UsageError(`--${other}: --against measures nothing else.`);
  const failBelow = text("fail-below") === undefined ? undefined : Number(text("fail-below"));
  if (failBelow !== undefined && !(failBelow > 0 && Number.isFinite(failBelow)))
    throw new UsageError(`--fail-below ${text("fail-below")}: give a ratio, as in .98.`);
  const namesOf = (flag: string) => (text(flag) === "auto" ? undefined : text(flag));
  const models = (flag: "model" | "rivals") => names(flag, namesOf(flag), MODELS);
  return {
    against: commit === undefined ? undefined : { commit, failBelow, rounds, cases: againstCases(namesOf("model"), batches) },
    sections:
      commit !== undefined ? [] : chosen.length > 0 ? chosen : SECTIONS.filter((section) => !ON_REQUEST.includes(section)),
    ops: names("op", text("op"), OPS) ?? FEW_OPS,
    ladders: names("ladder", text("ladder"), LADDERS) ?? LADDERS,
    models: commit === undefined ? models("model") : undefined,
    rivals: models("rivals"),
    training: names("training", namesOf("training"), TRAINING_MODELS),
    trainingRivals,
    quality: folder === undefined ? undefined : { folder, model: text("checkpoint") ?? "demo", pairs },
    batches,
    precisions: names("precision", text("precision"), ["f32", "f16", "matrix"] as const),
    adapter: names("adapter", text("adapter"), ["auto", "hardware", "software"] as const)?.[0] ?? "auto",
    json: text("json"),
    svg: text("svg"),
    quick: values.quick === true,
  };
}
