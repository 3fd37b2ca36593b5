import { BufferUsage } from "../gpu/dawn.js";
import type { Gpu } from "../gpu/gpu.js";
import { float32ToFloat16Bits } from "../hub/half.js";
import type { WeightSource } from "../hub/weight-source.js";
import { checkShapes, dimensions, type ModelConfig } from "./config.js";

/**
 * Weights as the kernels want them, on the device. What is exact and can be done once is done here:
 * - matrices are stored depth-major ([in, out]) and padded with zeros to multiples of 4, heads one by one, so that no
 *   kernel ever meets an odd size;
 * - scale and shift of a LayerNorm are folded into the matrices behind it (W ← W·diag(γ), b ← b + W·β), and 1/√d into
 *   the queries' matrix. What is left of the norms of a block's input and context is then the same, so one normalised row
 *   serves query, key and value, and they are one product;
 * - bias, CLS and position become one table that the patch embedding's product adds.
 */

/** Padded sizes, in elements. */
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

export interface Linear {
  weight: GPUBuffer;
  bias: GPUBuffer;
  depth: number;
  cols: number;
}

export interface Layer {
  /** Columns: query | key | value. */
  qkv: Linear;
  out: Linear;
  fc1: Linear;
  fc2: Linear;
}

export interface PackedModel {
  readonly config: ModelConfig;
  readonly layout: Layout;
  readonly embed: Linear;
  /** [tokens, width] f32: CLS + position in row 0, bias + position in the others. */
  readonly table: GPUBuffer;
  readonly layers: readonly Layer[];
  readonly normGamma: GPUBuffer;
  readonly normBeta: GPUBuffer;
  readonly bottleneck1: Linear;
  readonly bottleneck2: Linear;
  readonly convolution: GPUBuffer;
  readonly buffers: readonly GPUBuffer[];
}

const pad4 = (size: number) => Math.ceil(size / 4) * 4;

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

/** One published matrix [outputs, inputs] on its way into a packed one. */
interface Piece {
  /** Key without `.weight`. */
  key: string;
  inputs: number;
  outputs: number;
  /** Packed row of an input, packed column of an output. */
  row?: (input: number) => number;
  column?: (output: number) => number;
  /** LayerNorm in front, to be folded in. */
  norm?: { gamma: Float32Array; beta: Float32Array };
  scale?: number;
  bias: boolean;
}

/** Columns written side by side, so that the transposition fills whole cache lines. */
const STRIP = 16;

class Packer {
  readonly #gpu: Gpu;
  readonly #source: WeightSource;
  readonly buffers: GPUBuffer[] = [];

  constructor(gpu: Gpu, source: WeightSource) {
    this.#gpu = gpu;
    this.#source = source;
  }

  read(key: string): Promise<Float32Array> {
    return this.#source.read(key);
  }

  upload(label: string, data: Float32Array | Uint16Array): GPUBuffer {
    const buffer = this.#gpu.buffer(label, data.byteLength, BufferUsage.STORAGE | BufferUsage.COPY_DST);
    this.buffers.push(buffer);
    this.#gpu.device.queue.writeBuffer(buffer, 0, data as Uint16Array<ArrayBuffer>);
    return buffer;
  }

  async norm(key: string) {
    return { gamma: await this.read(`${key}.weight`), beta: await this.read(`${key}.bias`) };
  }

  async linear(label: string, depth: number, cols: number, pieces: readonly Piece[]): Promise<Linear> {
    const weight = new Float32Array(depth * cols);
    const bias = new Float32Array(cols);
    for (const piece of pieces) await this.#place(piece, weight, bias, cols);
    return {
      weight: this.upload(`${label} weight`, this.#gpu.profile.elementBytes === 2 ? float32ToFloat16Bits(weight) : weight),
      bias: this.upload(`${label} bias`, bias),
      depth,
      cols,
    };
  }

  async #place(piece: Piece, target: Float32Array, targetBias: Float32Array, stride: number): Promise<void> {
    const { inputs, outputs, norm, scale = 1, row = (i) => i, column = (o) => o } = piece;
    const matrix = await this.read(`${piece.key}.weight`);
    const bias = piece.bias ? await this.read(`${piece.key}.bias`) : undefined;
    const shift = new Float64Array(outputs);
    for (let first = 0; first < outputs; first += STRIP) {
      const end = Math.min(first + STRIP, outputs);
      for (let input = 0; input < inputs; input++) {
        const at = row(input) * stride;
        const gamma = norm ? norm.gamma[input]! * scale : scale;
        const beta = norm ? norm.beta[input]! : 0;
        for (let output = first; output < end; output++) {
          const value = matrix[output * inputs + input]!;
          target[at + column(output)] = value * gamma;
          shift[output]! += value * beta;
        }
      }
    }
    for (let output = 0; output < outputs; output++) {
      targetBias[column(output)] = scale * ((bias ? bias[output]! : 0) + shift[output]!);
    }
  }

