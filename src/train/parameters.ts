import { StylizingError } from "../errors.js";
import { dimensions, type ModelConfig, parameterShapes } from "../model/config.js";
import { layoutOf } from "../model/pack.js";
import type { FoldPlacement } from "../ops/weights.js";

/**
 * Where every parameter lies in the flat arrays that training keeps on the device: weights, gradients and both of AdamW's moments
 * are laid out alike, so that the optimiser is one kernel over one range. Matrices stay as published, [outputs, inputs];
 * sizes are padded to multiples of 4 with zeros, heads one by one, as model/pack.ts has it. The gradient of padding is
 * zero, so it stays zero.
 */

/** A linear layer: its matrix is [rows, cols] at `weight`, its bias [rows] at `bias`, both offsets in numbers. */
export interface TrainedLinear extends FoldPlacement {
  rows: number;
  cols: number;
}

/** One row or column of numbers. */
interface Norm {
  gamma: number;
  beta: number;
}

export interface TrainedLayer {
  input: Norm;
  context: Norm;
  /** Rows: query | key | value. The matrices of the three lie behind one another, their LayerNorms differ. */
  qkv: TrainedLinear;
  out: TrainedLinear;
  fc1: TrainedLinear;
  fc2: TrainedLinear;
}

/** How a published tensor, [rows, cols], lies in the flat array. */
interface Place {
  offset: number;
  rows: number;
  cols: number;
  /** Numbers between two rows. */
  stride: number;
  /** Padded position of a row or column; the identity where it is left out. */
  row?: (row: number) => number;
  column?: (column: number) => number;
}

export interface ParameterLayout {
  /** Numbers of a flat array. */
  count: number;
  places: ReadonlyMap<string, Place>;
  embed: TrainedLinear;
  cls: number;
  position: number;
  layers: readonly TrainedLayer[];
  norm: Norm;
  bottleneck1: TrainedLinear;
  bottleneck2: TrainedLinear;
  convolution: number;
}

/** Tensors begin at multiples of this many numbers: whole cache lines, and matrix units' groups of eight. */
const ALIGNMENT = 64;

const align = (count: number) => Math.ceil(count / ALIGNMENT) * ALIGNMENT;

/** The layout of a configuration's parameters. Pure. */
export function parameterLayout(config: ModelConfig): ParameterLayout {
  const layout = layoutOf(config);
  const { headDim, hidden, bottleneck, patchInputs, tokens } = dimensions(config);
  const d = config.embed_dim;
  const places = new Map<string, Place>();
  let count = 0;
  const take = (numbers: number) => {
    const offset = count;
    count = align(count + numbers);
    return offset;
  };
  const inHeads = (channel: number) => Math.floor(channel / headDim) * layout.head + (channel % headDim);

  const row = (key: string, cols: number, padded: number): number => {
    const offset = take(padded);
    places.set(key, { offset, rows: 1, cols, stride: padded });
    return offset;
  };
  const norm = (key: string): Norm => ({
    gamma: row(`${key}.weight`, d, layout.width),
    beta: row(`${key}.bias`, d, layout.width),
  });
  const linear = (key: string, rows: number, cols: number, padded: [rows: number, cols: number], column?: Place["column"]) => {
    const weight = take(padded[0] * padded[1]);
    const bias = take(padded[0]);
    places.set(`${key}.weight`, { offset: weight, rows, cols, stride: padded[1], ...(column ? { column } : {}) });
    places.set(`${key}.bias`, { offset: bias, rows: 1, cols: rows, stride: padded[0] });
    return { weight, bias, rows: padded[0], cols: padded[1] };
  };

  const cls = row("encoder.cls_token", d, layout.width);
  const position = take(tokens * layout.width);
  places.set("encoder.pos_embed", { offset: position, rows: tokens, cols: d, stride: layout.width });
  const embed = linear("encoder.patch_embed.proj", d, patchInputs, [layout.width, layout.patch]);

  const layers = Array.from({ length: config.depth }, (_, index): TrainedLayer => {
    const block = `encoder.blocks.${index}`;
    const input = norm(`${block}.norm_input`);
    const context = norm(`${block}.norm_context`);
    const { attention, width } = layout;
    const qkv = { weight: take(3 * attention * width), bias: take(3 * attention), rows: 3 * attention, cols: width };
    for (const [part, name] of ["q_proj", "k_proj", "v_proj"].entries()) {
      const key = `${block}.attn.${name}`;
      const offset = qkv.weight + part * attention * width;
      places.set(`${key}.weight`, { offset, rows: d, cols: d, stride: width, row: inHeads });
      // Without biases theirs are zeros that nothing ever gives a gradient.
      const bias = { offset: qkv.bias + part * attention, rows: 1, cols: d, stride: attention, column: inHeads };
      if (config.qkv_bias) places.set(`${key}.bias`, bias);
    }
    return {
      input,
      context,
      qkv,
      out: linear(`${block}.attn.out_proj`, d, d, [width, attention], inHeads),
      fc1: { ...linear(`${block}.mlp.fc1`, hidden, d, [layout.hidden, width]), norm: input },
      fc2: linear(`${block}.mlp.fc2`, d, hidden, [width, layout.hidden]),
    };
  });

  const last = norm("encoder.norm");
  const bottleneck1 = { ...linear("bottleneck.fc1", bottleneck, d, [layout.bottleneck, layout.width]), norm: last };
  const bottleneck2 = linear("bottleneck.fc2", d, bottleneck, [layout.width, layout.bottleneck]);
  const filter = config.in_channels ** 2 * config.post_process_conv_kernel_size ** 2;
  const convolution = row("post_process_conv.weight", filter, align(filter));
  return { count, places, embed, cls, position, layers, norm: last, bottleneck1, bottleneck2, convolution };
}

/** Walks the numbers of a tensor: its own index, and the index in the flat array. */
function each({ offset, rows, cols, stride, row, column }: Place, visit: (own: number, flat: number) => void): void {
  for (let r = 0; r < rows; r++) {
    const start = offset + (row ? row(r) : r) * stride;
    for (let c = 0; c < cols; c++) visit(r * cols + c, start + (column ? column(c) : c));
  }
}

/**
 * Published tensors as one flat array.
 * @throws StylizingError `CHECKPOINT` where a tensor is missing or has another size
 */
export function flatten(layout: ParameterLayout, tensors: ReadonlyMap<string, Float32Array>): Float32Array {
  const flat = new Float32Array(layout.count);
  for (const [key, place] of layout.places) {
    const values = tensors.get(key);
    const wanted = place.rows * place.cols;
    if (values?.length !== wanted) {
      throw new StylizingError(
        "CHECKPOINT",
        `The state to train from has ${values ? `${values.length} numbers` : "no tensor"} for ${key}, and ${wanted} are needed.`,
        "Use a state of this configuration.",
      );
    }
    each(place, (own, at) => {
      flat[at] = values[own]!;
    });
  }
  return flat;
}

/** The published tensors of a flat array, in the order in which checkpoints hold them. */
export function unflatten(config: ModelConfig, layout: ParameterLayout, flat: Float32Array): Map<string, Float32Array> {
  const tensors = new Map<string, Float32Array>();
  for (const key of parameterShapes(config).keys()) {
    const place = layout.places.get(key)!;
    const values = new Float32Array(place.rows * place.cols);
    each(place, (own, at) => {
      values[own] = flat[at]!;
    });
    tensors.set(key, values);
  }
  return tensors;
}
