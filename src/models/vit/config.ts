import { StylizingError } from "../../errors.js";
import {
  checkFlag,
  checkGrid,
  checkIntegers,
  checkRatios,
  checkStatistics,
  gridSide,
  hiddenUnits,
  inferHeads,
  neededShape,
  readConfig,
  refuseConfig,
} from "../config-checks.js";

/** A ViT classifier's shape, with the keys of a `config.json`. */
export interface VitConfig {
  kind: "vit";
  image_size: number;
  in_channels: number;
  patch_size: number;
  embed_dim: number;
  depth: number;
  num_heads: number;
  mlp_ratio: number;
  qkv_bias: boolean;
  /** 0: a backbone without a head. */
  num_classes: number;
  /** Names of the classes, in the order of the logits. */
  classes?: readonly string[];
  /** Of the loss: what is spread evenly over all classes, and a weight a class. */
  label_smoothing?: number;
  class_weights?: readonly number[];
  /** Per channel, of pixels in [0, 1]; needed to take images rather than normalised tensors. */
  mean?: readonly number[];
  std?: readonly number[];
}

/** DeiT's sizes (Touvron et al., arXiv 2012.12877); all take 224-pixel RGB in 16-pixel patches. */
export const VIT_PRESETS = {
  "deit-tiny": { embed_dim: 192, num_heads: 3 },
  "deit-small": { embed_dim: 384, num_heads: 6 },
  "deit-base": { embed_dim: 768, num_heads: 12 },
} as const;

const DEFAULTS = {
  kind: "vit",
  image_size: 224,
  in_channels: 3,
  patch_size: 16,
  depth: 12,
  mlp_ratio: 4,
  qkv_bias: true,
  num_classes: 1000,
} as const;

const INTEGERS = ["image_size", "in_channels", "patch_size", "embed_dim", "depth", "num_heads"] as const;
const KEYS = [
  ...INTEGERS,
  ...(["mlp_ratio", "qkv_bias", "num_classes", "classes", "label_smoothing", "class_weights", "mean", "std"] as const),
];

/** The configuration of a published size. */
export function vitPreset(name: string): VitConfig {
  if (!Object.hasOwn(VIT_PRESETS, name))
    throw new StylizingError("ARGUMENT", `Unknown preset "${name}".`, `Use one of ${Object.keys(VIT_PRESETS).join(", ")}.`);
  return { ...DEFAULTS, ...VIT_PRESETS[name as keyof typeof VIT_PRESETS] };
}

/**
 * Checks that a model of this configuration can exist: images of whole patches, a width of whole heads, as many names and weights
 * as classes.
 * @throws StylizingError `CONFIG`, naming the rule that fails.
 */
export function checkVitConfig(config: VitConfig): VitConfig {
  checkIntegers(config, INTEGERS);
  checkIntegers(config, ["num_classes"], 0);
  checkRatios(config, ["mlp_ratio"]);
  checkFlag(config, "qkv_bias");
  checkGrid(config);
  checkStatistics(config);
  const { num_classes: count, classes, class_weights: weights, label_smoothing: smoothing } = config;
  if (count === 1)
    refuseConfig("The configuration's num_classes is 1.", "Give 2 or more classes, or 0 for a backbone without a head.");
  if (classes !== undefined) {
    const named = Array.isArray(classes) && classes.length === count && classes.every((name) => typeof name === "string");
    if (!named || new Set(classes).size !== count)
      refuseConfig("The configuration's classes are not one name a class.", `Give ${count} different names.`);
  }
  if (weights !== undefined) {
    const valid =
      Array.isArray(weights) &&
      weights.length === count &&
      weights.every((w) => Number.isFinite(w) && w >= 0) &&
      weights.some((w) => w > 0);
    if (!valid)
      refuseConfig(
        `The configuration's class_weights are ${JSON.stringify(weights)}.`,
        `Give ${count} numbers from 0 on, not all 0, or leave them away.`,
      );
  }
  if (smoothing !== undefined && !(typeof smoothing === "number" && smoothing >= 0 && smoothing < 1))
    refuseConfig(`The configuration's label_smoothing is ${JSON.stringify(smoothing)}.`, "Give a number from 0 to below 1.");
  return config;
}

type Json = Record<string, unknown>;
const isObject = (json: unknown): json is Json => typeof json === "object" && json !== null && !Array.isArray(json);

/** What Hugging Face's `ViTConfig` calls the keys. */
const HUGGING_FACE: Readonly<Record<string, string>> = {
  hidden_size: "embed_dim",
  num_hidden_layers: "depth",
  num_attention_heads: "num_heads",
  num_channels: "in_channels",
  image_size: "image_size",
  patch_size: "patch_size",
  qkv_bias: "qkv_bias",
};

/** Names, of which those that are given twice get their number: ImageNet has two cranes. */
const distinct = (names: readonly string[]): string[] =>
  names.map((name, index) => (names.indexOf(name) === names.lastIndexOf(name) ? name : `${name} (${index})`));

/** Names of classes in a list, or by number as Hugging Face has them, where they are all there. */
function classNames(labels: unknown): string[] | undefined {
  if (!isObject(labels) && !Array.isArray(labels)) return undefined;
  const names = Array.isArray(labels) ? labels : Object.keys(labels).map((_, index) => labels[String(index)]);
  return names.length > 0 && names.every((name) => typeof name === "string") ? distinct(names as string[]) : undefined;
}

