import { columnsOf, everyRow, rowsOf, type View, view } from "../../gpu/view.js";
import { Block } from "../../net/layers/block.js";
import type { Recorder } from "../../net/recorder.js";
import { clsAttention } from "../../ops/classification.js";
import { type PixelFormat, patchify } from "../../ops/images.js";
import { layerNorm } from "../../ops/layer-norm.js";
import { linear } from "../../ops/linear.js";
import type { VitModel } from "./weights.js";

/** What a classifier's program computes beside its logits, which it computes where it has a head. */
export interface VitRequest {
  images: number;
  /** Pixels; multiples of the patch size. */
  height: number;
  width: number;
  input: PixelFormat;
  /** All tokens behind the final norm; without them the last block's MLP runs over the CLS rows alone. */
  tokens?: boolean;
  /** The last block's softmax, row CLS, by head. */
  attention?: boolean;
}

/** Names of the arena's buffers that results are read from. */
export const VIT_OUTPUTS = { logits: "logits", tokens: "tokens", attention: "CLS attention" } as const;

/** Emits a forward pass (Dosovitskiy et al., arXiv 2010.11929; DeiT's sizes), pre-norm. */
export function recordVit(r: Recorder, model: VitModel, request: VitRequest): void {
  const { config, layout } = model;
  const { images, height, width: pixelsWide, input: format } = request;
  const { in_channels: channels, patch_size: patchSize, embed_dim: d } = config;
  const [down, across] = [height / patchSize, pixelsWide / patchSize];
  const tokens = 1 + down * across;
  const rows = images * tokens;
  const { heads, attention: wide } = layout;
  const narrow = (count: number, cols: number) => r.scratch("narrow", count, cols, "elem");
  const residual = r.scratch("residual", rows, layout.width, "f32");
  const normal = narrow(rows, layout.width);

  const table =
    tokens === model.table.rows && down === across
      ? model.table
      : view(r.constant("position table", model.tableOf(down, across)), "f32", tokens, layout.width);
  const pixels = r.scratch("pixels", images, channels * height * pixelsWide, "f32").buffer;
  const patches = narrow(rows, layout.patch);
  const normalization = { mean: config.mean ?? [], std: config.std ?? [] };
  r.emit(patchify, { images, channels, height, width: pixelsWide, patchSize, pixels, patches, format, normalization });
  r.emit(linear, { x: patches, w: model.embed.forward, bias: model.embed.bias, y: residual, table });

  const index = r.index(Array.from({ length: images }, (_, image) => [image * tokens, image * tokens]));
  for (const [layer, weights] of model.layers.entries()) {
    const block = new Block(r, weights, { tokens, heads, attention: wide, width: d });
    const last = layer === model.layers.length - 1;
    const qkv = r.scratch("wide", rows, 3 * wide, "elem");
    const [q, k, v] = [0, 1, 2].map((part) => columnsOf(qkv, part * wide, wide)) as [View, View, View];
    block.normalize(residual, normal);
    block.project(normal, "qkv", qkv);
    const attended = narrow(rows, wide);
    block.attend(images, index, q, k, v, attended);
    if (last && request.attention) {
      const y = r.scratch(VIT_OUTPUTS.attention, images * heads, tokens - 1, "f32");
      r.emit(clsAttention, { sequences: images, tokens, heads, q, k, y });
    }
    // Nothing reads the last block's other rows, unless they are asked for.
    const only = (matrix: View) => (last && !request.tokens ? everyRow(matrix, tokens) : matrix);
    const x = only(residual);
    block.projectOut(only(attended), x, { residual: x });
    block.mlp(x, rowsOf(normal, 0, x.rows), r.scratch("wide", x.rows, layout.hidden, "elem"));
  }

  if (request.tokens) {
    const y = r.scratch(VIT_OUTPUTS.tokens, rows, layout.width, "f32");
    r.emit(layerNorm, { x: residual, y, width: d, affine: model.norm });
  }
  if (model.head) {
    const cls = narrow(images, layout.width);
    // Scale and shift of the final norm are folded into the head.
    r.emit(layerNorm, { x: everyRow(residual, tokens), y: cls, width: d });
    const { forward: w, bias } = model.head;
    r.emit(linear, { x: cls, w, bias, y: r.scratch(VIT_OUTPUTS.logits, images, layout.classes, "f32") });
  }
}
