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
  /** What its images show where there is nothing; white is bare glass, which stays as it is where detail is guided. */
  background?: "white";
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

const INTEGERS = [
  "image_size",
  "in_channels",
  "patch_size",
  "embed_dim",
  "depth",
  "num_heads",
  "post_process_conv_kernel_size",
] as const;

/** The configuration of a published size. */
export function presetConfig(name: string): ModelConfig {
  if (!Object.hasOwn(PRESETS, name)) {
    throw new StylizingError("ARGUMENT", `Unknown preset "${name}".`, `Use one of ${Object.keys(PRESETS).join(", ")}.`);
  }
  return { ...DEFAULTS, ...PRESETS[name as Preset] };
}

/**
 * Checks that a model of this configuration can exist (MODEL: S a multiple of P, D of heads, D even, D/2 of C·P).
 * @throws StylizingError `CONFIG`, naming the rule that fails.
 */
export function checkConfig(config: ModelConfig): ModelConfig {
  checkIntegers(config, INTEGERS);
  checkRatios(config, ["mlp_ratio", "bottleneck_mlp_ratio"]);
  checkFlag(config, "qkv_bias");
  checkGrid(config);
  const { patch_size: p, embed_dim: d, in_channels: c, post_process_conv_kernel_size: k } = config;
  if (d % 2 !== 0 || (d / 2) % (c * p) !== 0) {
    refuseConfig(
      `The width ${d} cannot feed this decoder: half of it must be a multiple of channels × patch size, ${c} × ${p} = ${c * p}, since each patch is a product of ${p}-row and ${p}-column halves per channel.`,
      `Use a multiple of ${2 * c * p} (the usual widths of ViT-Large and ViT-Huge, 1024 and 1280, do not fit 16-pixel RGB patches).`,
    );
  }
  if (k % 2 === 0)
    refuseConfig(
      `The convolution's kernel size ${k} is even.`,
      "Use an odd size: an even one has no middle, and would change the image's size.",
    );
  checkStatistics(config);
  if (config.background !== undefined && config.background !== "white")
    refuseConfig(`The configuration's background is ${JSON.stringify(config.background)}.`, 'Write "white", or leave it away.');
  return config;
}

/**
 * Reads a parsed `config.json`. Missing keys take the published defaults.
 * @throws StylizingError `CONFIG`.
 */
export function parseConfig(json: unknown, label: string): ModelConfig {
  const kind = (json as { kind?: unknown } | null)?.kind;
  if (kind !== undefined && kind !== "stylizing-vit")
    refuseConfig(
      `${label} is of the kind ${JSON.stringify(kind)}, and not of a Stylizing ViT.`,
      "Give a Stylizing ViT's configuration.",
    );
  const keys = [...INTEGERS, "mlp_ratio", "bottleneck_mlp_ratio", "qkv_bias", "mean", "std", "background"] as const;
  return checkConfig(readConfig<ModelConfig>(json, label, { keys, needed: ["embed_dim", "num_heads"], defaults: DEFAULTS }));
}

/** Whether a parsed `config.json` speaks about a model's shape at all; published ones may hold something else. */
export function describesModel(json: unknown): boolean {
  return typeof json === "object" && json !== null && "embed_dim" in json && "num_heads" in json;
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
  const of = { label, model: "Stylizing ViT" };
  const shape = (key: string, rank: number) => neededShape(shapes, key, rank, of);
  const [d = 0, c = 0, p = 0] = shape("encoder.patch_embed.proj.weight", 4);
  const side = gridSide(shape("encoder.pos_embed", 3)[1] ?? 0, "encoder.pos_embed", of);
  let depth = 0;
  while (shapes.has(`encoder.blocks.${depth}.norm_input.weight`)) depth++;
  return checkConfig({
    image_size: side * p,
    in_channels: c,
    patch_size: p,
    embed_dim: d,
    depth,
    num_heads: inferHeads(label, d),
    mlp_ratio: (shape("encoder.blocks.0.mlp.fc1.weight", 2)[0] ?? 0) / d,
    qkv_bias: shapes.has("encoder.blocks.0.attn.q_proj.bias"),
    bottleneck_mlp_ratio: (shape("bottleneck.fc1.weight", 2)[0] ?? 0) / d,
    post_process_conv_kernel_size: shape("post_process_conv.weight", 4)[2] ?? 0,
  });
}
