import { readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, StylizingError } from "../errors.js";
import { SafetensorsFile } from "../hub/safetensors.js";
import { type TensorToWrite, writeSafetensors } from "../hub/safetensors-writer.js";
import { writeFileAtomic } from "../image/atomic-write.js";
import type { TaskConfig, TaskName } from "../models/tasks.js";
import type { EpochReport } from "./progress.js";
import type { LossSums, Recipe, TrainingState } from "./types.js";

/** What is in a run's folder. `config.json` and `model.safetensors` are a model; the rest is the run's. */
export const RUN_FILES = {
  config: "config.json",
  /** The weights of the epoch with the lowest validation loss. */
  best: "model.safetensors",
  /** Everything that is needed to go on, and as a checkpoint the latest weights. */
  last: "last.safetensors",
  log: "log.jsonl",
  curve: "curve.svg",
  sheet: "sheet.png",
  sheets: "sheets",
  confusion: "confusion.svg",
} as const;

/** Images by a hash of their names, and how many there are. */
export interface ImageList {
  hash: string;
  count: number;
}

/** Where a run stands, beside weights and moments. */
export interface RunState {
  /** Runs of earlier versions, which all painted, do not say it. */
  task?: TaskName;
  config: TaskConfig;
  recipe: Recipe;
  data: ImageList;
  validation: ImageList;
  /** Places in the list of training images of those that could not be read at the run's start. */
  unreadable: number[];
  /** Epochs done, and steps done of the one after them. */
  epoch: number;
  step: number;
  /** Over those steps: sums of their losses, the last one's gradient norm, and the time. */
  sums: LossSums;
  gradientNorm: number;
  seconds: number;
  /** `value` is that of the metric that chooses, where it is not the loss. */
  best?: { epoch: number; loss: number; value?: number };
  log: EpochReport[];
}

const FORMAT = "stylizing-vit training 1";
const MOMENTS = { firstMoments: "optimizer.first.", secondMoments: "optimizer.second." } as const;

/** Shapes by published key, in the order in which checkpoints hold them. */
type Shapes = ReadonlyMap<string, readonly number[]>;

function* tensors(shapes: Shapes, state: TrainingState): Generator<[string, TensorToWrite]> {
  for (const [key, shape] of shapes) yield [key, { shape, data: state.parameters.get(key)! }];
  for (const [kind, prefix] of Object.entries(MOMENTS) as [keyof typeof MOMENTS, string][])
    for (const [key, shape] of shapes) yield [prefix + key, { shape, data: state[kind].get(key)! }];
}

/**
 * Writes `last.safetensors`, whole or not at all: parameters under their published keys, moments under `optimizer.first.KEY` and
 * `optimizer.second.KEY`, and the rest as JSON in the header's metadata.
 * @throws StylizingError `OUTPUT`; the file before it is then still there.
 */
export async function writeRun(folder: string, run: RunState, shapes: Shapes, state: TrainingState): Promise<void> {
  const entries = Object.entries({ ...run, globalStep: state.step }).filter(([, value]) => value !== undefined);
  const metadata = { format: FORMAT, ...Object.fromEntries(entries.map(([key, value]) => [key, JSON.stringify(value)])) };
  await writeSafetensors(join(folder, RUN_FILES.last), tensors(shapes, state), { metadata });
}

/** Writes the best epoch's weights. @throws StylizingError `OUTPUT`. */
export async function writeModel(
  folder: string,
  shapes: Shapes,
  { parameters }: TrainingState,
  epoch: EpochReport,
): Promise<void> {
  const metadata = { format: "pt", epoch: String(epoch.epoch), validation: JSON.stringify(epoch.validation) };
  const weights = Array.from(shapes, ([key, shape]) => [key, { shape, data: parameters.get(key)! }] as const);
  await writeSafetensors(join(folder, RUN_FILES.best), weights, { metadata });
}

/** Writes `config.json`, which also says how the model was trained. @throws StylizingError `OUTPUT`. */
export async function writeConfig(folder: string, { config, recipe }: RunState): Promise<void> {
  await writeFileAtomic(join(folder, RUN_FILES.config), `${JSON.stringify({ ...config, training: recipe }, null, 2)}\n`);
}

