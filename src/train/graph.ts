import { BufferUsage } from "../gpu/dawn.js";
import type { Gpu } from "../gpu/gpu.js";
import type { ModelConfig } from "../model/config.js";
import { type Layout, layoutOf } from "../model/pack.js";
import {
  type AttentionPlacement,
  type AttentionShape,
  attentionCandidates,
  isAligned8 as attentionIsAligned8,
  attentionKey,
  attentionParameters,
} from "../ops/attention.js";
import {
  attentionBackwardContextParameters,
  attentionBackwardQueryParameters,
  NO_READER,
  planAttentionBackwardContext,
  planAttentionBackwardQuery,
} from "../ops/attention-backward.js";
import {
  convolutionGradientParameters,
  convolutionGradientSlices,
  convolutionGradientStride,
  patchProductBackwardParameters,
  planConvolutionGradient,
  planPatchProductBackward,
} from "../ops/decoder-backward.js";
import {
  mapsToPlanesParameters,
  normalizePixelsParameters,
  planesToMapsParameters,
  planMapsToPlanes,
  planNormalizePixels,
  planPlanesToMaps,
} from "../ops/features.js";
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
import { layerNormBackwardParameters, planLayerNormBackward } from "../ops/layer-norm-backward.js";
import type { Epilogue, LinearPlacement } from "../ops/linear.js";
import {
  consistencyLossParameters,
  featurePartials,
  PIXEL_LOSS_SLICES,
  pixelLossParameters,
  planConsistencyLoss,
  planPixelLoss,
  planStylizedLoss,
  stylizedLossParameters,
} from "../ops/losses.js";
import {
  addRowsParameters,
  geluParameters,
  narrowParameters,
  planAddRows,
  planGelu,
  planNarrow,
  planSumRows,
  planSumSlices,
  planTranspose,
  type Source,
  sumRowsParameters,
  sumSlicesParameters,
  transposeParameters,
} from "../ops/rows.js";
import {
  foldBiasParameters,
  foldMatrixParameters,
  planFoldBias,
  planFoldMatrix,
  planPositionTable,
  planUnfold,
  positionTableParameters,
  unfoldParameters,
} from "../ops/weights.js";
import { type ParameterLayout, parameterLayout, type TrainedLinear } from "./parameters.js";
import { type BoundSteps, StepList } from "./steps.js";
import type { Losses } from "./types.js";
import type { FeatureMaps, Levels, Vgg } from "./vgg.js";

/**
 * Forward pass, losses and backward pass of a batch of pairs, as dispatches.
 *
 * What the published training computes twice is computed once, and none of it changes a result. Streams A and Y go through the
 * same blocks with the same weights, so a picture that is content of one pair and style of another goes through them
 * once: a batch whose styles are its contents rolled by one has as many self-attending streams as pictures, not twice as many. Its
 * reconstruction and its features are computed once as well and count twice in the losses. A pair then costs 3L - 1 block passes instead of
 * 4L, two decodings instead of three, and three passes of VGG-19 forward and two back instead of five and three.
 *
 * Rows of the encoder's buffers: `uniques` sequences of the pictures' own stream, S, then `pairs` sequences of the query's, Q (the
 * stylized stream's, Z, behind a block). The contents are the first pictures, in order. A layer is
 *   S' = blk(S, S),   Z = blk(Q, S[style]),   Q' = blk(S'[content], Z)
 * and the first two are one batch. Kept for the backward pass: what every block got and what its attention and MLP multiplied;
 * normalised rows and GELU are computed again. With `recompute` a layer keeps its input alone.
 */
export interface BatchShape {
  /** Pictures. */
  uniques: number;
  /** Pairs; the content of pair p is picture p. */
  pairs: number;
  /** Picture that is the style of each pair; none twice. */
  styles: readonly number[];
  /** How often each picture stands in a pair. */
  counts: readonly number[];
  /** Pairs of the whole batch, which losses are means over: these may be some of them. */
  batch: number;
}

/** Pairs of pictures with themselves rolled by -1: `pairs` of a batch of `batch`; unless those are all, one more picture than pairs. */
export function rolled(pairs: number, batch: number): BatchShape {
  const uniques = pairs === batch ? pairs : pairs + 1;
  const styles = Array.from({ length: pairs }, (_, pair) => (pair + 1) % uniques);
  const counts = Array.from({ length: uniques }, (_, picture) => (picture < pairs ? 1 : 0) + (styles.includes(picture) ? 1 : 0));
  return { uniques, pairs, styles, counts, batch };
}

/** Contents and as many styles that have nothing to do with them, contents first. */
export function separate(pairs: number, batch = pairs): BatchShape {
  const styles = Array.from({ length: pairs }, (_, pair) => pairs + pair);
  return { uniques: 2 * pairs, pairs, styles, counts: new Array(2 * pairs).fill(1), batch };
}

/** Matrices of a linear layer as products want them. */
interface Folded {
  linear: TrainedLinear;
  /** [cols, rows] and [rows, cols] elem. */
  forward: GPUBuffer;
  backward: GPUBuffer;
  bias: GPUBuffer;
}

interface FoldedLayer {
  qkv: Folded;
  out: Folded;
  fc1: Folded;
  fc2: Folded;
}

/** What a layer keeps for its backward pass. Rows in [], S and Q or Q alone. */
interface Kept {
  qkv: GPUBuffer;
  attended: GPUBuffer;
  residual: GPUBuffer;
  hidden: GPUBuffer;
  /** Behind the first two blocks, the stylized stream: [Q]. */
  stylized: GPUBuffer;
  /** Of the third block, all [Q]. */
  queryQkv: GPUBuffer;
  queryAttended: GPUBuffer;
  queryResidual: GPUBuffer;
  queryHidden: GPUBuffer;
}

/** Rows that a product's depth is rounded up to, so that every kernel's panels are whole. */
const DEPTH_UNIT = 32;
/** Slices that the gradient of a matrix is summed in, at most; and how many workgroups are worth having. */
const MOST_SLICES = 32;
const ENOUGH_TILES = 256;
/** Rows of a slice at least: shorter ones cost more in sums than they win. */
const SHORTEST_SLICE = 128;

export interface GraphOptions {
  /** Largest batch that will be asked for. */
  uniques: number;
  pairs: number;
  recompute: boolean;
  weights: Losses;
  /** What losses are multiplied by on their way into gradients. */
  lossScale: number;
}

