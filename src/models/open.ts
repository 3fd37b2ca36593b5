import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf, StylizingError } from "../errors.js";
import { Checkpoint } from "../hub/checkpoint.js";
import { type DownloadOptions, downloadRepository } from "../hub/download.js";
import { HashedWeights } from "../hub/hashed.js";
import type { WeightSource } from "../hub/weight-source.js";
import type { BaseConfig, ModelKind, Published } from "./kind.js";
import type { ModelConfig } from "./stylizing-vit/config.js";
import { stylizingVit } from "./stylizing-vit/kind.js";
import type { VitConfig } from "./vit/config.js";
import { vit } from "./vit/kind.js";

export interface OpenOptions<Config extends BaseConfig = ModelConfig> extends DownloadOptions {
  /** A configuration, or the path of a JSON file that holds one. */
  config?: Config | string | undefined;
  /** A published size, for `hashed:SEED` weights. */
  preset?: string | undefined;
  /** Statistics of the images that the model was trained on, per channel in [0, 1]; they win over the configuration's. */
  mean?: readonly number[] | undefined;
  std?: readonly number[] | undefined;
}

/** A model found and its configuration settled. */
export interface FoundModel<Config extends BaseConfig = ModelConfig> {
  kind: ModelKind<Config>;
  label: string;
  config: Config;
  /** Opens the weights, as often as need be; headers are read again only where a file has changed. */
  open(): Promise<WeightSource>;
}

/** The name of the small model that comes with the package. */
export const DEFAULT_MODEL = "demo";

const DEMO_FOLDER = fileURLToPath(new URL("../../weights/demo", import.meta.url));

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

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

function withStatistics<Config extends BaseConfig>(
  kind: ModelKind<Config>,
  config: Config,
  options: Pick<OpenOptions<Config>, "mean" | "std">,
  published?: Pick<Published, "mean" | "std">,
): Config {
  // Statistics of images of another kind than the model takes are not its own.
  const known = published?.mean?.length === config.in_channels ? published : undefined;
  const mean = options.mean ?? config.mean ?? known?.mean;
  const std = options.std ?? config.std ?? known?.std;
  return kind.checkConfig({ ...config, ...(mean ? { mean } : {}), ...(std ? { std } : {}) });
}

/** A found model with statistics that were settled later. @throws StylizingError `CONFIG` for impossible ones. */
export function withStatisticsOf<Config extends BaseConfig>(
  found: FoundModel<Config>,
  statistics: { mean: readonly number[]; std: readonly number[] },
): FoundModel<Config> {
  return { ...found, config: withStatistics(found.kind, found.config, statistics) };
}

/** The configuration that was asked for, if any was; it goes before a preset. */
export async function givenConfig<Config extends BaseConfig>(
  kind: ModelKind<Config>,
  options: Pick<OpenOptions<Config>, "config" | "preset">,
): Promise<Config | undefined> {
  const preset = options.preset === undefined ? undefined : kind.presetConfig(options.preset);
  if (typeof options.config === "string") return kind.parseConfig(await readJson(options.config), options.config);
  if (options.config) return kind.checkConfig(options.config);
  return preset;
}

type Begun<Config extends BaseConfig> = Pick<OpenOptions<Config>, "config" | "preset"> & {
  init?: string | undefined;
  imageSize?: number | undefined;
};

/**
 * The configuration of a model that is trained from the beginning.
 * @param preset where none and no configuration is given
 * @throws StylizingError `ARGUMENT` where both are given, `CONFIG`
 */
export async function firstConfig<Config extends BaseConfig>(
  kind: ModelKind<Config>,
  options: Begun<Config>,
  preset: string,
): Promise<Config> {
  if (options.preset !== undefined && options.config !== undefined)
    throw new StylizingError("ARGUMENT", "Both a preset and a configuration are given.", "Give one of them.");
  const given = options.config === undefined ? { preset: options.preset ?? preset } : { config: options.config };
  return (await givenConfig(kind, given))!;
}

/** What a run's options ask of its configuration: the preset of a model that is begun with is only a check of it. */
export async function askedConfig<Config extends BaseConfig>(
  kind: ModelKind<Config>,
  { init, preset, config, imageSize }: Begun<Config>,
): Promise<Partial<Config>> {
  const asked = init === undefined || config !== undefined ? await givenConfig(kind, { preset, config }) : undefined;
  return { ...asked, ...(imageSize === undefined ? {} : { image_size: imageSize }) } as Partial<Config>;
}

/** Configuration of a checkpoint on disk: the one given, the one beside it, or what its shapes say. */
async function checkpointConfig<Config extends BaseConfig>(
  kind: ModelKind<Config>,
  path: string,
  checkpoint: Checkpoint,
  given: Config | undefined,
  published: boolean,
): Promise<Config> {
  if (given) return given;
  const { json, from } =
    published && !kind.publishesConfigs ? { json: undefined, from: path } : await configBeside(path, checkpoint);
  const { shapes } = kind.named(checkpoint);
  if (kind.describes(json)) return kind.parseConfig(json, from, shapes);
  const inferred = kind.inferConfig(shapes, checkpoint.label);
  return kind.checkConfig({ ...inferred, ...fitting(kind.details(json), inferred) });
}

