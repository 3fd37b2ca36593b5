import { BufferUsage } from "../gpu/dawn.js";
import {
  type AttentionPlacement,
  type AttentionShape,
  attentionCandidates,
  isAligned8 as attentionIsAligned8,
  attentionKey,
  attentionParameters,
} from "../ops/attention.js";
import { NO_READER } from "../ops/attention-backward.js";
import { normalizePixelsParameters, planNormalizePixels } from "../ops/features.js";
import {
  convolutionParameters,
  patchifyParameters,
  patchProductParameters,
  planConvolution,
  planPatchify,
  planPatchProduct,
  planQuantize,
  quantizeParameters,
} from "../ops/images.js";
import { layerNormParameters, planLayerNorm } from "../ops/layer-norm.js";
import type { Epilogue, LinearPlacement } from "../ops/linear.js";
import { geluParameters, planGelu } from "../ops/rows.js";
import type { BatchShape } from "./batch-shape.js";
import type { Folded, TrainingBuffers } from "./buffers.js";
import { StepList } from "./steps.js";

/** Rows of a buffer: from `first` on, `rows` of them. */
export interface Rows {
  buffer: GPUBuffer;
  first?: number;
}

/** Collects the dispatches of a batch up to its decodings. */
export class ForwardPass {
  readonly steps: StepList;
  readonly indices: GPUBuffer[] = [];
  protected readonly buffers: TrainingBuffers;
  protected readonly shape: BatchShape;
  readonly #input: "bytes" | "planes";
  /** Rows of S, of Q and of both. */
  protected readonly own: number;
  protected readonly query: number;
  protected readonly all: number;
  protected readonly sequences: GPUBuffer;
  protected readonly readers: GPUBuffer;
  protected readonly querySequences: GPUBuffer;
  protected readonly queryReaders: GPUBuffer;