export class TrainingGraph {
  readonly gpu: Gpu;
  readonly config: ModelConfig;
  readonly layout: Layout;
  readonly places: ParameterLayout;
  readonly options: GraphOptions;
  /** All of the model's numbers, flat: see parameters.ts. */
  readonly parameters: GPUBuffer;
  readonly gradients: GPUBuffer;
  /** The four terms of the pairs since they were cleared. */
  readonly losses: GPUBuffer;
  /** Bytes or normalised planes of the pictures. */
  readonly pixels: GPUBuffer;
  readonly planes: GPUBuffer;
  /** Decodings, normalised: of S, then of Z. */
  readonly decoded: GPUBuffer;
  /** The same as bytes. */
  readonly decodedBytes: GPUBuffer;
  readonly #vgg: Vgg;
  readonly #maps: FeatureMaps;
  readonly #levels: { targets: Levels; statistics: Levels; coefficients: Levels };
  readonly #buffers: GPUBuffer[];
  readonly #nothing: GPUBuffer;
  readonly #embed: Folded;
  readonly #layers: readonly FoldedLayer[];
  readonly #bottleneck1: Folded;
  readonly #bottleneck2: Folded;
  readonly #table: GPUBuffer;
  readonly #patches: GPUBuffer;
  /** Input of every layer, [S | Q]; behind the last, [S | Z]. */
  readonly #inputs: readonly GPUBuffer[];
  readonly #kept: readonly Kept[];
  readonly #bottleneckHidden: GPUBuffer;
  readonly #tokens: GPUBuffer;
  readonly #product: GPUBuffer;
  readonly #scratch: Record<
    | "normal"
    | "wide"
    | "gradient"
    | "narrowed"
    | "narrowGradient"
    | "wideGradient"
    | "qkvGradient"
    | "turned"
    | "slices"
    | "statistics"
    | "tableGradient"
    | "decodedGradient"
    | "productGradient"
    | "filterGradients"
    | "partials"
    | "filter",
    GPUBuffer
  >;

  /**
   * Allocates everything.
   * @throws StylizingError `GPU` where a buffer exceeds the device's limits
   */
  static create(gpu: Gpu, config: ModelConfig, vgg: Vgg, options: GraphOptions): TrainingGraph {
    const buffers: GPUBuffer[] = [];
    try {
      return new TrainingGraph(gpu, config, vgg, options, buffers);
    } catch (error) {
      gpu.release(...buffers);
      throw error;
    }
  }