/** The `config.json` in a checkpoint's folder, parsed; a file that lies beside weights which were named is one too. */
async function configBeside(path: string, checkpoint: Checkpoint): Promise<{ json: unknown; from: string }> {
  const beside = join(dirname(path), "config.json");
  if (checkpoint.config !== undefined) return { json: checkpoint.config, from: checkpoint.configPath ?? path };
  const json = /\.(safetensors|index\.json)$/.test(path) && (await exists(beside)) ? await readJson(beside) : undefined;
  return { json, from: beside };
}

/** Details that suit a configuration: statistics and names of a model whose head or channels were changed do not. */
function fitting<Config extends BaseConfig>(details: Partial<Config>, config: Config): Partial<Config> {
  const { mean, classes } = details as { mean?: readonly number[]; classes?: readonly string[] };
  const counted = (config as { num_classes?: number }).num_classes;
  const wrong = [
    ...(mean && mean.length !== config.in_channels ? ["mean", "std"] : []),
    ...(classes && classes.length !== counted ? ["classes"] : []),
  ];
  return Object.fromEntries(Object.entries(details).filter(([key]) => !wrong.includes(key))) as Partial<Config>;
}

const looksLikePath = (model: string): boolean => /\.(safetensors|json|pth|pt|bin|ckpt)$/.test(model) || /^[./~]/.test(model);

/**
 * The kind of a model whose caller takes any: what its configuration, its preset or its tensors say.
 * @throws StylizingError `CONFIG` or `CHECKPOINT` where a file cannot be read
 */
export async function kindOf(
  model: string,
  { config, preset }: { config?: ModelConfig | VitConfig | string | undefined; preset?: string | undefined },
): Promise<"stylizing-vit" | "vit"> {
  const ofConfig = (json: unknown) => (vit.describes(json) ? "vit" : "stylizing-vit");
  if (config !== undefined) return ofConfig(typeof config === "string" ? await readJson(config) : config);
  if (preset !== undefined) return vit.presets.includes(preset) ? "vit" : "stylizing-vit";
  if (model === DEFAULT_MODEL || model.startsWith("hashed:")) return "stylizing-vit";
  if (looksLikePath(model) || (await exists(model))) {
    // A configuration says it, and headers are then read once, when the model is found.
    const folder = await stat(model).then(
      (there) => there.isDirectory(),
      () => false,
    );
    const path = join(folder ? model : dirname(model), "config.json");
    const json = (await exists(path)) ? await readJson(path) : undefined;
    if (vit.describes(json)) return "vit";
    if (stylizingVit.describes(json)) return "stylizing-vit";
    await using checkpoint = await Checkpoint.open(model);
    return checkpoint.shapes.has("encoder.patch_embed.proj.weight") ? "stylizing-vit" : "vit";
  }
  return /^(timm|facebook|google)\//.test(model) ? "vit" : "stylizing-vit";
}

/**
 * Finds a model and settles its configuration.
 * @param model `demo`, a published name (`base/camelyon17wilds`, `...@revision`; for a classifier any repository of the Hub), a
 *   folder, a `.safetensors` file or shard index, or `hashed:SEED` with a configuration or preset.
 * @throws StylizingError `ARGUMENT`, `CHECKPOINT`, `CONFIG` or `DOWNLOAD`; the signal's reason when aborted.
 */
export function findModel(model: string, options?: OpenOptions): Promise<FoundModel> {
  return findModelOf(stylizingVit, model, options);
}

/** The same for a kind of model. */
export async function findModelOf<Config extends BaseConfig>(
  kind: ModelKind<Config>,
  model: string,
  options: OpenOptions<Config> = {},
): Promise<FoundModel<Config>> {
  const given = await givenConfig(kind, options);

  if (model.startsWith("hashed:")) {
    const seed = Number(model.slice("hashed:".length) || Number.NaN);
    if (!Number.isSafeInteger(seed))
      throw new StylizingError("ARGUMENT", `"${model}" has no whole number for a seed.`, "Write hashed:5, for example.");
    if (!given)
      throw new StylizingError(
        "ARGUMENT",
        `${model} has no shape of its own.`,
        `Give a preset (${kind.presets.join(", ")}) or a configuration.`,
      );
    const config = withStatistics(kind, given, options);
    return { kind, label: model, config, open: async () => new HashedWeights(kind.shapes(config), seed) };
  }

  const found = async (label: string, path: string, published?: Published): Promise<FoundModel<Config>> => {
    const checkpoint = await Checkpoint.open(path);
    try {
      const config = withStatistics(
        kind,
        await checkpointConfig(kind, path, checkpoint, given, published !== undefined),
        options,
        published,
      );
      return { kind, label, config, open: async () => kind.named(await checkpoint.reopen()) };
    } finally {
      await checkpoint.close();
    }
  };
  // A path on disk wins over a published name, which looks like one. `demo` is always ours: the demo writes a folder of
  // that name, and `./demo` still means the folder.
  const isDemo = model === DEFAULT_MODEL;
  if (isDemo || (await exists(model)) || looksLikePath(model))
    return found(isDemo ? DEFAULT_MODEL : model, isDemo ? DEMO_FOLDER : model);

  const published = kind.published(model);
  const { folder, revision } = await downloadRepository(
    published.repo,
    { ...options, revision: options.revision ?? published.revision },
    published.label,
  );
  const weights = (await exists(join(folder, "model.safetensors"))) ? "model.safetensors" : "model.safetensors.index.json";
  return found(`${published.label}@${revision}`, join(folder, weights), published);
}