  constructor(buffers: TrainingBuffers, shape: BatchShape, input: "bytes" | "planes") {
    this.buffers = buffers;
    this.shape = shape;
    this.#input = input;
    this.steps = new StepList(buffers.gpu);
    const { tokens } = buffers.layout;
    const { uniques, pairs, styles } = shape;
    this.own = uniques * tokens;
    this.query = pairs * tokens;
    this.all = this.own + this.query;
    const each = <T>(count: number, make: (index: number) => T) => Array.from({ length: count }, (_, index) => make(index));
    this.sequences = this.#index([
      ...each(uniques, (picture) => [picture * tokens, picture * tokens]),
      ...each(pairs, (pair) => [(uniques + pair) * tokens, styles[pair]! * tokens]),
    ]);
    this.readers = this.#index(
      each(uniques, (picture) => {
        const pair = styles.indexOf(picture);
        return [picture * tokens, picture, pair < 0 ? NO_READER : uniques + pair, 0];
      }),
    );
    this.querySequences = this.#index(each(pairs, (pair) => [pair * tokens, pair * tokens]));
    this.queryReaders = this.#index(each(pairs, (pair) => [pair * tokens, pair, NO_READER, 0]));
  }

  protected get profile() {
    return this.buffers.gpu.profile;
  }

  #index(rows: readonly (readonly number[])[]): GPUBuffer {
    return this.upload(new Uint32Array(rows.flat()));
  }

  protected upload(values: Uint32Array | Float32Array): GPUBuffer {
    const { gpu } = this.buffers;
    const buffer = gpu.buffer("indices", values.byteLength, BufferUsage.STORAGE | BufferUsage.COPY_DST);
    gpu.device.queue.writeBuffer(buffer, 0, values as Uint32Array<ArrayBuffer>);
    this.indices.push(buffer);
    return buffer;
  }

  protected get image() {
    const { in_channels: channels, image_size: imageSize } = this.buffers.config;
    return { channels, imageSize };
  }

  /** LayerNorm without scale and shift, of the residual rows from `first` on, to the rows of `normal` from `to` on. */
  protected normalize(rows: number, from: Rows, to = 0): void {
    const { width } = this.buffers.layout;
    const shape = { rows, width: this.buffers.config.embed_dim, affine: false, result: "elem" as const };
    this.steps.share = "rest";
    this.steps.add(
      planLayerNorm(shape, this.profile),
      [from.buffer, from.buffer, from.buffer, this.buffers.scratch.normal],
      layerNormParameters(shape, {
        inputOffset: (from.first ?? 0) * width,
        inputStride: width,
        outputOffset: to * width,
        outputStride: width,
      }),
    );
  }

  /** A linear layer, or outputs [firstOutput, firstOutput + outputs) of it. */
  #linear(
    rows: number,
    { linear, forward, bias }: Folded,
    epilogue: Epilogue,
    result: "f32" | "elem",
    input: Rows,
    output: Rows & { column?: number; stride?: number },
    more: { table?: Rows; period?: number; firstOutput?: number; outputs?: number } = {},
  ): void {
    const { firstOutput = 0, outputs = linear.rows, table, period = rows } = more;
    const stride = output.stride ?? outputs;
    const placement: LinearPlacement = {
      inputOffset: (input.first ?? 0) * linear.cols,
      inputStride: linear.cols,
      weightColumn: firstOutput,
      weightStride: linear.rows,
      outputOffset: (output.first ?? 0) * stride + (output.column ?? 0),
      outputStride: stride,
      ...(table ? { tableOffset: (table.first ?? 0) * outputs, period } : {}),
    };
    this.steps.share = "products";
    this.steps.linear(
      { rows, depth: linear.cols, cols: outputs, epilogue, result },
      { input: input.buffer, weight: forward, bias, output: output.buffer, ...(table ? { table: table.buffer } : {}) },
      placement,
    );
  }

  protected gelu(rows: number, cols: number, input: Rows, output: GPUBuffer): void {
    const shape = { rows, cols };
    this.steps.share = "rest";
    this.steps.add(
      planGelu(shape, this.profile),
      [input.buffer, output],
      geluParameters(shape, { inputOffset: (input.first ?? 0) * cols }),
    );
  }

  protected attentionShape(sequences: number): Omit<AttentionShape, "aligned8"> {
    const { tokens, heads, head } = this.buffers.layout;
    return { sequences, tokens, heads, headSize: head };
  }

  protected get attentionPlacement(): AttentionPlacement {
    const { attention } = this.buffers.layout;
    return {
      queryColumn: 0,
      queryStride: 3 * attention,
      keyColumn: attention,
      valueColumn: 2 * attention,
      contextStride: 3 * attention,
      outputStride: attention,
    };
  }

  #attend(sequences: number, rows: GPUBuffer, index: GPUBuffer, output: GPUBuffer): void {
    const placement = this.attentionPlacement;
    const shape = { ...this.attentionShape(sequences), aligned8: attentionIsAligned8(placement) };
    this.steps.share = "attention";
    this.steps.choose(
      attentionKey(shape),
      attentionCandidates(shape, this.profile),
      [rows, rows, index, output],
      attentionParameters(shape, placement),
    );
  }

  /** Everything up to the decodings. */
  forward(): void {
    const { config, layout, planes, pixels } = this.buffers;
    const { uniques } = this.shape;
    const { patches } = this.buffers;
    const statistics = { mean: config.mean ?? [], std: config.std ?? [] };
    this.steps.share = "rest";
    if (this.#input === "bytes") {
      const shape = { images: uniques, ...this.image };
      this.steps.add(planNormalizePixels(shape, this.profile), [pixels, planes], normalizePixelsParameters(shape, statistics));
    }
    const shape = {
      images: uniques,
      ...this.image,
      patchSize: config.patch_size,
      depth: layout.patch,
      format: "planes" as const,
    };
    this.steps.add(planPatchify(shape, this.profile), [planes, patches], patchifyParameters(shape, 0, statistics));
    this.#embed(this.own, 0);
    // The query begins as its content: the first pictures' rows, computed once more.
    this.#embed(this.query, this.own);
    for (let layer = 0; layer < config.depth; layer++) this.layer(layer, false);
    this.#decode();
  }

  /** Patches to the tokens of layer 0, its rows from `first` on; biases, CLS and positions come from the table. */
  #embed(rows: number, first: number): void {
    const { embed, patches, table, inputs } = this.buffers;
    const { width, tokens } = this.buffers.layout;
    const { cols } = embed.linear;
    this.steps.share = "products";
    this.steps.linear(
      { rows, depth: cols, cols: width, epilogue: "table", result: "f32" },
      { input: patches, weight: embed.forward, output: inputs[0]!, table },
      { inputStride: cols, weightStride: width, outputOffset: first * width, outputStride: width, period: tokens },
    );
  }

  /** One layer; `again` leaves out what a layer computed anew for its backward pass need not write. */
  protected layer(layer: number, again: boolean): void {
    const { attention, hidden } = this.buffers.layout;
    const { uniques, pairs } = this.shape;
    const { inputs, kept, layers, scratch } = this.buffers;
    const { qkv, out, fc1, fc2 } = layers[layer]!;
    const keep = kept[layer]!;
    const input = inputs[layer]!;
    const output = inputs[layer + 1]!;
    const isLast = layer === this.buffers.config.depth - 1;
    const wide = 3 * attention;

    this.normalize(this.all, { buffer: input });
    this.#linear(this.own, qkv, "none", "elem", { buffer: scratch.normal }, { buffer: keep.qkv });
    this.#linear(
      this.query,
      qkv,
      "none",
      "elem",
      { buffer: scratch.normal, first: this.own },
      { buffer: keep.qkv, first: this.own, stride: wide },
      { outputs: attention },
    );
    this.#attend(uniques + pairs, keep.qkv, this.sequences, keep.attended);
    this.#linear(
      this.all,
      out,
      "table",
      "f32",
      { buffer: keep.attended },
      { buffer: keep.residual },
      { table: { buffer: input } },
    );
    this.normalize(this.all, { buffer: keep.residual });
    this.#linear(this.all, fc1, "none", "elem", { buffer: scratch.normal }, { buffer: keep.hidden });
    this.gelu(this.all, hidden, { buffer: keep.hidden }, scratch.wide);
    if (!again) {
      this.#linear(
        this.own,
        fc2,
        "table",
        "f32",
        { buffer: scratch.wide },
        { buffer: output },
        { table: { buffer: keep.residual } },
      );
    }
    const stylized = isLast ? { buffer: output, first: this.own } : { buffer: keep.stylized };
    const stylizedRows = { buffer: scratch.wide, first: this.own };
    if (!(again && isLast)) {
      const table = { buffer: keep.residual, first: this.own };
      this.#linear(this.query, fc2, "table", "f32", stylizedRows, stylized, { table });
    }
    if (isLast) return;

    // Q' = blk(S'[content], Z): contents are the first rows.
    this.normalize(this.query, { buffer: output });
    this.normalize(this.query, { buffer: keep.stylized }, this.query);
    const query = { buffer: keep.queryQkv, stride: wide };
    this.#linear(this.query, qkv, "none", "elem", { buffer: scratch.normal }, query, { outputs: attention });
    this.#linear(
      this.query,
      qkv,
      "none",
      "elem",
      { buffer: scratch.normal, first: this.query },
      { ...query, column: attention },
      { firstOutput: attention, outputs: 2 * attention },
    );
    this.#attend(pairs, keep.queryQkv, this.querySequences, keep.queryAttended);
    this.#linear(
      this.query,
      out,
      "table",
      "f32",
      { buffer: keep.queryAttended },
      { buffer: keep.queryResidual },
      { table: { buffer: output } },
    );
    this.normalize(this.query, { buffer: keep.queryResidual });
    this.#linear(this.query, fc1, "none", "elem", { buffer: scratch.normal }, { buffer: keep.queryHidden });
    if (again) return;
    this.gelu(this.query, hidden, { buffer: keep.queryHidden }, scratch.wide);
    this.#linear(
      this.query,
      fc2,
      "table",
      "f32",
      { buffer: scratch.wide },
      { buffer: output, first: this.own },
      { table: { buffer: keep.queryResidual } },
    );
  }

  protected get patchShape() {
    const { config, layout } = this.buffers;
    const { uniques, pairs } = this.shape;
    return { images: uniques + pairs, ...this.image, patchSize: config.patch_size, rank: layout.rank, stride: layout.width };
  }

  protected get filterShape() {
    const { uniques, pairs } = this.shape;
    return { images: uniques + pairs, ...this.image, kernelSize: this.buffers.config.post_process_conv_kernel_size };
  }

  #decode(): void {
    const { layout, config, decoded } = this.buffers;
    const { inputs, scratch, bottleneck1, bottleneck2, bottleneckHidden, tokens, product } = this.buffers;
    this.normalize(this.all, { buffer: inputs[config.depth]! });
    this.#linear(this.all, bottleneck1, "none", "elem", { buffer: scratch.normal }, { buffer: bottleneckHidden });
    this.gelu(this.all, layout.bottleneck, { buffer: bottleneckHidden }, scratch.wide);
    this.#linear(this.all, bottleneck2, "none", "elem", { buffer: scratch.wide }, { buffer: tokens });
    this.steps.share = "rest";
    this.steps.add(planPatchProduct(this.patchShape, this.profile), [tokens, product], patchProductParameters(this.patchShape));
    this.steps.add(
      planConvolution(this.filterShape, this.profile),
      [product, scratch.filter, decoded],
      convolutionParameters(this.filterShape),
    );
  }

  /** Decodings as bytes, for whoever looks at them. */
  quantize(): void {
    const { config, decoded, decodedBytes } = this.buffers;
    if (!config.mean || !config.std) return;
    const { uniques, pairs } = this.shape;
    const shape = { images: uniques + pairs, ...this.image, format: "bytes" as const };
    this.steps.share = "rest";
    this.steps.add(
      planQuantize(shape, this.profile),
      [decoded, decodedBytes],
      quantizeParameters(shape, { mean: config.mean, std: config.std }),
    );
  }
}
