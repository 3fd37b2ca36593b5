import type { Gpu } from "../../gpu/gpu.js";
import { type View, view } from "../../gpu/view.js";
import type { WeightSource } from "../../hub/weight-source.js";
import { type LinearWeights, WeightUpload } from "../../net/folding.js";
import { type BlockWeights, uploadBlocks } from "../../net/layers/block.js";
import { checkTensors } from "../config-checks.js";
import type { UploadOptions } from "../task.js";
import { type VitConfig, vitDimensions } from "./config.js";
import { type VitLayout, type VitParameters, vitLayout, vitParameters } from "./parameters.js";
import { resizePositions } from "./positions.js";

/** A classifier on the device, for inference. */
export interface VitModel {
  readonly config: VitConfig;
  readonly layout: VitLayout;
  readonly embed: LinearWeights;
  /** [tokens, width] f32 of the trained grid: CLS + position in row 0, bias + position in the others. */
  readonly table: View;
  /** The same for any grid of patches, on the host. */
  tableOf(rows: number, columns: number): Float32Array;
  readonly layers: readonly BlockWeights[];
  readonly norm: { gamma: GPUBuffer; beta: GPUBuffer };
  readonly head: LinearWeights | undefined;
  readonly buffers: readonly GPUBuffer[];
}

/**
 * Reads a classifier's weights tensor by tensor, folds them and uploads them. Host memory holds one layer at a time.
 * @throws StylizingError `CHECKPOINT` or `CONFIG` where the weights are not this configuration's, `GPU` where the device
 *   has no room. Nothing stays allocated then.
 */
export async function uploadVit(
  gpu: Gpu,
  config: VitConfig,
  source: WeightSource,
  options: UploadOptions = {},
): Promise<VitModel> {
  const parameters = vitParameters(config);
  checkTensors(parameters.parameters.shapes, source.shapes, source.label);
  const weights = new WeightUpload(gpu, source);
  try {
    return await gpu.checked(`the weights of ${source.label}`, () => upload(weights, config, parameters, options));
  } catch (error) {
    gpu.release(...weights.buffers);
    throw error;
  }
}

async function upload(
  weights: WeightUpload,
  config: VitConfig,
  { embed, layers, norm, head }: VitParameters,
  { signal, onProgress }: UploadOptions,
): Promise<VitModel> {
  const layout = vitLayout(config);
  const steps = config.depth + 2;
  // Its bias stands in the table.
  const embedding = await weights.linear(embed, true);
  const tableOf = await tables(weights, config, layout.width);
  const { side } = vitDimensions(config);
  const table = view(weights.upload("position table", tableOf(side, side)), "f32", layout.tokens, layout.width);
  onProgress?.(1, steps);

  const blocks = await uploadBlocks(weights, layers, signal, (done) => onProgress?.(done + 1, steps));
  const model: VitModel = {
    config,
    layout,
    embed: embedding,
    table,
    tableOf,
    layers: blocks,
    norm: {
      gamma: await weights.row(`${norm.key}.weight`, layout.width),
      beta: await weights.row(`${norm.key}.bias`, layout.width),
    },
    head: head && (await weights.linear(head)),
    buffers: weights.buffers,
  };
  await weights.settle();
  onProgress?.(steps, steps);
  return model;
}

/** Makes tables of positions, CLS and the embedding's bias in them: [1 + rows · columns, padded width]. */
async function tables(weights: WeightUpload, config: VitConfig, padded: number): Promise<VitModel["tableOf"]> {
  const d = config.embed_dim;
  const bias = await weights.read("patch_embed.proj.bias");
  const cls = await weights.read("cls_token");
  const trained = await weights.read("pos_embed");
  const { side } = vitDimensions(config);
  const made = new Map<string, Float32Array>();
  const make = (rows: number, columns: number): Float32Array => {
    const position = resizePositions(trained, d, side, rows, columns);
    const table = new Float32Array((1 + rows * columns) * padded);
    for (let token = 0; token <= rows * columns; token++)
      for (let i = 0; i < d; i++) table[token * padded + i] = position[token * d + i]! + (token === 0 ? cls : bias)[i]!;
    return table;
  };
  return (rows, columns) => {
    const grid = `${rows} × ${columns}`;
    const table = made.get(grid) ?? make(rows, columns);
    made.set(grid, table);
    return table;
  };
}