  /** Lets the device take over what was written, so that the host does not hold the staging of a whole model. */
  async settle(): Promise<void> {
    this.#gpu.device.queue.submit([]);
    await this.#gpu.device.queue.onSubmittedWorkDone();
  }
}

export interface PackOptions {
  signal?: AbortSignal | undefined;
  /** Called after each layer with parameters uploaded so far and in all. */
  onProgress?: ((loaded: number, total: number) => void) | undefined;
}

/**
 * Reads a model's weights tensor by tensor, packs them and uploads them. Host memory holds one layer at a time.
 * @throws StylizingError `CHECKPOINT` or `CONFIG` where the weights are not this configuration's, `GPU` where the device
 *   has no room. Nothing stays allocated then.
 */
export async function packModel(
  gpu: Gpu,
  config: ModelConfig,
  source: WeightSource,
  options: PackOptions = {},
): Promise<PackedModel> {
  checkShapes(config, source.shapes, source.label);
  const packer = new Packer(gpu, source);
  try {
    return await gpu.checked(`the weights of ${source.label}`, () => pack(packer, config, options));
  } catch (error) {
    gpu.release(...packer.buffers);
    throw error;
  }
}

async function pack(packer: Packer, config: ModelConfig, { signal, onProgress }: PackOptions): Promise<PackedModel> {
  const layout = layoutOf(config);
  const { headDim, hidden, bottleneck, patchInputs } = dimensions(config);
  const d = config.embed_dim;
  const steps = config.depth + 2;
  /** Packed position of an attention channel: every head starts at a multiple of 4. */
  const inHeads = (channel: number) => Math.floor(channel / headDim) * layout.head + (channel % headDim);

  const embed = await packer.linear("patch embedding", layout.patch, layout.width, [
    { key: "encoder.patch_embed.proj", inputs: patchInputs, outputs: d, bias: false },
  ]);
  const embedBias = await packer.read("encoder.patch_embed.proj.bias");
  const cls = await packer.read("encoder.cls_token");
  const position = await packer.read("encoder.pos_embed");
  const table = new Float32Array(layout.tokens * layout.width);
  for (let token = 0; token < layout.tokens; token++) {
    for (let i = 0; i < d; i++) table[token * layout.width + i] = position[token * d + i]! + (token === 0 ? cls : embedBias)[i]!;
  }
  const tableBuffer = packer.upload("position table", table);
  onProgress?.(1, steps);

  const layers: Layer[] = [];
  for (let i = 0; i < config.depth; i++) {
    signal?.throwIfAborted();
    const block = `encoder.blocks.${i}`;
    const input = await packer.norm(`${block}.norm_input`);
    const context = await packer.norm(`${block}.norm_context`);
    const projection = (name: string, index: number, norm: Piece["norm"], scale: number): Piece => ({
      key: `${block}.attn.${name}`,
      inputs: d,
      outputs: d,
      column: (output) => index * layout.attention + inHeads(output),
      ...(norm ? { norm } : {}),
      scale,
      bias: config.qkv_bias,
    });
    layers.push({
      qkv: await packer.linear(`${block} query, key, value`, layout.width, 3 * layout.attention, [
        projection("q_proj", 0, input, 1 / Math.sqrt(headDim)),
        projection("k_proj", 1, context, 1),
        projection("v_proj", 2, context, 1),
      ]),
      out: await packer.linear(`${block} out`, layout.attention, layout.width, [
        { key: `${block}.attn.out_proj`, inputs: d, outputs: d, row: inHeads, bias: true },
      ]),
      fc1: await packer.linear(`${block} fc1`, layout.width, layout.hidden, [
        { key: `${block}.mlp.fc1`, inputs: d, outputs: hidden, norm: input, bias: true },
      ]),
      fc2: await packer.linear(`${block} fc2`, layout.hidden, layout.width, [
        { key: `${block}.mlp.fc2`, inputs: hidden, outputs: d, bias: true },
      ]),
    });
    await packer.settle();
    onProgress?.(i + 2, steps);
  }

  const norm = await packer.norm("encoder.norm");
  const padded = (values: Float32Array) => {
    const row = new Float32Array(layout.width);
    row.set(values);
    return row;
  };
  const model: PackedModel = {
    config,
    layout,
    embed,
    table: tableBuffer,
    layers,
    normGamma: packer.upload("final norm scale", padded(norm.gamma)),
    normBeta: packer.upload("final norm shift", padded(norm.beta)),
    bottleneck1: await packer.linear("bottleneck fc1", layout.width, layout.bottleneck, [
      { key: "bottleneck.fc1", inputs: d, outputs: bottleneck, norm, bias: true },
    ]),
    bottleneck2: await packer.linear("bottleneck fc2", layout.bottleneck, layout.width, [
      { key: "bottleneck.fc2", inputs: bottleneck, outputs: d, bias: true },
    ]),
    convolution: packer.upload("convolution", await packer.read("post_process_conv.weight")),
    buffers: packer.buffers,
  };
  await packer.settle();
  onProgress?.(steps, steps);
  return model;
}
