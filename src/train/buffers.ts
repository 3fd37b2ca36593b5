import type { Gpu } from "../gpu/gpu.js";
import type { ModelConfig } from "../model/config.js";
import { type Layout, layoutOf } from "../model/pack.js";
import { convolutionGradientSlices, convolutionGradientStride } from "../ops/decoder-backward.js";
import { featurePartials, PIXEL_LOSS_SLICES } from "../ops/losses.js";
import { type ParameterLayout, parameterLayout, type TrainedLinear } from "./parameters.js";
import type { Losses } from "./types.js";
import type { FeatureMaps, Levels, Vgg } from "./vgg.js";

/** Matrices of a linear layer as products want them. */
export interface Folded {
  linear: TrainedLinear;
  /** [cols, rows] and [rows, cols] elem. */
  forward: GPUBuffer;
  backward: GPUBuffer;
  bias: GPUBuffer;
}

export interface FoldedLayer {
  qkv: Folded;
  out: Folded;
  fc1: Folded;
  fc2: Folded;
}

/** What a layer keeps for its backward pass. Rows in [], S and Q or Q alone. */
export interface Kept {
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

export interface BufferOptions {
  /** Largest batch that will be asked for. */
  uniques: number;
  pairs: number;
  recompute: boolean;
  weights: Losses;
  /** What losses are multiplied by on their way into gradients. */
  lossScale: number;
}

/** Everything that training keeps on the device, allocated once. */
export class TrainingBuffers {
  readonly gpu: Gpu;
  readonly config: ModelConfig;
  readonly layout: Layout;
  readonly places: ParameterLayout;
  readonly options: BufferOptions;
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
  readonly vgg: Vgg;
  readonly maps: FeatureMaps;
  readonly levels: { targets: Levels; statistics: Levels; coefficients: Levels };
  readonly #buffers: GPUBuffer[];
  readonly embed: Folded;
  readonly layers: readonly FoldedLayer[];
  readonly bottleneck1: Folded;
  readonly bottleneck2: Folded;
  readonly table: GPUBuffer;
  readonly patches: GPUBuffer;
  /** Input of every layer, [S | Q]; behind the last, [S | Z]. */
  readonly inputs: readonly GPUBuffer[];
  readonly kept: readonly Kept[];
  readonly bottleneckHidden: GPUBuffer;
  readonly tokens: GPUBuffer;
  readonly product: GPUBuffer;
  readonly scratch: Record<
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
  static create(gpu: Gpu, config: ModelConfig, vgg: Vgg, options: BufferOptions): TrainingBuffers {
    const buffers: GPUBuffer[] = [];
    try {
      return new TrainingBuffers(gpu, config, vgg, options, buffers);
    } catch (error) {
      gpu.release(...buffers);
      throw error;
    }
  }

  private constructor(gpu: Gpu, config: ModelConfig, vgg: Vgg, options: BufferOptions, buffers: GPUBuffer[]) {
    this.#buffers = buffers;
    this.gpu = gpu;
    this.config = config;
    this.options = options;
    this.vgg = vgg;
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

    this.parameters = floats("parameters", places.count);
    this.gradients = floats("gradients", places.count);
    this.losses = floats("losses", 4);
    const pixels = config.in_channels * config.image_size ** 2;
    this.pixels = this.#take("pixels", uniques * pixels);
    this.planes = floats("planes", uniques * pixels);
    this.decoded = floats("decoded", images * pixels);
    this.decodedBytes = this.#take("decoded bytes", images * pixels);
    this.maps = vgg.createMaps(Math.max(uniques, pairs));
    this.levels = vgg.createLevels(Math.max(uniques, pairs));

    const folded = (label: string, linear: TrainedLinear): Folded => ({
      linear,
      forward: this.#take(`${label} forward`, linear.rows * linear.cols * elementBytes),
      backward: this.#take(`${label} backward`, linear.rows * linear.cols * elementBytes),
      bias: floats(`${label} bias`, linear.rows),
    });
    this.embed = folded("embed", places.embed);
    this.layers = places.layers.map((layer, index) => ({
      qkv: folded(`qkv ${index}`, layer.qkv),
      out: folded(`out ${index}`, layer.out),
      fc1: folded(`fc1 ${index}`, layer.fc1),
      fc2: folded(`fc2 ${index}`, layer.fc2),
    }));
    this.bottleneck1 = folded("bottleneck fc1", places.bottleneck1);
    this.bottleneck2 = folded("bottleneck fc2", places.bottleneck2);
    this.table = floats("table", tokens * width);

    this.patches = elem("patches", uniques * tokens, patch);
    this.inputs = Array.from({ length: config.depth + 1 }, (_, layer) => floats(`input ${layer}`, all * width));
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
      this.kept = places.layers.map(() => one);
    } else {
      this.kept = places.layers.map((_, layer) => keep(`${layer}`));
    }
    this.bottleneckHidden = elem("bottleneck hidden", all, bottleneck);
    this.tokens = elem("tokens", all, width);
    this.product = floats("product", images * pixels);

    const linears = [places.embed, ...places.layers.flatMap(({ qkv, out, fc1, fc2 }) => [qkv, out, fc1, fc2])];
    linears.push(places.bottleneck1, places.bottleneck2);
    const widest = Math.max(...linears.map(({ rows }) => rows));
    const largest = Math.max(...linears.map(({ rows, cols }) => this.slicesOf(all, rows, cols).slices * rows * cols));
    const filter = {
      images,
      channels: config.in_channels,
      imageSize: config.image_size,
      kernelSize: config.post_process_conv_kernel_size,
    };
    this.scratch = {
      normal: elem("normal rows", all, width),
      wide: elem("wide rows", all, Math.max(hidden, bottleneck)),
      gradient: floats("gradient rows", all * width),
      // Where elements are f32 the gradient's own rows are taken.
      narrowed: elementBytes === 4 ? this.gradients : elem("gradient rows in halves", all, width),
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
      partials: floats("loss partials", this.partials(options).count),
      filter: floats("filter", convolutionGradientStride(filter)),
    };
  }

  #take(label: string, bytes: number): GPUBuffer {
    const buffer = this.gpu.storage(label, bytes);
    this.#buffers.push(buffer);
    return buffer;
  }

  /** How the gradient of a [rows, cols] matrix is summed over `depth` rows: slices, and the rows of each. */
  slicesOf(depth: number, rows: number, cols: number): { slices: number; each: number } {
    const tiles = Math.ceil(rows / 64) * Math.ceil(cols / 64);
    const wanted = this.gpu.profile.software ? 1 : Math.ceil(ENOUGH_TILES / tiles);
    const most = Math.max(1, Math.floor(depth / SHORTEST_SLICE));
    const each = DEPTH_UNIT * Math.ceil(depth / Math.min(wanted, most, MOST_SLICES) / DEPTH_UNIT);
    return { slices: Math.ceil(depth / each), each };
  }

  /** Where the partial sums of the four terms lie, in numbers, and how many there are. */
  partials({ uniques, pairs }: { uniques: number; pairs: number }) {
    const channels = this.vgg.levels.map((level) => level.channels);
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

  /** The rows of a layer's query | key | value matrix that belong to each of its LayerNorms: queries', and keys' and values'. */
  parts(index: number): [query: TrainedLinear, context: TrainedLinear] {
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

  dispose(): void {
    this.gpu.release(...this.#buffers);
  }
}