/** Whether a parsed `config.json` speaks about a ViT's shape: ours, or Hugging Face's. Those of timm do not. */
export function describesVit(json: unknown): boolean {
  return isObject(json) && (json.kind === "vit" || (json.model_type === "vit" && "hidden_size" in json));
}

/** What Hugging Face's `ViTConfig` says, with our keys. It leaves names of classes away where they are the library's own. */
function ofHuggingFace(json: Json, shapes: ReadonlyMap<string, readonly number[]> | undefined): Json {
  const classes = classNames(json.id2label);
  const count = shapes ? (shapes.get("head.weight")?.[0] ?? 0) : undefined;
  // The configuration of a bare ViTModel may still have the names of a classifier that it once was.
  const named = classes && count !== 0 ? { classes, num_classes: classes.length } : {};
  return {
    ...Object.fromEntries(Object.entries(HUGGING_FACE).map(([theirs, ours]) => [ours, json[theirs]])),
    ...(typeof json.intermediate_size === "number" ? { mlp_ratio: json.intermediate_size / Number(json.hidden_size) } : {}),
    ...(count === undefined ? {} : { num_classes: count }),
    ...named,
  };
}

/**
 * Reads a parsed `config.json`, ours or that of a Hugging Face ViT. Missing keys take DeiT's.
 * @param shapes of the checkpoint that it lies beside, by our names: Hugging Face's do not always say how many classes there are
 * @throws StylizingError `CONFIG`.
 */
export function parseVitConfig(json: unknown, label: string, shapes?: ReadonlyMap<string, readonly number[]>): VitConfig {
  const given = isObject(json) && json.kind !== "vit" && "hidden_size" in json ? ofHuggingFace(json, shapes) : json;
  if (isObject(given) && given.kind !== undefined && given.kind !== "vit")
    refuseConfig(
      `${label} is of the kind ${JSON.stringify(given.kind)}, and not of a ViT classifier.`,
      'Give one with "kind": "vit".',
    );
  return checkVitConfig(
    readConfig<VitConfig>(given, label, { keys: KEYS, needed: ["embed_dim", "num_heads"], defaults: DEFAULTS }),
  );
}

/**
 * What a `config.json` of timm says beside the shape: statistics, and names where it has them, which are descriptions where it has
 * those too (`n02012849` is a crane).
 * @throws StylizingError `CONFIG` where its head does not read the CLS token.
 */
export function timmDetails(json: unknown): Pick<VitConfig, "mean" | "std" | "classes"> {
  if (!isObject(json) || typeof json.architecture !== "string") return {};
  // Older files have everything at their root.
  const inner = isObject(json.pretrained_cfg) ? json.pretrained_cfg : json;
  const pool = json.global_pool;
  if (typeof pool === "string" && pool !== "" && pool !== "token")
    refuseConfig(
      `This ${json.architecture} pools its tokens by "${pool}" in front of its head.`,
      "This classifier reads the CLS token: use a checkpoint with one.",
    );
  const { mean, std } = inner;
  const names = classNames(json.label_names ?? inner.label_names);
  const descriptions = json.label_descriptions ?? inner.label_descriptions;
  const described = names?.map((name) => {
    const words = isObject(descriptions) ? descriptions[name] : undefined;
    return typeof words === "string" ? words : name;
  });
  const numbers = (value: unknown) => Array.isArray(value) && value.every((one) => typeof one === "number");
  return {
    ...(numbers(mean) && numbers(std) ? { mean: mean as number[], std: std as number[] } : {}),
    ...(described ? { classes: distinct(described) } : {}),
  };
}

/** Sizes that follow from a configuration. */
export function vitDimensions(config: VitConfig) {
  const side = config.image_size / config.patch_size;
  return {
    /** Patches on a side of the grid that positions are trained for. */
    side,
    /** Tokens of a sequence: the patches and CLS. */
    tokens: side * side + 1,
    headDim: config.embed_dim / config.num_heads,
    hidden: hiddenUnits(config.embed_dim, config.mlp_ratio),
    patchInputs: config.in_channels * config.patch_size ** 2,
  };
}

/**
 * Reads the configuration off a checkpoint's shapes, by our names. They give everything but the number of heads, which is taken
 * to be width / 64 as in all published models but MoCo v3's small one (12 heads of 32).
 * @throws StylizingError `CHECKPOINT` where a needed key is missing, `CONFIG` where heads cannot be told.
 */
export function inferVitConfig(shapes: ReadonlyMap<string, readonly number[]>, label: string): VitConfig {
  const of = { label, model: "ViT" };
  const shape = (key: string, rank: number) => neededShape(shapes, key, rank, of);
  const [d = 0, c = 0, p = 0] = shape("patch_embed.proj.weight", 4);
  const side = gridSide(shape("pos_embed", 3)[1] ?? 0, "pos_embed", of);
  let depth = 0;
  while (shapes.has(`blocks.${depth}.norm1.weight`)) depth++;
  return checkVitConfig({
    kind: "vit",
    image_size: side * p,
    in_channels: c,
    patch_size: p,
    embed_dim: d,
    depth,
    num_heads: inferHeads(label, d),
    mlp_ratio: (shape("blocks.0.mlp.fc1.weight", 2)[0] ?? 0) / d,
    qkv_bias: shapes.has("blocks.0.attn.qkv.bias"),
    num_classes: shapes.has("head.weight") ? (shape("head.weight", 2)[0] ?? 0) : 0,
  });
}
