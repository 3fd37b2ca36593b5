import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf, StylizingError } from "../errors.js";
import { resolveModelName } from "../hub/catalogue.js";
import { Checkpoint } from "../hub/checkpoint.js";
import { type DownloadOptions, downloadCheckpoint } from "../hub/download.js";
import { HashedWeights } from "../hub/hashed.js";
import type { WeightSource } from "../hub/weight-source.js";
import { checkConfig, describesModel, inferConfig, type ModelConfig, parseConfig, presetConfig } from "./stylizing-vit/config.js";
import { parameterShapes } from "./stylizing-vit/parameters.js";

export interface OpenOptions extends DownloadOptions {
  /** A configuration, or the path of a JSON file that holds one. */
  config?: ModelConfig | string | undefined;
  /** A published size, for `hashed:SEED` weights. */
  preset?: string | undefined;
  /** Statistics of the images that the model was trained on, per channel in [0, 1]; they win over the configuration's. */
  mean?: readonly number[] | undefined;
  std?: readonly number[] | undefined;
}

/** A model found and its configuration settled. */
export interface FoundModel {
  label: string;
  config: ModelConfig;
  /** Opens the weights, as often as need be; headers are read again only where a file has changed. */
  open(): Promise<WeightSource>;
}

/** The name of the small model that comes with the package. */
export const DEFAULT_MODEL = "demo";

const DEMO_FOLDER = fileURLToPath(new URL("../../weights/demo", import.meta.url));

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new StylizingError("CONFIG", `The configuration ${path} cannot be read: ${messageOf(cause)}.`, "Check the path.", {
      cause,
    });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new StylizingError("CONFIG", `${path} is not JSON: ${messageOf(cause)}.`, "Correct the file.", { cause });
  }
}

function withStatistics(
  config: ModelConfig,
  options: OpenOptions,
  published?: { mean: readonly number[] | undefined; std: readonly number[] | undefined },
) {
  const mean = options.mean ?? config.mean ?? published?.mean;
  const std = options.std ?? config.std ?? published?.std;
  return checkConfig({ ...config, ...(mean ? { mean } : {}), ...(std ? { std } : {}) });
}

/** A found model with statistics that were settled later. @throws StylizingError `CONFIG` for impossible ones. */
export function withStatisticsOf(found: FoundModel, statistics: { mean: readonly number[]; std: readonly number[] }): FoundModel {
  return { ...found, config: withStatistics(found.config, statistics) };
}

/** The configuration that was asked for, if any was; it goes before a preset. */
export async function givenConfig(options: Pick<OpenOptions, "config" | "preset">): Promise<ModelConfig | undefined> {
  const preset = options.preset === undefined ? undefined : presetConfig(options.preset);
  if (typeof options.config === "string") return parseConfig(await readJson(options.config), options.config);
  if (options.config) return checkConfig(options.config);
  return preset;
}

/** Configuration of a checkpoint on disk: the one given, the one beside it, or what its shapes say. */
async function checkpointConfig(path: string, checkpoint: Checkpoint, given: ModelConfig | undefined): Promise<ModelConfig> {
  if (given) return given;
  const beside = join(dirname(path), "config.json");
  if (describesModel(checkpoint.config)) return parseConfig(checkpoint.config, checkpoint.configPath ?? path);
  if (checkpoint.config === undefined && /\.(safetensors|index\.json)$/.test(path) && (await exists(beside))) {
    const json = await readJson(beside);
    if (describesModel(json)) return parseConfig(json, beside);
  }
  return inferConfig(checkpoint.shapes, checkpoint.label);
}

/**
 * Finds a model and settles its configuration.
 * @param model `demo`, a published name (`base/camelyon17wilds`, `...@revision`), a folder, a `.safetensors` file or shard
 *   index, or `hashed:SEED` with a configuration or preset.
 * @throws StylizingError `ARGUMENT`, `CHECKPOINT`, `CONFIG` or `DOWNLOAD`; the signal's reason when aborted.
 */
export async function findModel(model: string, options: OpenOptions = {}): Promise<FoundModel> {
  const given = await givenConfig(options);

  if (model.startsWith("hashed:")) {
    const seed = Number(model.slice("hashed:".length) || Number.NaN);
    if (!Number.isSafeInteger(seed))
      throw new StylizingError("ARGUMENT", `"${model}" has no whole number for a seed.`, "Write hashed:5, for example.");
    if (!given)
      throw new StylizingError(
        "ARGUMENT",
        `${model} has no shape of its own.`,
        "Give a preset (tiny, small, base) or a configuration.",
      );
    const config = withStatistics(given, options);
    return { label: model, config, open: async () => new HashedWeights(parameterShapes(config), seed) };
  }

  // A path on disk wins over a published name, which looks like one. `demo` is always ours: the demo writes a folder of
  // that name, and `./demo` still means the folder.
  const isDemo = model === DEFAULT_MODEL;
  if (isDemo || (await exists(model)) || /\.(safetensors|json|pth|pt|bin|ckpt)$/.test(model) || /^[./~]/.test(model)) {
    const path = isDemo ? DEMO_FOLDER : model;
    const checkpoint = await Checkpoint.open(path);
    try {
      const config = withStatistics(await checkpointConfig(path, checkpoint, given), options);
      return { label: isDemo ? DEFAULT_MODEL : path, config, open: () => checkpoint.reopen() };
    } finally {
      await checkpoint.close();
    }
  }

  const { entry } = resolveModelName(model);
  const { folder, revision } = await downloadCheckpoint(model, options);
  const checkpoint = await Checkpoint.open(
    join(folder, (await exists(join(folder, "model.safetensors"))) ? "model.safetensors" : "model.safetensors.index.json"),
  );
  try {
    // What the published config.json holds is not documented; shapes and 64-wide heads are what these models have.
    const config = withStatistics(given ?? inferConfig(checkpoint.shapes, entry.name), options, entry);
    return { label: `${entry.name}@${revision}`, config, open: () => checkpoint.reopen() };
  } finally {
    await checkpoint.close();
  }
}
