import type { Gpu } from "../../gpu/gpu.js";
import { type View, view } from "../../gpu/view.js";
import type { WeightSource } from "../../hub/weight-source.js";
import { type LinearWeights, WeightUpload } from "../../net/folding.js";
import { type BlockWeights, uploadBlocks } from "../../net/layers/block.js";
import type { UploadOptions } from "../task.js";
import { dimensions, type ModelConfig } from "./config.js";
import { checkShapes, type Layout, layoutOf, type ModelParameters, modelParameters } from "./parameters.js";

/** A model on the device, for inference. */
export interface ModelWeights {
  readonly config: ModelConfig;
  readonly layout: Layout;
  readonly embed: LinearWeights;
  /** [tokens, width] f32: CLS + position in row 0, bias + position in the others. */
  readonly table: View;
  readonly layers: readonly BlockWeights[];
  readonly norm: { gamma: GPUBuffer; beta: GPUBuffer };
  readonly bottleneck1: LinearWeights;
  readonly bottleneck2: LinearWeights;
  readonly convolution: GPUBuffer;
  readonly buffers: readonly GPUBuffer[];
}

/**
 * Reads a model's weights tensor by tensor, folds them and uploads them. Host memory holds one layer at a time.
 * @throws StylizingError `CHECKPOINT` or `CONFIG` where the weights are not this configuration's, `GPU` where the device
 *   has no room. Nothing stays allocated then.
 */
export async function uploadModel(
  gpu: Gpu,
  config: ModelConfig,
  source: WeightSource,
  options: UploadOptions = {},
): Promise<ModelWeights> {
  checkShapes(config, source.shapes, source.label);
  const weights = new WeightUpload(gpu, source);
  try {
    return await gpu.checked(`the weights of ${source.label}`, () => upload(weights, config, modelParameters(config), options));
  } catch (error) {
    gpu.release(...weights.buffers);
    throw error;
  }
}

async function upload(
  weights: WeightUpload,
  config: ModelConfig,
  { embed, layers, norm, bottleneck1, bottleneck2 }: ModelParameters,
  { signal, onProgress }: UploadOptions,
): Promise<ModelWeights> {
  const layout = layoutOf(config);
  const steps = config.depth + 2;
  // Its bias stands in the table.
  const embedding = await weights.linear(embed, true);
  const table = await positionTable(weights, config, layout);
  onProgress?.(1, steps);

  const blocks = await uploadBlocks(weights, layers, signal, (done) => onProgress?.(done + 1, steps));
  const model: ModelWeights = {
    config,
    layout,
    embed: embedding,
    table,
    layers: blocks,
    norm: {
      gamma: await weights.row(`${norm.key}.weight`, layout.width),
      beta: await weights.row(`${norm.key}.bias`, layout.width),
    },
    bottleneck1: await weights.linear(bottleneck1),
    bottleneck2: await weights.linear(bottleneck2),
    convolution: weights.upload("convolution", await weights.read("post_process_conv.weight")),
    buffers: weights.buffers,
  };
  await weights.settle();
  onProgress?.(steps, steps);
  return model;
}

async function positionTable(weights: WeightUpload, config: ModelConfig, { tokens, width }: Layout): Promise<View> {
  const d = config.embed_dim;
  const bias = await weights.read("encoder.patch_embed.proj.bias");
  const cls = await weights.read("encoder.cls_token");
  const position = await weights.read("encoder.pos_embed");
  const table = new Float32Array(dimensions(config).tokens * width);
  for (let token = 0; token < tokens; token++) {
    for (let i = 0; i < d; i++) table[token * width + i] = position[token * d + i]! + (token === 0 ? cls : bias)[i]!;
  }
  return view(weights.upload("position table", table), "f32", tokens, width);
}