/** Writes `log.jsonl`, a line an epoch. @throws StylizingError `OUTPUT`. */
export async function writeLog(folder: string, log: readonly EpochReport[]): Promise<void> {
  await writeFileAtomic(join(folder, RUN_FILES.log), log.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

function damaged(folder: string, problem: string, cause?: unknown): StylizingError {
  return new StylizingError(
    "CHECKPOINT",
    `${join(folder, RUN_FILES.last)} ${problem}.`,
    "Begin again in another folder; --init takes up the weights of a run.",
    { cause },
  );
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/**
 * Where the run in a folder stands; undefined where there is none.
 * @throws StylizingError `CHECKPOINT` where its file is damaged or another program's.
 */
export async function readRun(folder: string): Promise<RunState | undefined> {
  const path = join(folder, RUN_FILES.last);
  if (!(await exists(path))) return undefined;
  await using file = await SafetensorsFile.open(path);
  const { format, ...metadata } = Object.fromEntries(file.metadata);
  if (format !== FORMAT) throw damaged(folder, "was not written by a training that can be resumed here");
  try {
    const values = Object.entries(metadata).map(([key, text]) => [key, JSON.parse(text)]);
    const { globalStep, ...run } = Object.fromEntries(values);
    return run as RunState;
  } catch (error) {
    throw damaged(folder, `has metadata that are not JSON (${messageOf(error)})`, error);
  }
}

/** The weights and moments of the run in a folder. @throws StylizingError `CHECKPOINT`. */
export async function readState(folder: string, shapes: Shapes): Promise<TrainingState> {
  await using file = await SafetensorsFile.open(join(folder, RUN_FILES.last));
  const read = async (prefix = ""): Promise<Map<string, Float32Array>> => {
    const values = new Map<string, Float32Array>();
    for (const [key, shape] of shapes) {
      const value = await file.read(prefix + key);
      if (value.length !== shape.reduce((a, b) => a * b, 1)) throw damaged(folder, `has ${prefix}${key} in another shape`);
      values.set(key, value);
    }
    return values;
  };
  const [parameters, firstMoments, secondMoments] = [
    await read(),
    await read(MOMENTS.firstMoments),
    await read(MOMENTS.secondMoments),
  ];
  return { step: Number(file.metadata.get("globalStep")), parameters, firstMoments, secondMoments };
}

/**
 * Refuses a folder that holds no run but a model, or another program's `config.json`: they would be written over.
 * @throws StylizingError `ARGUMENT`.
 */
export async function refuseForeignFolder(folder: string): Promise<void> {
  const model = join(folder, RUN_FILES.best);
  const text = await readFile(join(folder, RUN_FILES.config), "utf8").catch(() => undefined);
  let foreign = (await exists(model)) ? model : undefined;
  if (text !== undefined && !text.includes('"training"')) foreign ??= join(folder, RUN_FILES.config);
  if (foreign === undefined) return;
  throw new StylizingError(
    "ARGUMENT",
    `${foreign} is there already, and no run that wrote it.`,
    "Give another folder with --out.",
  );
}

/** Removes what writers that were killed left behind. */
export async function removePartialFiles(folder: string): Promise<void> {
  const names = Object.values(RUN_FILES).map((name) => name.replace(".", "\\."));
  const partial = new RegExp(
    `^\\.?(${names.join("|")}|trial|epoch-\\d+\\.png)\\.\\d+\\.([0-9a-f]{8}\\.)?[0-9a-f]{12}\\.partial$`,
  );
  for (const place of [folder, join(folder, RUN_FILES.sheets)]) {
    const found = await readdir(place).catch(() => []);
    for (const name of found) if (partial.test(name)) await rm(join(place, name), { force: true });
  }
}

/** How an option is called on the command line: `weightDecay` is `--weight-decay`. */
const flag = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** A value's identity, whatever the order of its keys. */
const identity = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  ) ?? "nothing";

/**
 * Refuses to go on with a run under other conditions than it was begun with: what is defined in `given` must be what the run has. Only its
 * end may be another, as long as that is not behind it.
 * @throws StylizingError `ARGUMENT`, naming the first option that differs.
 */
export function refuseDifferences(
  folder: string,
  run: RunState,
  given: { config: Partial<TaskConfig>; recipe: Partial<Recipe>; data: ImageList; validation: ImageList },
): void {
  const refuse = (problem: string): never => {
    throw new StylizingError("ARGUMENT", problem, "Resume with the same options and images, or give another folder with --out.");
  };
  const begun = `the run in ${folder} was begun with`;
  const { epochs, ...recipe } = given.recipe;
  const least = run.epoch + (run.step > 0 ? 1 : 0);
  if (epochs !== undefined && epochs < least)
    refuse(`--epochs is ${epochs}, and the run in ${folder} is in epoch ${least} already.`);
  for (const [name, value] of Object.entries(recipe)) {
    const before = run.recipe[name];
    if (value === undefined || identity(value) === identity(before)) continue;
    refuse(`${flag(name)} is ${identity(value)}, and ${begun} ${identity(before)}.`);
  }
  for (const [name, value] of Object.entries(given.config)) {
    const before = run.config[name as keyof TaskConfig];
    if (value === undefined || identity(value) === identity(before)) continue;
    refuse(`The model's ${name} is ${identity(value)}, and ${begun} ${identity(before)}.`);
  }
  for (const [what, flagged] of [
    ["data", "training images (--data)"],
    ["validation", "validation images (--val)"],
  ] as const) {
    if (given[what].hash !== run[what].hash)
      refuse(`The ${flagged} have other names: ${begun} ${run[what].count}, and there are ${given[what].count}.`);
  }
}
