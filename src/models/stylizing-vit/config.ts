import { StylizingError } from "../../errors.js";

/** A model's shape, with the keys of a `config.json`. */
export interface ModelConfig {
  image_size: number;
  in_channels: number;
  patch_size: number;
  embed_dim: number;
  depth: number;
  num_heads: number;
  mlp_ratio: number;
  qkv_bias: boolean;
  bottleneck_mlp_ratio: number;
  post_process_conv_kernel_size: number;
  /** Per channel, of pixels in [0, 1]; needed to take images rather than normalised tensors. */
  mean?: readonly number[];
  std?: readonly number[];
}

/** The published sizes; all take 224-pixel RGB in 16-pixel patches. */
export const PRESETS = {
  tiny: { embed_dim: 192, num_heads: 3 },
  small: { embed_dim: 384, num_heads: 6 },
  base: { embed_dim: 768, num_heads: 12 },
} as const;
export type Preset = keyof typeof PRESETS;

const DEFAULTS = {
  image_size: 224,
  in_channels: 3,
  patch_size: 16,
  depth: 12,
  mlp_ratio: 4,
  qkv_bias: true,
  bottleneck_mlp_ratio: 4,
  post_process_conv_kernel_size: 5,
} as const;

/** Width of a head in the published models, assumed where nothing says otherwise. */
const HEAD_DIM = 64;

const INTEGERS = [
  "image_size",
  "in_channels",
  "patch_size",
  "embed_dim",
  "depth",
  "num_heads",
  "post_process_conv_kernel_size",
] as const;

function refuse(problem: string, fix: string): never {
  throw new StylizingError("CONFIG", problem, fix);
}

/** The configuration of a published size. */
export function presetConfig(name: string): ModelConfig {
  if (!Object.hasOwn(PRESETS, name)) {
    throw new StylizingError("ARGUMENT", `Unknown preset "${name}".`, `Use one of ${Object.keys(PRESETS).join(", ")}.`);
  }
  return { ...DEFAULTS, ...PRESETS[name as Preset] };
}

function checkStatistic(name: "mean" | "std", value: unknown, channels: number): void {
  const valid =
    Array.isArray(value) && value.length === channels && value.every((v) => Number.isFinite(v) && (name === "mean" || v > 0));
  if (!valid) {
    refuse(
      `The configuration's ${name} is ${JSON.stringify(value)}.`,
      `Give ${channels} ${name === "std" ? "positive " : ""}numbers, one a channel, in units of [0, 1].`,
    );
  }
}

/**
 * Checks that a model of this configuration can exist (MODEL: S a multiple of P, D of heads, D even, D/2 of C·P).
 * @throws StylizingError `CONFIG`, naming the rule that fails.
 */
export function checkConfig(config: ModelConfig): ModelConfig {
  for (const key of INTEGERS) {
    const value = config[key];
    if (!Number.isSafeInteger(value) || value < 1)
      refuse(`The configuration's ${key} is ${JSON.stringify(value)}.`, "It must be a positive integer.");
  }
  for (const key of ["mlp_ratio", "bottleneck_mlp_ratio"] as const) {
    const value = config[key];
    if (typeof value !== "number" || !Number.isFinite(value) || hiddenUnits(config.embed_dim, value) < 1) {
      refuse(
        `The configuration's ${key} is ${JSON.stringify(value)}.`,
        "It must be a positive number that leaves at least one hidden unit.",
      );
    }
  }
  if (typeof config.qkv_bias !== "boolean")
    refuse(`The configuration's qkv_bias is ${JSON.stringify(config.qkv_bias)}.`, "It must be true or false.");

  const { image_size: s, patch_size: p, embed_dim: d, num_heads: h, in_channels: c, post_process_conv_kernel_size: k } = config;
  if (s % p !== 0) refuse(`The image size ${s} is not a multiple of the patch size ${p}.`, "Change image_size or patch_size.");
  if (d % h !== 0) refuse(`The width ${d} is not a multiple of ${h} heads.`, "Change embed_dim or num_heads.");
  if (d % 2 !== 0 || (d / 2) % (c * p) !== 0) {
    refuse(
      `The width ${d} cannot feed this decoder: half of it must be a multiple of channels × patch size, ${c} × ${p} = ${c * p}, since each patch is a product of ${p}-row and ${p}-column halves per channel.`,
      `Use a multiple of ${2 * c * p} (the usual widths of ViT-Large and ViT-Huge, 1024 and 1280, do not fit 16-pixel RGB patches).`,
    );
  }
  if (k % 2 === 0)
    refuse(
      `The convolution's kernel size ${k} is even.`,
      "Use an odd size: an even one has no middle, and would change the image's size.",
    );
  if (config.mean !== undefined) checkStatistic("mean", config.mean, c);
  if (config.std !== undefined) checkStatistic("std", config.std, c);
  return config;
}