  private constructor(gpu: Gpu, config: ModelConfig, vgg: Vgg, options: GraphOptions, buffers: GPUBuffer[]) {
    this.#buffers = buffers;
    this.gpu = gpu;
    this.config = config;
    this.options = options;
    this.#vgg = vgg;
    const layout = layoutOf(config);
    this.layout = layout;
    const places = parameterLayout(config);
    this.places = places;
    const { uniques, pairs } = options;
    const { tokens, width, attention, hidden, bottleneck, patch } = layout;
    const { elementBytes } = gpu.profile;
    const images = uniques + pairs;
    const all = images * tokens;
    const own = pairs * tokens;
    // Rows of zeros behind those that count: the depth of a gradient's product is rounded up, and zero times NaN would be NaN.
    const behind = DEPTH_UNIT * (gpu.profile.software ? 1 : MOST_SLICES);
    const elem = (label: string, rows: number, cols: number) => this.#take(label, (rows + behind) * cols * elementBytes);
    const floats = (label: string, count: number) => this.#take(label, 4 * count);

    this.#nothing = floats("nothing", 4);
    this.parameters = floats("parameters", places.count);
    this.gradients = floats("gradients", places.count);
    this.losses = floats("losses", 4);
    const pixels = config.in_channels * config.image_size ** 2;
    this.pixels = this.#take("pixels", uniques * pixels);
    this.planes = floats("planes", uniques * pixels);
    this.decoded = floats("decoded", images * pixels);
    this.decodedBytes = this.#take("decoded bytes", images * pixels);
    this.#maps = vgg.createMaps(Math.max(uniques, pairs));
    this.#levels = vgg.createLevels(Math.max(uniques, pairs));

    const folded = (label: string, linear: TrainedLinear): Folded => ({
      linear,
      forward: this.#take(`${label} forward`, linear.rows * linear.cols * elementBytes),
      backward: this.#take(`${label} backward`, linear.rows * linear.cols * elementBytes),
      bias: floats(`${label} bias`, linear.rows),
    });
    this.#embed = folded("embed", places.embed);
    this.#layers = places.layers.map((layer, index) => ({
      qkv: folded(`qkv ${index}`, layer.qkv),
      out: folded(`out ${index}`, layer.out),
      fc1: folded(`fc1 ${index}`, layer.fc1),
      fc2: folded(`fc2 ${index}`, layer.fc2),
    }));
    this.#bottleneck1 = folded("bottleneck fc1", places.bottleneck1);
    this.#bottleneck2 = folded("bottleneck fc2", places.bottleneck2);
    this.#table = floats("table", tokens * width);

    this.#patches = elem("patches", uniques * tokens, patch);
    this.#inputs = Array.from({ length: config.depth + 1 }, (_, layer) => floats(`input ${layer}`, all * width));
    const keep = (label: string): Kept => ({
      qkv: elem(`qkv rows ${label}`, all, 3 * attention),
      attended: elem(`attended ${label}`, all, attention),
      residual: floats(`residual ${label}`, all * width),
      hidden: elem(`hidden ${label}`, all, hidden),
      stylized: floats(`stylized ${label}`, own * width),
      queryQkv: elem(`query qkv ${label}`, own, 3 * attention),
      queryAttended: elem(`query attended ${label}`, own, attention),
      queryResidual: floats(`query residual ${label}`, own * width),
      queryHidden: elem(`query hidden ${label}`, own, hidden),
    });
    if (options.recompute) {
      const one = keep("of a layer");
      this.#kept = places.layers.map(() => one);
    } else {
      this.#kept = places.layers.map((_, layer) => keep(`${layer}`));
    }
    this.#bottleneckHidden = elem("bottleneck hidden", all, bottleneck);
    this.#tokens = elem("tokens", all, width);
    this.#product = floats("product", images * pixels);

    const linears = [places.embed, ...places.layers.flatMap(({ qkv, out, fc1, fc2 }) => [qkv, out, fc1, fc2])];
    linears.push(places.bottleneck1, places.bottleneck2);
    const widest = Math.max(...linears.map(({ rows }) => rows));
    const largest = Math.max(...linears.map(({ rows, cols }) => this.#slicesOf(all, rows, cols).slices * rows * cols));
    const filter = {
      images,
      channels: config.in_channels,
      imageSize: config.image_size,
      kernelSize: config.post_process_conv_kernel_size,
    };
    this.#scratch = {
      normal: elem("normal rows", all, width),
      wide: elem("wide rows", all, Math.max(hidden, bottleneck)),
      gradient: floats("gradient rows", all * width),
      // Where elements are f32 the gradient's own rows are taken.
      narrowed: elementBytes === 4 ? this.#nothing : elem("gradient rows in halves", all, width),
      narrowGradient: elem("narrow gradient", all, Math.max(width, attention)),
      wideGradient: elem("wide gradient", all, Math.max(hidden, bottleneck)),
      qkvGradient: elem("qkv gradient", all, 3 * attention),
      turned: elem("turned gradient", all, widest),
      slices: floats("slices", largest),
      statistics: floats("attention statistics", all * layout.heads * 2),
      tableGradient: floats("table gradient", tokens * width),
      decodedGradient: floats("decoded gradient", images * pixels),
      productGradient: floats("product gradient", images * pixels),
      filterGradients: floats("filter gradients", convolutionGradientSlices(filter) * convolutionGradientStride(filter)),
      partials: floats("loss partials", this.#partials(options).count),
      filter: floats("filter", convolutionGradientStride(filter)),
    };
  }

  #take(label: string, bytes: number): GPUBuffer {
    const buffer = this.gpu.storage(label, bytes);
    this.#buffers.push(buffer);
    return buffer;
  }

  /** How the gradient of a [rows, cols] matrix is summed over `depth` rows: slices, and the rows of each. */
  #slicesOf(depth: number, rows: number, cols: number): { slices: number; each: number } {
    const tiles = Math.ceil(rows / 64) * Math.ceil(cols / 64);
    const wanted = this.gpu.profile.software ? 1 : Math.ceil(ENOUGH_TILES / tiles);
    const most = Math.max(1, Math.floor(depth / SHORTEST_SLICE));
    const each = DEPTH_UNIT * Math.ceil(depth / Math.min(wanted, most, MOST_SLICES) / DEPTH_UNIT);
    return { slices: Math.ceil(depth / each), each };
  }

  /** Where the partial sums of the four terms lie, in numbers, and how many there are. */
  #partials({ uniques, pairs }: { uniques: number; pairs: number }) {
    const channels = this.#vgg.levels.map((level) => level.channels);
    const consistency = uniques * PIXEL_LOSS_SLICES;
    const each = (images: number) => channels.map((count) => featurePartials({ images, channels: count }));
    const total = (counts: readonly number[]) => counts.reduce((a, b) => a + b, 0);
    const anatomical = consistency + total(each(uniques));
    const style = anatomical + total(each(pairs));
    const count = style + total(each(pairs));
    const starts = (first: number, counts: readonly number[]) => counts.map((_, level) => first + total(counts.slice(0, level)));
    return {
      count,
      terms: [
        [0, consistency],
        [consistency, anatomical],
        [anatomical, style],
        [style, count],
      ] as const,
      consistency: starts(consistency, each(uniques)),
      anatomical: starts(anatomical, each(pairs)),
      style: starts(style, each(pairs)),
    };
  }

  /** Weights as the products want them: once a step, before its pairs. */
  fold(): Promise<BoundSteps> {
    const { profile } = this.gpu;
    const steps = new StepList(this.gpu, this.#nothing);
    const { places, layout, config } = this;
    const one = (folded: Folded, part: TrainedLinear, factor = 1, first = 0) => {
      steps.add(
        planFoldMatrix(part),
        [this.parameters, folded.forward, folded.backward],
        foldMatrixParameters(part, part, { factor, column: first, stride: folded.linear.rows }),
      );
      steps.add(planFoldBias(part, profile), [this.parameters, folded.bias], foldBiasParameters(part, part, { factor, first }));
    };
    one(this.#embed, places.embed);
    for (const [index, layer] of places.layers.entries()) {
      const folded = this.#layers[index]!;
      const [query, context] = this.#parts(index);
      one(folded.qkv, query, 1 / Math.sqrt(config.embed_dim / config.num_heads));
      one(folded.qkv, context, 1, layout.attention);
      one(folded.out, layer.out);
      one(folded.fc1, layer.fc1);
      one(folded.fc2, layer.fc2);
    }
    one(this.#bottleneck1, places.bottleneck1);
    one(this.#bottleneck2, places.bottleneck2);
    const table = { tokens: layout.tokens, width: layout.width };
    steps.add(
      planPositionTable(table, profile),
      [this.parameters, this.#table],
      positionTableParameters(table, { position: places.position, cls: places.cls, bias: places.embed.bias }),
    );
    const filter = {
      slices: 1,
      count: convolutionGradientStride({ channels: config.in_channels, kernelSize: config.post_process_conv_kernel_size }),
    };
    steps.add(
      planSumSlices(filter, profile),
      [this.parameters, this.#scratch.filter],
      sumSlicesParameters(filter, { inputOffset: places.convolution, sliceStride: filter.count }),
    );
    return steps.finish("fold");
  }

  /** The rows of a layer's query | key | value matrix that belong to each of its LayerNorms: queries', and keys' and values'. */
  #parts(index: number): [query: TrainedLinear, context: TrainedLinear] {
    const { attention } = this.layout;
    const { qkv, input, context } = this.places.layers[index]!;
    return [
      { ...qkv, rows: attention, norm: input },
      {
        weight: qkv.weight + attention * qkv.cols,
        bias: qkv.bias + attention,
        rows: 2 * attention,
        cols: qkv.cols,
        norm: context,
      },
    ];
  }

  /** Gradients of folded matrices to those of the parameters: once a step, behind its pairs. */
  unfold(): Promise<BoundSteps> {
    const { profile } = this.gpu;
    const steps = new StepList(this.gpu, this.#nothing);
    const one = (part: TrainedLinear) =>
      steps.add(planUnfold(part, profile), [this.parameters, this.gradients], unfoldParameters(part, part));
    for (const [index, { fc1 }] of this.places.layers.entries()) {
      for (const part of this.#parts(index)) one(part);
      one(fc1);
    }
    one(this.places.bottleneck1);
    return steps.finish("unfold");
  }

  /** Ranges of the flat arrays whose gradients unfolding needs and the optimiser must not see: biases that a configuration lacks. */
  get absent(): readonly { offset: number; count: number }[] {
    if (this.config.qkv_bias) return [];
    return this.places.layers.map(({ qkv }) => ({ offset: qkv.bias, count: qkv.rows }));
  }

  /** Binds a batch: forward passes and losses, and with `backward` the gradients, which are added to those that are there. */
  async bind(shape: BatchShape, input: "bytes" | "planes", backward: boolean): Promise<BoundSteps & { dispose(): void }> {
    const builder = new BatchBuilder(this, shape, input);
    builder.forward();
    builder.losses(backward);
    if (backward) builder.backward();
    else builder.quantize();
    const bound = await builder.steps.finish("training");
    return {
      ...bound,
      dispose: () => {
        bound.schedule.dispose();
        this.gpu.release(...builder.indices);
      },
    };
  }

  /** @internal What the builder of a batch binds. */
  get internals() {
    return {
      vgg: this.#vgg,
      maps: this.#maps,
      levels: this.#levels,
      nothing: this.#nothing,
      embed: this.#embed,
      layers: this.#layers,
      bottleneck1: this.#bottleneck1,
      bottleneck2: this.#bottleneck2,
      table: this.#table,
      patches: this.#patches,
      inputs: this.#inputs,
      kept: this.#kept,
      bottleneckHidden: this.#bottleneckHidden,
      tokens: this.#tokens,
      product: this.#product,
      scratch: this.#scratch,
      slicesOf: (depth: number, rows: number, cols: number) => this.#slicesOf(depth, rows, cols),
      partials: (shape: BatchShape) => this.#partials(shape),
      parts: (index: number) => this.#parts(index),
    };
  }

  dispose(): void {
    this.gpu.release(...this.#buffers);
  }
}

/** Rows of a buffer: from `first` on, `rows` of them. */
interface Rows {
  buffer: GPUBuffer;
  first?: number;
}

class BatchBuilder {
  readonly steps: StepList;
  readonly indices: GPUBuffer[] = [];
  readonly #graph: TrainingGraph;
  readonly #in: TrainingGraph["internals"];
  readonly #shape: BatchShape;
  readonly #input: "bytes" | "planes";
  /** Rows of S, of Q and of both. */
  readonly #own: number;
  readonly #query: number;
  readonly #all: number;
  readonly #sequences: GPUBuffer;
  readonly #readers: GPUBuffer;
  readonly #querySequences: GPUBuffer;
  readonly #queryReaders: GPUBuffer;

  constructor(graph: TrainingGraph, shape: BatchShape, input: "bytes" | "planes") {
    this.#graph = graph;
    this.#in = graph.internals;
    this.#shape = shape;
    this.#input = input;
    this.steps = new StepList(graph.gpu, this.#in.nothing);
    const { tokens } = graph.layout;
    const { uniques, pairs, styles } = shape;
    this.#own = uniques * tokens;
    this.#query = pairs * tokens;
    this.#all = this.#own + this.#query;
    const each = <T>(count: number, make: (index: number) => T) => Array.from({ length: count }, (_, index) => make(index));
    this.#sequences = this.#index([
      ...each(uniques, (picture) => [picture * tokens, picture * tokens]),
      ...each(pairs, (pair) => [(uniques + pair) * tokens, styles[pair]! * tokens]),
    ]);
    this.#readers = this.#index(
      each(uniques, (picture) => {
        const pair = styles.indexOf(picture);
        return [picture * tokens, picture, pair < 0 ? NO_READER : uniques + pair, 0];
      }),
    );
    this.#querySequences = this.#index(each(pairs, (pair) => [pair * tokens, pair * tokens]));
    this.#queryReaders = this.#index(each(pairs, (pair) => [pair * tokens, pair, NO_READER, 0]));
  }

  get #profile() {
    return this.#graph.gpu.profile;
  }

  #index(rows: readonly (readonly number[])[]): GPUBuffer {
    return this.#upload(new Uint32Array(rows.flat()));
  }

  #upload(values: Uint32Array | Float32Array): GPUBuffer {
    const { gpu } = this.#graph;
    const buffer = gpu.buffer("indices", values.byteLength, BufferUsage.STORAGE | BufferUsage.COPY_DST);
    gpu.device.queue.writeBuffer(buffer, 0, values as Uint32Array<ArrayBuffer>);
    this.indices.push(buffer);
    return buffer;
  }

  get #image() {
    const { in_channels: channels, image_size: imageSize } = this.#graph.config;
    return { channels, imageSize };
  }

  /** LayerNorm without scale and shift, of the residual rows from `first` on, to the rows of `normal` from `to` on. */
  #normalize(rows: number, from: Rows, to = 0): void {
    const { width } = this.#graph.layout;
    const shape = { rows, width: this.#graph.config.embed_dim, affine: false, result: "elem" as const };
    this.steps.share = "rest";
    this.steps.add(
      planLayerNorm(shape, this.#profile),
      [from.buffer, from.buffer, from.buffer, this.#in.scratch.normal],
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

  #gelu(rows: number, cols: number, input: Rows, output: GPUBuffer): void {
    const shape = { rows, cols };
    this.steps.share = "rest";
    this.steps.add(
      planGelu(shape, this.#profile),
      [input.buffer, output],
      geluParameters(shape, { inputOffset: (input.first ?? 0) * cols }),
    );
  }

  #attentionShape(sequences: number): Omit<AttentionShape, "aligned8"> {
    const { tokens, heads, head } = this.#graph.layout;
    return { sequences, tokens, heads, headSize: head };
  }

  get #attentionPlacement(): AttentionPlacement {
    const { attention } = this.#graph.layout;
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
    const placement = this.#attentionPlacement;
    const shape = { ...this.#attentionShape(sequences), aligned8: attentionIsAligned8(placement) };
    this.steps.share = "attention";
    this.steps.choose(
      attentionKey(shape),
      attentionCandidates(shape, this.#profile),
      [rows, rows, index, output],
      attentionParameters(shape, placement),
    );
  }

  /** Everything up to the decodings. */
  forward(): void {
    const { config, layout, planes, pixels } = this.#graph;
    const { uniques } = this.#shape;
    const { embed, table, patches, inputs } = this.#in;
    const statistics = { mean: config.mean ?? [], std: config.std ?? [] };
    this.steps.share = "rest";
    if (this.#input === "bytes") {
      const shape = { images: uniques, ...this.#image };
      this.steps.add(planNormalizePixels(shape, this.#profile), [pixels, planes], normalizePixelsParameters(shape, statistics));
    }
    const shape = {
      images: uniques,
      ...this.#image,
      patchSize: config.patch_size,
      depth: layout.patch,
      format: "planes" as const,
    };
    this.steps.add(planPatchify(shape, this.#profile), [planes, patches], patchifyParameters(shape, 0, statistics));
    // The query begins as its content: the first pictures' rows, computed once more.
    for (const [rows, first] of [
      [this.#own, 0],
      [this.#query, this.#own],
    ] as const) {
      const to = { buffer: inputs[0]!, first };
      this.#linearTo(rows, embed, to, { buffer: table }, layout.tokens);
    }
    for (let layer = 0; layer < config.depth; layer++) this.#layer(layer, false);
    this.#decode();
  }

  /** A product whose bias is in a table, or is added to a residual of the same rows elsewhere. */
  #linearTo(rows: number, folded: Folded, output: Rows, table: Rows, period: number): void {
    const { linear, forward } = folded;
    const { width } = this.#graph.layout;
    this.steps.share = "products";
    this.steps.linear(
      { rows, depth: linear.cols, cols: width, epilogue: "table", result: "f32" },
      { input: this.#in.patches, weight: forward, output: output.buffer, table: table.buffer },
      { inputStride: linear.cols, weightStride: width, outputOffset: (output.first ?? 0) * width, outputStride: width, period },
    );
  }

  /** One layer; `again` leaves out what a layer computed anew for its backward pass need not write. */
  #layer(layer: number, again: boolean): void {
    const { attention, hidden } = this.#graph.layout;
    const { uniques, pairs } = this.#shape;
    const { inputs, kept, layers, scratch } = this.#in;
    const { qkv, out, fc1, fc2 } = layers[layer]!;
    const keep = kept[layer]!;
    const input = inputs[layer]!;
    const output = inputs[layer + 1]!;
    const isLast = layer === this.#graph.config.depth - 1;
    const wide = 3 * attention;

    this.#normalize(this.#all, { buffer: input });
    this.#linear(this.#own, qkv, "none", "elem", { buffer: scratch.normal }, { buffer: keep.qkv });
    this.#linear(
      this.#query,
      qkv,
      "none",
      "elem",
      { buffer: scratch.normal, first: this.#own },
      { buffer: keep.qkv, first: this.#own, stride: wide },
      { outputs: attention },
    );
    this.#attend(uniques + pairs, keep.qkv, this.#sequences, keep.attended);
    this.#linear(
      this.#all,
      out,
      "table",
      "f32",
      { buffer: keep.attended },
      { buffer: keep.residual },
      { table: { buffer: input } },
    );
    this.#normalize(this.#all, { buffer: keep.residual });
    this.#linear(this.#all, fc1, "none", "elem", { buffer: scratch.normal }, { buffer: keep.hidden });
    this.#gelu(this.#all, hidden, { buffer: keep.hidden }, scratch.wide);
    if (!again) {
      this.#linear(
        this.#own,
        fc2,
        "table",
        "f32",
        { buffer: scratch.wide },
        { buffer: output },
        { table: { buffer: keep.residual } },
      );
    }
    const stylized = isLast ? { buffer: output, first: this.#own } : { buffer: keep.stylized };
    const stylizedRows = { buffer: scratch.wide, first: this.#own };
    if (!(again && isLast)) {
      const table = { buffer: keep.residual, first: this.#own };
      this.#linear(this.#query, fc2, "table", "f32", stylizedRows, stylized, { table });
    }
    if (isLast) return;

    // Q' = blk(S'[content], Z): contents are the first rows.
    this.#normalize(this.#query, { buffer: output });
    this.#normalize(this.#query, { buffer: keep.stylized }, this.#query);
    const query = { buffer: keep.queryQkv, stride: wide };
    this.#linear(this.#query, qkv, "none", "elem", { buffer: scratch.normal }, query, { outputs: attention });
    this.#linear(
      this.#query,
      qkv,
      "none",
      "elem",
      { buffer: scratch.normal, first: this.#query },
      { ...query, column: attention },
      { firstOutput: attention, outputs: 2 * attention },
    );
    this.#attend(pairs, keep.queryQkv, this.#querySequences, keep.queryAttended);
    this.#linear(
      this.#query,
      out,
      "table",
      "f32",
      { buffer: keep.queryAttended },
      { buffer: keep.queryResidual },
      { table: { buffer: output } },
    );
    this.#normalize(this.#query, { buffer: keep.queryResidual });
    this.#linear(this.#query, fc1, "none", "elem", { buffer: scratch.normal }, { buffer: keep.queryHidden });
    if (again) return;
    this.#gelu(this.#query, hidden, { buffer: keep.queryHidden }, scratch.wide);
    this.#linear(
      this.#query,
      fc2,
      "table",
      "f32",
      { buffer: scratch.wide },
      { buffer: output, first: this.#own },
      { table: { buffer: keep.queryResidual } },
    );
  }

  get #patchShape() {
    const { config, layout } = this.#graph;
    const { uniques, pairs } = this.#shape;
    return { images: uniques + pairs, ...this.#image, patchSize: config.patch_size, rank: layout.rank, stride: layout.width };
  }

  get #filterShape() {
    const { uniques, pairs } = this.#shape;
    return { images: uniques + pairs, ...this.#image, kernelSize: this.#graph.config.post_process_conv_kernel_size };
  }

  #decode(): void {
    const { layout, config, decoded } = this.#graph;
    const { inputs, scratch, bottleneck1, bottleneck2, bottleneckHidden, tokens, product } = this.#in;
    this.#normalize(this.#all, { buffer: inputs[config.depth]! });
    this.#linear(this.#all, bottleneck1, "none", "elem", { buffer: scratch.normal }, { buffer: bottleneckHidden });
    this.#gelu(this.#all, layout.bottleneck, { buffer: bottleneckHidden }, scratch.wide);
    this.#linear(this.#all, bottleneck2, "none", "elem", { buffer: scratch.wide }, { buffer: tokens });
    this.steps.share = "rest";
    this.steps.add(
      planPatchProduct(this.#patchShape, this.#profile),
      [tokens, product],
      patchProductParameters(this.#patchShape),
    );
    this.steps.add(
      planConvolution(this.#filterShape, this.#profile),
      [product, scratch.filter, decoded],
      convolutionParameters(this.#filterShape),
    );
  }

  /** Decodings as bytes, for whoever looks at them. */
  quantize(): void {
    const { config, decoded, decodedBytes } = this.#graph;
    if (!config.mean || !config.std) return;
    const { uniques, pairs } = this.#shape;
    const shape = { images: uniques + pairs, ...this.#image, format: "bytes" as const };
    this.steps.share = "rest";
    this.steps.add(
      planQuantize(shape, this.#profile),
      [decoded, decodedBytes],
      quantizeParameters(shape, { mean: config.mean, std: config.std }),
    );
  }

  /** Planes of `images` pictures from the `first` on, as VGG-19's pictures. */
  #picture(planes: GPUBuffer, first: number, images: number): void {
    const { channels, imageSize: side } = this.#image;
    const shape = { images, side, channels };
    this.steps.share = "vgg";
    this.steps.add(
      planPlanesToMaps(shape, this.#profile),
      [planes, this.#in.maps.picture],
      planesToMapsParameters(shape, { inputOffset: first * channels * side ** 2 }),
    );
  }

  /** The four terms; with `backward` also the gradient of their weighted sum at the decodings. */
  losses(backward: boolean): void {
    const { planes, decoded, losses, options } = this.#graph;
    const { vgg, maps, levels, scratch } = this.#in;
    const { uniques, pairs, styles, counts, batch } = this.#shape;
    const scale = options.lossScale;
    const { identity, consistency, anatomical, style } = options.weights;
    const partials = this.#in.partials(this.#shape);
    const countBuffer = this.#upload(Float32Array.from(counts));
    const styleBuffer = this.#upload(Uint32Array.from(styles));

    this.#picture(planes, 0, uniques);
    vgg.forward(this.steps, maps, uniques, levels.targets);
    vgg.statistics(this.steps, levels.targets, uniques, levels.statistics);

    const pixel = { images: uniques, ...this.#image };
    this.steps.share = "rest";
    this.steps.add(
      planPixelLoss(pixel, this.#profile),
      [planes, decoded, countBuffer, scratch.decodedGradient, scratch.partials],
      pixelLossParameters(pixel, { batch, weight: identity * scale }),
    );

    this.#picture(decoded, 0, uniques);
    vgg.forward(this.steps, maps, uniques);
    for (const [level, geometry] of vgg.levels.entries()) {
      const shape = { images: uniques, ...geometry };
      this.steps.add(
        planConsistencyLoss(shape, this.#profile),
        [vgg.levelsOf(maps)[level]!, levels.targets[level]!, countBuffer, levels.coefficients[level]!, scratch.partials],
        consistencyLossParameters(
          shape,
          { batch, weight: consistency * scale },
          { partialsOffset: partials.consistency[level]! },
        ),
      );
    }
    if (backward) this.#pictureGradient(0, uniques, true);

    this.#picture(decoded, uniques, pairs);
    vgg.forward(this.steps, maps, pairs);
    for (const [level, geometry] of vgg.levels.entries()) {
      const shape = { images: pairs, ...geometry };
      this.steps.add(
        planStylizedLoss(shape, this.#profile),
        [
          vgg.levelsOf(maps)[level]!,
          levels.targets[level]!,
          levels.statistics[level]!,
          styleBuffer,
          levels.coefficients[level]!,
          scratch.partials,
        ],
        stylizedLossParameters(
          shape,
          { batch, anatomicalWeight: anatomical * scale, styleWeight: style * scale },
          { anatomicalOffset: partials.anatomical[level]!, styleOffset: partials.style[level]! },
        ),
      );
    }
    if (backward) this.#pictureGradient(uniques, pairs, false);

    this.steps.share = "rest";
    for (const [term, [from, to]] of partials.terms.entries()) {
      const shape = { rows: 1, cols: to - from, source: "f32" as const };
      this.steps.add(
        planSumRows(shape, this.#profile),
        [scratch.partials, losses],
        sumRowsParameters(shape, { inputOffset: from, inputStride: shape.cols, outputOffset: term, accumulate: true }),
      );
    }
  }

  /** VGG-19's way back, to the decodings of `images` pictures from the `first` on. */
  #pictureGradient(first: number, images: number, accumulate: boolean): void {
    const { vgg, maps, levels, scratch } = this.#in;
    const { uniques, pairs } = this.#graph.options;
    const gradient = vgg.backward(this.steps, maps, images, levels, Math.max(uniques, pairs));
    const { channels, imageSize: side } = this.#image;
    const shape = { images, side, channels, accumulate };
    this.steps.add(
      planMapsToPlanes(shape, this.#profile),
      [gradient, scratch.decodedGradient],
      mapsToPlanesParameters(shape, { outputOffset: first * channels * side ** 2 }),
    );
  }

  /** Adds to a matrix' gradient: Σ over rows of gradient ⊗ input, and to its bias'. */
  #weightGradient(
    rows: number,
    linear: { weight: number; bias?: number; rows: number; cols: number },
    gradient: Rows & { source: Source; column?: number; stride?: number },
    input: Rows,
  ): void {
    const { gradients } = this.#graph;
    const { turned, slices: partial } = this.#in.scratch;
    const { rows: outputs, cols: inputs } = linear;
    const { slices, each } = this.#in.slicesOf(rows, outputs, inputs);
    const stride = gradient.stride ?? outputs;
    const turn = { rows, paddedRows: slices * each, cols: outputs, source: gradient.source };
    this.steps.share = "rest";
    this.steps.add(
      planTranspose(turn, this.#profile),
      [gradient.buffer, turned],
      transposeParameters(turn, { inputOffset: (gradient.first ?? 0) * stride + (gradient.column ?? 0), inputStride: stride }),
    );
    if (linear.bias !== undefined) {
      const sum = { rows: outputs, cols: turn.paddedRows, source: "elem" as const };
      this.steps.add(
        planSumRows(sum, this.#profile),
        [turned, gradients],
        sumRowsParameters(sum, { inputStride: sum.cols, outputOffset: linear.bias, accumulate: true }),
      );
    }
    this.steps.share = "products";
    const whole = slices === 1;
    this.steps.linear(
      { rows: outputs, depth: each, cols: inputs, epilogue: whole ? "residual" : "none", result: "f32", slices },
      { input: turned, weight: input.buffer, output: whole ? gradients : partial },
      {
        inputStride: turn.paddedRows,
        weightColumn: (input.first ?? 0) * inputs,
        weightStride: inputs,
        outputOffset: whole ? linear.weight : 0,
        outputStride: inputs,
        inputSlice: each,
        weightSlice: each * inputs,
        outputSlice: outputs * inputs,
      },
    );
    if (whole) return;
    const sum = { slices, count: outputs * inputs };
    this.steps.share = "rest";
    this.steps.add(
      planSumSlices(sum, this.#profile),
      [partial, gradients],
      sumSlicesParameters(sum, { sliceStride: sum.count, outputOffset: linear.weight, accumulate: true }),
    );
  }

  /** Gradient of a linear layer's input from that of outputs [firstOutput, firstOutput + outputs). */
  #inputGradient(
    rows: number,
    { linear, backward }: Folded,
    gradient: Rows & { column?: number; stride?: number },
    output: Rows,
    more: { firstOutput?: number; outputs?: number; activations?: Rows } = {},
  ): void {
    const { firstOutput = 0, outputs = linear.rows, activations } = more;
    const stride = gradient.stride ?? outputs;
    this.steps.share = "products";
    this.steps.linear(
      { rows, depth: outputs, cols: linear.cols, epilogue: activations ? "gelu_derivative" : "none", result: "elem" },
      {
        input: gradient.buffer,
        weight: backward,
        output: output.buffer,
        ...(activations ? { table: activations.buffer } : {}),
      },
      {
        inputOffset: (gradient.first ?? 0) * stride + (gradient.column ?? 0),
        inputStride: stride,
        weightColumn: firstOutput * linear.cols,
        weightStride: linear.cols,
        outputOffset: (output.first ?? 0) * linear.cols,
        outputStride: linear.cols,
        ...(activations ? { tableOffset: (activations.first ?? 0) * linear.cols } : {}),
      },
    );
  }

  /** Rows of the residual gradient as an operand of products. */
  #residualGradient(rows: number, first: number): Rows {
    const { gradient, narrowed } = this.#in.scratch;
    if (this.#profile.elementBytes === 4) return { buffer: gradient, first };
    const { width } = this.#graph.layout;
    this.steps.share = "rest";
    this.steps.add(planNarrow(rows * width, this.#profile), [gradient, narrowed], narrowParameters(rows * width, first * width));
    return { buffer: narrowed };
  }

  /** LayerNorm's way back: from `narrowGradient`'s rows to those of the residual gradient at `to`. */
  #normalizeBackward(rows: number, input: Rows, from: number, to: number, accumulate: boolean): void {
    const { width } = this.#graph.layout;
    const { narrowGradient, gradient } = this.#in.scratch;
    const shape = { rows, width: this.#graph.config.embed_dim };
    this.steps.share = "rest";
    this.steps.add(
      planLayerNormBackward(shape, this.#profile),
      [input.buffer, narrowGradient, gradient],
      layerNormBackwardParameters(shape, {
        inputOffset: (input.first ?? 0) * width,
        inputStride: width,
        upstreamOffset: from * width,
        upstreamStride: width,
        gradientOffset: to * width,
        gradientStride: width,
        accumulate,
      }),
    );
  }

  /** x + fc2(GELU(fc1(norm(x)))), from the residual gradient's rows at `first` and into them. */
  #mlpBackward(layer: number, rows: number, residual: GPUBuffer, hiddenRows: GPUBuffer, first: number): void {
    const { hidden } = this.#graph.layout;
    const { scratch, layers } = this.#in;
    const { fc1, fc2 } = layers[layer]!;
    this.#gelu(rows, hidden, { buffer: hiddenRows }, scratch.wide);
    this.#weightGradient(rows, fc2.linear, { buffer: scratch.gradient, first, source: "f32" }, { buffer: scratch.wide });
    this.#inputGradient(
      rows,
      fc2,
      this.#residualGradient(rows, first),
      { buffer: scratch.wideGradient },
      { activations: { buffer: hiddenRows } },
    );
    this.#normalize(rows, { buffer: residual });
    this.#weightGradient(rows, fc1.linear, { buffer: scratch.wideGradient, source: "elem" }, { buffer: scratch.normal });
    this.#inputGradient(rows, fc1, { buffer: scratch.wideGradient }, { buffer: scratch.narrowGradient });
    this.#normalizeBackward(rows, { buffer: residual }, 0, first, true);
  }

  /** Output projection and attention: from the residual gradient's rows at `first` to those of query, key and value. */
  #attentionBackward(
    layer: number,
    rows: number,
    first: number,
    { qkv, attended }: { qkv: GPUBuffer; attended: GPUBuffer },
    index: { sequences: GPUBuffer; readers: GPUBuffer; sequenceCount: number; contexts: number },
  ): void {
    const { config } = this.#graph;
    const { scratch, layers } = this.#in;
    const { out } = layers[layer]!;
    this.#weightGradient(rows, out.linear, { buffer: scratch.gradient, first, source: "f32" }, { buffer: attended });
    this.#inputGradient(rows, out, this.#residualGradient(rows, first), { buffer: scratch.narrowGradient });
    this.steps.share = "attention";
    const placement = this.#attentionPlacement;
    const shape = { ...this.#attentionShape(index.sequenceCount), contexts: index.contexts };
    this.steps.add(
      planAttentionBackwardQuery(shape, this.#profile),
      [qkv, qkv, index.sequences, attended, scratch.narrowGradient, scratch.qkvGradient, scratch.statistics],
      attentionBackwardQueryParameters(shape, {
        ...placement,
        queryGradientStride: placement.queryStride,
        scale: 1 / Math.sqrt(config.embed_dim / config.num_heads),
      }),
    );
    this.steps.add(
      planAttentionBackwardContext(shape, this.#profile),
      [qkv, qkv, index.sequences, index.readers, scratch.narrowGradient, scratch.statistics, scratch.qkvGradient],
      attentionBackwardContextParameters(shape, {
        ...placement,
        keyGradientColumn: placement.keyColumn,
        valueGradientColumn: placement.valueColumn,
        contextGradientStride: placement.contextStride,
      }),
    );
  }

  /** From the gradients at the decodings to those of all parameters, folded. */
  backward(): void {
    const { config, layout } = this.#graph;
    const { pairs, uniques } = this.#shape;
    const { width, attention, tokens } = layout;
    const { scratch, inputs, kept, layers, patches } = this.#in;
    const wide = 3 * attention;
    this.#decodeBackward();

    for (let layer = config.depth - 1; layer >= 0; layer--) {
      const keep = kept[layer]!;
      const { qkv } = layers[layer]!;
      const [query, context] = this.#in.parts(layer);
      if (this.#graph.options.recompute) this.#layer(layer, true);
      if (layer < config.depth - 1) {
        // Q' = blk(S'[content], Z). Its rows of the gradient become those of Z.
        this.#mlpBackward(layer, this.#query, keep.queryResidual, keep.queryHidden, this.#own);
        this.#attentionBackward(
          layer,
          this.#query,
          this.#own,
          { qkv: keep.queryQkv, attended: keep.queryAttended },
          { sequences: this.#querySequences, readers: this.#queryReaders, sequenceCount: pairs, contexts: pairs },
        );
        const count = this.#query * width;
        this.steps.share = "rest";
        this.steps.add(
          planAddRows(count, this.#profile),
          [scratch.gradient],
          addRowsParameters(count, { from: this.#own * width, to: 0 }),
        );
        const content = { buffer: inputs[layer + 1]! };
        this.#normalize(this.#query, content);
        const queries = { buffer: scratch.qkvGradient, stride: wide };
        this.#weightGradient(this.#query, query, { ...queries, source: "elem" }, { buffer: scratch.normal });
        this.#inputGradient(this.#query, qkv, queries, { buffer: scratch.narrowGradient }, { outputs: attention });
        this.#normalizeBackward(this.#query, content, 0, 0, true);
        const stylized = { buffer: keep.stylized };
        this.#normalize(this.#query, stylized);
        const contexts = { ...queries, column: attention };
        this.#weightGradient(this.#query, context, { ...contexts, source: "elem" }, { buffer: scratch.normal });
        this.#inputGradient(
          this.#query,
          qkv,
          contexts,
          { buffer: scratch.narrowGradient },
          { firstOutput: attention, outputs: 2 * attention },
        );
        this.#normalizeBackward(this.#query, stylized, 0, this.#own, false);
      }

      // S' = blk(S, S) and Z = blk(Q, S[style]).
      this.#mlpBackward(layer, this.#all, keep.residual, keep.hidden, 0);
      this.#attentionBackward(layer, this.#all, 0, keep, {
        sequences: this.#sequences,
        readers: this.#readers,
        sequenceCount: uniques + pairs,
        contexts: uniques,
      });
      const input = { buffer: inputs[layer]! };
      this.#normalize(this.#all, input);
      const rows = { buffer: scratch.qkvGradient, stride: wide };
      this.#weightGradient(this.#all, query, { ...rows, source: "elem" }, { buffer: scratch.normal });
      this.#weightGradient(this.#own, context, { ...rows, column: attention, source: "elem" }, { buffer: scratch.normal });
      this.#inputGradient(this.#own, qkv, rows, { buffer: scratch.narrowGradient });
      this.#inputGradient(
        this.#query,
        qkv,
        { ...rows, first: this.#own },
        { buffer: scratch.narrowGradient, first: this.#own },
        { outputs: attention },
      );
      this.#normalizeBackward(this.#all, input, 0, 0, true);
    }

    // The query began as its content.
    const { gradients, places } = this.#graph;
    const count = this.#query * width;
    this.steps.share = "rest";
    this.steps.add(
      planAddRows(count, this.#profile),
      [scratch.gradient],
      addRowsParameters(count, { from: this.#own * width, to: 0 }),
    );
    const sum = (
      slices: number,
      length: number,
      input: GPUBuffer,
      from: number,
      output: GPUBuffer,
      to: number,
      accumulate: boolean,
    ) => {
      const shape = { slices, count: length };
      this.steps.add(
        planSumSlices(shape, this.#profile),
        [input, output],
        sumSlicesParameters(shape, { inputOffset: from, sliceStride: length, outputOffset: to, accumulate }),
      );
    };
    sum(uniques, tokens * width, scratch.gradient, 0, scratch.tableGradient, 0, false);
    sum(1, tokens * width, scratch.tableGradient, 0, gradients, places.position, true);
    sum(1, width, scratch.tableGradient, 0, gradients, places.cls, true);
    sum(tokens - 1, width, scratch.tableGradient, width, gradients, places.embed.bias, true);
    const { weight, rows, cols } = places.embed;
    this.#weightGradient(this.#own, { weight, rows, cols }, { buffer: scratch.gradient, source: "f32" }, { buffer: patches });
  }

  #decodeBackward(): void {
    const { config, layout, gradients, places } = this.#graph;
    const { scratch, product, tokens, bottleneck1, bottleneck2, bottleneckHidden, inputs } = this.#in;
    const filter = this.#filterShape;
    this.steps.share = "rest";
    this.steps.add(
      planConvolutionGradient(filter, this.#profile),
      [product, scratch.decodedGradient, scratch.filterGradients],
      convolutionGradientParameters(filter),
    );
    const sum = { slices: convolutionGradientSlices(filter), count: convolutionGradientStride(filter) };
    this.steps.add(
      planSumSlices(sum, this.#profile),
      [scratch.filterGradients, gradients],
      sumSlicesParameters(sum, { sliceStride: sum.count, outputOffset: places.convolution, accumulate: true }),
    );
    const flipped = { ...filter, flipped: true };
    this.steps.add(
      planConvolution(flipped, this.#profile),
      [scratch.decodedGradient, scratch.filter, scratch.productGradient],
      convolutionParameters(flipped),
    );
    this.steps.add(
      planPatchProductBackward(this.#patchShape, this.#profile),
      [scratch.productGradient, tokens, scratch.narrowGradient],
      patchProductBackwardParameters(this.#patchShape),
    );
    this.#gelu(this.#all, layout.bottleneck, { buffer: bottleneckHidden }, scratch.wide);
    this.#weightGradient(
      this.#all,
      bottleneck2.linear,
      { buffer: scratch.narrowGradient, source: "elem" },
      { buffer: scratch.wide },
    );
    this.#inputGradient(
      this.#all,
      bottleneck2,
      { buffer: scratch.narrowGradient },
      { buffer: scratch.wideGradient },
      { activations: { buffer: bottleneckHidden } },
    );
    const last = { buffer: inputs[config.depth]! };
    this.#normalize(this.#all, last);
    this.#weightGradient(
      this.#all,
      bottleneck1.linear,
      { buffer: scratch.wideGradient, source: "elem" },
      { buffer: scratch.normal },
    );
    this.#inputGradient(this.#all, bottleneck1, { buffer: scratch.wideGradient }, { buffer: scratch.narrowGradient });
    this.#normalizeBackward(this.#all, last, 0, 0, false);
  }
}
