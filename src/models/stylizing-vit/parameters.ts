import { StylizingError } from "../../errors.js";
import { fanIn, type Initial, xavier } from "../../net/initialise.js";
import { type Axis, axis, type Linear, type Norm, Parameters, pad4 } from "../../net/parameters.js";
import { checkTensors } from "../config-checks.js";
import { dimensions, type ModelConfig } from "./config.js";

/** Padded sizes, in numbers. */
export interface Layout {
  tokens: number;
  /** D, the residual stream's width. */
  width: number;
  heads: number;
  /** One head. */
  head: number;
  /** All heads: columns of query, key and value. */
  attention: number;
  hidden: number;
  bottleneck: number;
  patch: number;
  rank: number;
}

export function layoutOf(config: ModelConfig): Layout {
  const { tokens, headDim, hidden, bottleneck, patchInputs, rank } = dimensions(config);
  const head = pad4(headDim);
  return {
    tokens,
    width: pad4(config.embed_dim),
    heads: config.num_heads,
    head,
    attention: config.num_heads * head,
    hidden: pad4(hidden),
    bottleneck: pad4(bottleneck),
    patch: pad4(patchInputs),
    rank,
  };
}

/** Linear layers of a block. */
export interface BlockParameters {
  /** Outputs: query | key | value. */
  qkv: Linear;
  out: Linear;
  fc1: Linear;
  fc2: Linear;
}

/** The model's registry, and the names of what is in it; offsets are those of the flat array. */
export interface ModelParameters {
  parameters: Parameters;
  cls: number;
  position: number;
  embed: Linear;
  layers: readonly BlockParameters[];
  norm: Norm;
  bottleneck1: Linear;
  bottleneck2: Linear;
  convolution: number;
}

/**
 * Declares a configuration's parameters, in the order in which checkpoints hold them, as published: matrices of the encoder begin
 * Xavier uniform and their biases zero; norms one and zero; the patch embedding Xavier uniform over [D, C·P·P], with PyTorch's
 * default bias; CLS normal with deviation 0.02; positions sine-cosine; bottleneck and convolution as PyTorch initialises them.
 *
 * Scale and shift of a LayerNorm are folded into the matrices behind it, and 1/√d into the queries' matrix. What is left of the
 * norms of a block's input and context is then the same, so one normalised row serves query, key and value, and they are one GEMM.
 */
export function modelParameters(config: ModelConfig): ModelParameters {
  const p = new Parameters();
  const { headDim, hidden, bottleneck, patchInputs, tokens } = dimensions(config);
  const { in_channels: c, patch_size: patch, embed_dim: d, post_process_conv_kernel_size: k } = config;
  const layout = layoutOf(config);
  const width = axis(d);
  // Every head starts at a multiple of 4.
  const heads: Axis = {
    size: d,
    padded: layout.attention,
    at: (channel) => Math.floor(channel / headDim) * layout.head + (channel % headDim),
  };
  const matrix = (key: string, outputs: Axis, weight: Initial, bias: Initial | undefined) => ({ key, outputs, weight, bias });
  const zero = { constant: 0 };

  const cls = p.rows("encoder.cls_token", [1, 1, d], { normal: 0.02 }, width);
  const values = () => sineCosinePositions(d, config.image_size / patch);
  const position = p.rows("encoder.pos_embed", [1, tokens, d], { values }, width);
  const embedding = matrix("encoder.patch_embed.proj", width, xavier(patchInputs, d), fanIn(patchInputs));
  const embed = p.linear("patch embedding", axis(patchInputs), [{ sources: [{ ...embedding, shape: [d, c, patch, patch] }] }]);

  const layers = Array.from({ length: config.depth }, (_, index): BlockParameters => {
    const block = `encoder.blocks.${index}`;
    const input = p.norm(`${block}.norm_input`, width);
    const context = p.norm(`${block}.norm_context`, width);
    const projection = (name: string) => matrix(`${block}.attn.${name}`, heads, xavier(d, d), config.qkv_bias ? zero : undefined);
    const linear = (name: string, inputs: Axis, outputs: Axis, norm?: Norm) =>
      p.linear(`${block}.${name}`, inputs, [
        { sources: [matrix(`${block}.${name}`, outputs, xavier(inputs.size, outputs.size), zero)], ...(norm ? { norm } : {}) },
      ]);
    return {
      qkv: p.linear(`${block} query, key, value`, width, [
        { norm: input, factor: 1 / Math.sqrt(headDim), sources: [projection("q_proj")] },
        { norm: context, sources: [projection("k_proj"), projection("v_proj")] },
      ]),
      out: linear("attn.out_proj", heads, width),
      fc1: linear("mlp.fc1", width, axis(hidden), input),
      fc2: linear("mlp.fc2", axis(hidden), width),
    };
  });

  const norm = p.norm("encoder.norm", width);
  const decoder = (key: string, inputs: Axis, outputs: Axis, behind?: Norm) =>
    p.linear(key, inputs, [
      { sources: [matrix(key, outputs, fanIn(inputs.size), fanIn(inputs.size))], ...(behind ? { norm: behind } : {}) },
    ]);
  const bottleneck1 = decoder("bottleneck.fc1", width, axis(bottleneck), norm);
  const bottleneck2 = decoder("bottleneck.fc2", axis(bottleneck), width);
  const convolution = p.rows("post_process_conv.weight", [c, c, k, k], fanIn(c * k * k), axis(c * c * k * k));
  return { parameters: p, cls, position, embed, layers, norm, bottleneck1, bottleneck2, convolution };
}

/** Shapes by published key: what a checkpoint of this configuration must hold. */
export const parameterShapes = (config: ModelConfig): Map<string, readonly number[]> => modelParameters(config).parameters.shapes;

/**
 * Holds a checkpoint's shapes against a configuration.
 * @throws StylizingError `CHECKPOINT` naming the missing key, `CONFIG` naming the tensor whose shape contradicts it.
 */
export function checkShapes(config: ModelConfig, shapes: ReadonlyMap<string, readonly number[]>, label: string): void {
  checkTensors(parameterShapes(config), shapes, label);
  if (!config.qkv_bias && shapes.has("encoder.blocks.0.attn.q_proj.bias")) {
    throw new StylizingError(
      "CONFIG",
      `${label} has biases for query, key and value, and the configuration says qkv_bias: false.`,
      "Set qkv_bias to true.",
    );
  }
}

/**
 * Position embedding [1, 1 + side², D] of sines and cosines in two dimensions, as MAE has it (He et al., arXiv 2111.06377,
 * `get_2d_sincos_pos_embed`): the first half of D is for the column, the second for the row; of each half the first part are
 * sines and the second cosines of position · 10000^(-i / (D/4)). The row of CLS is zero. Where D is not a multiple of 4, each
 * half has one component too many, its last, which is zero.
 */
export function sineCosinePositions(width: number, side: number): Float32Array {
  const half = width / 2;
  const frequencies = Math.floor(half / 2);
  const out = new Float32Array((1 + side * side) * width);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const at = (1 + row * side + column) * width;
      for (let i = 0; i < frequencies; i++) {
        const frequency = 10000 ** (-i / frequencies);
        for (const [part, position] of [column, row].entries()) {
          out[at + part * half + i] = Math.sin(position * frequency);
          out[at + part * half + frequencies + i] = Math.cos(position * frequency);
        }
      }
    }
  }
  return out;
}