/**
 * Reads a parsed `config.json`. Missing keys take the published defaults; unknown ones are ignored, since other tools
 * write theirs into the same file.
 * @throws StylizingError `CONFIG`.
 */
export function parseConfig(json: unknown, label: string): ModelConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    refuse(`${label} does not hold a JSON object.`, 'Write the model\'s configuration as { "image_size": 224, ... }.');
  }
  const given = json as Partial<ModelConfig>;
  for (const key of ["embed_dim", "num_heads"] as const) {
    if (given[key] === undefined)
      refuse(`${label} lacks ${key}.`, "Add it, or leave the file away so that shapes decide (with 64-wide heads).");
  }
  const keys = [...INTEGERS, "mlp_ratio", "bottleneck_mlp_ratio", "qkv_bias", "mean", "std"] as const;
  const known = Object.fromEntries(
    keys.filter((key) => given[key] !== undefined && given[key] !== null).map((key) => [key, given[key]]),
  );
  return checkConfig({ ...DEFAULTS, ...known } as ModelConfig);
}

/** Whether a parsed `config.json` speaks about a model's shape at all; published ones may hold something else. */
export function describesModel(json: unknown): boolean {
  return typeof json === "object" && json !== null && "embed_dim" in json && "num_heads" in json;
}

/** `int(width · ratio)` as the reference has it; the sliver keeps a ratio read off shapes (hidden / width) from rounding down. */
function hiddenUnits(width: number, ratio: number): number {
  return Math.floor(width * ratio + 1e-6);
}

/** Sizes that follow from a configuration. */
export function dimensions(config: ModelConfig) {
  const side = config.image_size / config.patch_size;
  const d = config.embed_dim;
  return {
    /** Tokens of a sequence: the patches and CLS. */
    tokens: side * side + 1,
    headDim: d / config.num_heads,
    hidden: hiddenUnits(d, config.mlp_ratio),
    bottleneck: hiddenUnits(d, config.bottleneck_mlp_ratio),
    /** Inner size of the decoder's patch product. */
    rank: d / 2 / (config.in_channels * config.patch_size),
    patchInputs: config.in_channels * config.patch_size ** 2,
  };
}

/**
 * Reads the configuration off a checkpoint's shapes. They give everything but the number of heads, which is taken to be
 * width / 64 as in the published models.
 * @throws StylizingError `CHECKPOINT` where a needed key is missing, `CONFIG` where heads cannot be told.
 */
export function inferConfig(shapes: ReadonlyMap<string, readonly number[]>, label: string): ModelConfig {
  const shape = (key: string, rank: number): readonly number[] => {
    const found = shapes.get(key);
    if (!found) throw new StylizingError("CHECKPOINT", `${label} lacks the tensor ${key}.`, "Is it a Stylizing ViT checkpoint?");
    if (found.length !== rank) {
      throw new StylizingError(
        "CHECKPOINT",
        `${label}: ${key} has the shape [${found.join(", ")}].`,
        `A Stylizing ViT has ${rank} axes there.`,
      );
    }
    return found;
  };
  const [d = 0, c = 0, p = 0] = shape("encoder.patch_embed.proj.weight", 4);
  const tokens = shape("encoder.pos_embed", 3)[1] ?? 0;
  const side = Math.round(Math.sqrt(tokens - 1));
  if (side * side !== tokens - 1) {
    throw new StylizingError(
      "CHECKPOINT",
      `${label}: encoder.pos_embed has ${tokens} tokens.`,
      "A Stylizing ViT has one for CLS and a square number of patches.",
    );
  }
  let depth = 0;
  while (shapes.has(`encoder.blocks.${depth}.norm_input.weight`)) depth++;
  if (d % HEAD_DIM !== 0) {
    refuse(
      `${label} does not say how many heads it has, and its width ${d} is not a multiple of the usual ${HEAD_DIM}.`,
      "Put a config.json with num_heads beside it, or give one with --config.",
    );
  }
  return checkConfig({
    image_size: side * p,
    in_channels: c,
    patch_size: p,
    embed_dim: d,
    depth,
    num_heads: d / HEAD_DIM,
    mlp_ratio: (shape("encoder.blocks.0.mlp.fc1.weight", 2)[0] ?? 0) / d,
    qkv_bias: shapes.has("encoder.blocks.0.attn.q_proj.bias"),
    bottleneck_mlp_ratio: (shape("bottleneck.fc1.weight", 2)[0] ?? 0) / d,
    post_process_conv_kernel_size: shape("post_process_conv.weight", 4)[2] ?? 0,
  });
}
