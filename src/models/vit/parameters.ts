import { fanIn, type Initial } from "../../net/initialise.js";
import { type Axis, axis, type Linear, type Norm, Parameters, pad4, type Tensor } from "../../net/parameters.js";
import { type VitConfig, vitDimensions } from "./config.js";

/** Padded sizes, in numbers. */
export interface VitLayout {
  /** Of the grid that positions are trained for. */
  tokens: number;
  /** D, the residual stream's width. */
  width: number;
  heads: number;
  /** All heads: columns of query, key and value each. */
  attention: number;
  hidden: number;
  patch: number;
  classes: number;
}

export function vitLayout(config: VitConfig): VitLayout {
  const { tokens, headDim, hidden, patchInputs } = vitDimensions(config);
  return {
    tokens,
    width: pad4(config.embed_dim),
    heads: config.num_heads,
    attention: config.num_heads * pad4(headDim),
    hidden: pad4(hidden),
    patch: pad4(patchInputs),
    classes: pad4(config.num_classes),
  };
}

/** Linear layers of a block. */
export interface VitBlock {
  /** Outputs: query | key | value. */
  qkv: Linear;
  out: Linear;
  fc1: Linear;
  fc2: Linear;
}

/** The model's registry, and the names of what is in it; offsets are those of the flat array. */
export interface VitParameters {
  parameters: Parameters;
  cls: number;
  position: number;
  embed: Linear;
  layers: readonly VitBlock[];
  norm: Norm;
  head: Linear | undefined;
}

/**
 * Declares a configuration's parameters, in the order in which checkpoints hold them. They begin as timm's and DINO's do: linear
 * layers, CLS and positions normal with deviation 0.02, biases zero, norms one and zero, the patch embedding as PyTorch has it. The
 * head begins as PyTorch's linear layers do, which is what fine-tuning puts on a pre-trained backbone.
 *
 * Scale and shift of every LayerNorm are folded into the matrix behind it, and 1/√d into the queries' third of the packed matrix.
 */
export function vitParameters(config: VitConfig): VitParameters {
  const p = new Parameters();
  const { headDim, hidden, patchInputs, tokens } = vitDimensions(config);
  const { in_channels: c, patch_size: patch, embed_dim: d, num_classes: count } = config;
  const width = axis(d);
  // Every head starts at a multiple of 4.
  const head = pad4(headDim);
  const heads = (parts: number): Axis => ({
    size: parts * d,
    padded: parts * config.num_heads * head,
    at: (channel) => Math.floor(channel / headDim) * head + (channel % headDim),
  });
  const begun: Initial = { normal: 0.02 };
  const zero: Initial = { constant: 0 };

  const cls = p.rows("cls_token", [1, 1, d], begun, width);
  const position = p.rows("pos_embed", [1, tokens, d], begun, width);
  const embed = p.linear("patch embedding", axis(patchInputs), [
    {
      sources: [
        {
          key: "patch_embed.proj",
          outputs: width,
          weight: fanIn(patchInputs),
          bias: fanIn(patchInputs),
          shape: [d, c, patch, patch],
        },
      ],
    },
  ]);

  const layers = Array.from({ length: config.depth }, (_, index): VitBlock => {
    const block = `blocks.${index}`;
    const linear = (name: string, inputs: Axis, outputs: Axis, norm?: Norm) =>
      p.linear(`${block}.${name}`, inputs, [
        { sources: [{ key: `${block}.${name}`, outputs, weight: begun, bias: zero }], ...(norm ? { norm } : {}) },
      ]);
    const norm1 = p.norm(`${block}.norm1`, width);
    const packed = { key: `${block}.attn.qkv`, weight: begun, bias: config.qkv_bias ? zero : undefined };
    const slice = (first: number, parts: number) => ({ ...packed, outputs: heads(parts), slice: { first, of: 3 * d } });
    const qkv = p.linear(`${block} query, key, value`, width, [
      { norm: norm1, factor: 1 / Math.sqrt(headDim), sources: [slice(0, 1)] },
      { norm: norm1, sources: [slice(d, 2)] },
    ]);
    const out = linear("attn.proj", heads(1), width);
    const norm2 = p.norm(`${block}.norm2`, width);
    return { qkv, out, fc1: linear("mlp.fc1", width, axis(hidden), norm2), fc2: linear("mlp.fc2", axis(hidden), width) };
  });

  const norm = p.norm("norm", width);
  const classes = { key: "head", outputs: axis(count), weight: fanIn(d), bias: fanIn(d) };
  const head1 = count > 0 ? p.linear("head", width, [{ norm, sources: [classes] }]) : undefined;
  return { parameters: p, cls, position, embed, layers, norm, head: head1 };
}

/** Shapes by published key: what a checkpoint of this configuration must hold. */
export const vitShapes = (config: VitConfig): Map<string, readonly number[]> => vitParameters(config).parameters.shapes;

/**
 * Which tensors an optimiser's decay is of: `matrices` (two axes or more and no bias, as DINO and medical_transformers have it),
 * `timm` (neither CLS nor positions, as DeiT) or `all`.
 */
export type DecayRule = "matrices" | "timm" | "all";

export function decays({ key, shape }: Pick<Tensor, "key" | "shape">, rule: DecayRule): boolean {
  if (rule === "all") return true;
  const matrix = shape.length > 1 && !key.endsWith(".bias");
  return matrix && (rule === "matrices" || !/^(cls_token|pos_embed)$/.test(key));
}
