import { type Candidate, DispatchBuilder, type Plan, type Schedule, type Word } from "../gpu/dispatch.js";
import type { Gpu } from "../gpu/gpu.js";
import {
  type AttentionPlacement,
  attentionCandidates,
  attentionFlops,
  isAligned8 as attentionIsAligned8,
  attentionKey,
  attentionParameters,
} from "../ops/attention.js";
import {
  convolutionParameters,
  type PixelFormat,
  patchifyParameters,
  patchProductParameters,
  planConvolution,
  planPatchify,
  planPatchProduct,
  planQuantize,
  quantizeParameters,
} from "../ops/images.js";
import { layerNormParameters, planLayerNorm } from "../ops/layer-norm.js";
import {
  type Epilogue,
  isAligned8,
  type LinearPlacement,
  linearCandidates,
  linearFlops,
  linearKey,
  linearParameters,
} from "../ops/linear.js";
import type { Linear, PackedModel } from "./pack.js";
import type { Workspace } from "./workspace.js";

/**
 * The order of work of a forward pass, as dispatches over a workspace.
 *
 * The encoder carries three streams: A (anatomy), Y (style) and Q (the running query). A layer is
 *   A' = blk(A, A),  Y' = blk(Y, Y),  Z = blk(Q, Y),  Q' = blk(A', Z)
 * with the same weights in all four. What a schedule leaves out, none of which changes a result:
 * - in the last layer all but Z;
 * - the second projection of Y's keys and values, which blk(Y, Y) and blk(Q, Y) share;
 * - in layer 0 the queries of Q, which are A's;
 * and the three passes that do not wait for each other run as one batch of three times the sequences.
 *
 * `pair`    A, Y and Q together: 4L - 3 block passes
 * `style`   Y alone, keys and values of every layer kept in a bank: L - 1 passes and a projection
 * `banked`  A and Q against a bank of styles: 3L - 2 passes
 * `content` A alone, its rows and queries of every layer kept: L - 1 passes and a projection
 * `restyle` Q alone, against a kept content and a bank of styles: 2L - 1 passes
 * `plain`   all 4L passes one by one, as published: the yardstick of the others, and the only one with every stream
 */
export type Mode = "pair" | "style" | "banked" | "content" | "restyle" | "plain";

/** Streams that a mode keeps in the residual buffer, in the order of their slots. */
export const STREAMS: Readonly<Record<Mode, readonly string[]>> = {
  pair: ["A", "Y", "Q"],
  style: ["Y"],
  banked: ["A", "Q"],
  content: ["A"],
  restyle: ["Q"],
  plain: ["A", "Y", "Q", "Z"],
};

/** Keys and values of a set of styles, a buffer a layer: [styles · tokens, key | value] elem. */
export interface StylePage {
  readonly layers: readonly GPUBuffer[];
  readonly capacity: number;
}

/** One content's stream: [tokens, width] f32 and [tokens, attention] elem, for layers 0 (its embedding) to L - 1. */
export interface KeptContent {
  /** Entry i: A before layer i. */
  readonly rows: readonly GPUBuffer[];
  /** Entry 0: the queries of the embedding in layer 0. Entry i + 1: those of A' in layer i. */
  readonly queries: readonly GPUBuffer[];
}

export interface ScheduleRequest {
  mode: Mode;
  images: number;
  input: PixelFormat;
  /** What the decoder writes; `none` for the modes that only fill a bank. */
  output: PixelFormat | "none";
  page?: StylePage | undefined;
  /** Where in the page `style` writes its first image. */
  firstStyle?: number | undefined;
  kept?: KeptContent | undefined;
  /** First rows (query, context) of each sequence of Q against the page; rewritten before every run. */
  styleRows?: GPUBuffer | undefined;
  /** The same with all queries at row 0, for sequences that still share one content's. */
  sharedStyleRows?: GPUBuffer | undefined;
}

/** A schedule and the points in it at which a layer's streams can be copied out (`plain`), as dispatch counts. */
export interface ForwardSchedule {
  schedule: Schedule;
  layerEnds: readonly number[];
  /** Floating-point operations of each dispatch that is a product of matrices; 0 for the others. */
  flops: readonly number[];
  dispose(): void;
}

interface Step {
  candidates: readonly Candidate[];
  /** Op and shape, for the tuner. */
  key: string;
  buffers: readonly GPUBuffer[];
  parameters: readonly Word[];
  flops: number;
}

/** Rows of the smallest tile of a product. */
const SMALLEST_TILE = 16;

/** Attention reaches a fraction of the rate of large products; this is a cautious one. */
const ATTENTION_SHARE = 0.1;

/** Slots of the residual buffer that a run of rows covers. */
interface Slots {
  first: number;
  count: number;
}

export class ForwardBuilder {
  readonly #gpu: Gpu;
  readonly #model: PackedModel;
  readonly #work: Workspace;
  readonly #request: ScheduleRequest;
  readonly #steps: Step[] = [];
  /** Rows of one slot. */
  readonly #rows: number;
  readonly #indexBuffers: GPUBuffer[] = [];
  readonly layerEnds: number[] = [];

  constructor(gpu: Gpu, model: PackedModel, work: Workspace, request: ScheduleRequest) {
    this.#gpu = gpu;
    this.#model = model;
    this.#work = work;
    this.#request = request;
    this.#rows = request.images * model.layout.tokens;
  }

  /** Adds an op that has one plan. */
  #add(plan: Plan, buffers: readonly GPUBuffer[], parameters: readonly Word[]): void {
    this.#steps.push({ candidates: [{ name: "", plan }], key: "", buffers, parameters, flops: 0 });
  }

  #linear(
    rows: number,
    linear: Linear,
    epilogue: Epilogue,
    result: "f32" | "elem",
    buffers: { input: GPUBuffer; output: GPUBuffer; table?: GPUBuffer },
    placement: Partial<LinearPlacement> & { cols?: number } = {},
  ): void {
    const whole = { inputStride: linear.depth, weightStride: linear.cols, outputStride: linear.cols, ...placement };
    const { inputOffset = 0, outputOffset = 0, residualOffset = outputOffset } = whole;
    const size = { depth: linear.depth, cols: placement.cols ?? linear.cols, epilogue, result, aligned8: isAligned8(whole) };
    const perRow = linearFlops({ ...size, rows: 1 });
    // Bands, so that no dispatch runs long enough for a driver to give up on it; a table that repeats begins anew in every band.
    const tiles = Math.min(
      this.#gpu.profile.limits.maxComputeWorkgroupsPerDimension,
      Math.floor(this.#gpu.flopsPerDispatch / perRow / SMALLEST_TILE),
    );
    const unit = whole.period !== undefined && whole.period < rows ? whole.period : SMALLEST_TILE;
    const band = unit * Math.max(1, Math.floor((SMALLEST_TILE * tiles) / unit));
    for (let first = 0; first < rows; first += band) {
      const shape = { ...size, rows: Math.min(band, rows - first) };
      this.#steps.push({
        candidates: linearCandidates(shape, this.#gpu.profile),
        key: linearKey(shape),
        buffers: [buffers.input, linear.weight, linear.bias, buffers.table ?? linear.bias, buffers.output],
        parameters: linearParameters(shape, {
          ...whole,
          inputOffset: inputOffset + first * whole.inputStride,
          outputOffset: outputOffset + first * whole.outputStride,
          residualOffset: residualOffset + first * whole.outputStride,
        }),
        flops: perRow * shape.rows,
      });
    }
  }

  /** Normalises slots of the residual stream into the same slots of `narrow`. */
  #normalize(slots: Slots): void {
    const { width } = this.#model.layout;
    const shape = { rows: slots.count * this.#rows, width: this.#model.config.embed_dim, affine: false, result: "elem" as const };
    const { residual, narrow } = this.#work.buffers;
    const offset = slots.first * this.#rows * width;
    this.#add(
      planLayerNorm(shape, this.#gpu.profile),
      [residual, residual, residual, narrow],
      layerNormParameters(shape, { inputOffset: offset, inputStride: width, outputOffset: offset, outputStride: width }),
    );
  }

  /** Projects normalised slots to a part of query | key | value, into the same slots of `wide` or into `to`. */
  #project(layer: number, slots: Slots, part: "qkv" | "q" | "kv", to?: { buffer: GPUBuffer; row: number }): void {
    const { width, attention } = this.#model.layout;
    const first = part === "kv" ? attention : 0;
    const cols = (part === "qkv" ? 3 : part === "kv" ? 2 : 1) * attention;
    const stride = to ? cols : 3 * attention;
    const row = slots.first * this.#rows;
    this.#linear(
      slots.count * this.#rows,
      this.#model.layers[layer]!.qkv,
      "none",
      "elem",
      { input: this.#work.buffers.narrow, output: to?.buffer ?? this.#work.buffers.wide },
      {
        cols,
        inputOffset: row * width,
        weightColumn: first,
        outputOffset: (to?.row ?? row) * stride + (to ? 0 : first),
        outputStride: stride,
      },
    );
  }

  /** [first query row, first context row] of each sequence. */
  #sequences(rows: readonly (readonly [number, number])[]): GPUBuffer {
    const buffer = this.#gpu.storage("sequences", rows.length * 8);
    this.#gpu.device.queue.writeBuffer(buffer, 0, new Uint32Array(rows.flat()));
    this.#indexBuffers.push(buffer);
    return buffer;
  }

  /** Rows of every image of a slot attending to those of another slot. */
  #slotSequences(pairs: readonly (readonly [query: number, context: number])[]): GPUBuffer {
    const { images } = this.#request;
    const { tokens } = this.#model.layout;
    return this.#sequences(
      pairs.flatMap(([query, context]) =>
        Array.from(
          { length: images },
          (_, image) => [(query * images + image) * tokens, (context * images + image) * tokens] as const,
        ),
      ),
    );
  }

  /** Attention of `count` sequences; the result fills `narrow` from its first row. */
  #attend(
    count: number,
    sequences: GPUBuffer,
    query: { buffer: GPUBuffer; stride: number; column?: number },
    context: { buffer: GPUBuffer } & Pick<AttentionPlacement, "keyColumn" | "valueColumn" | "contextStride">,
  ): void {
    const { tokens, heads, head, attention } = this.#model.layout;
    const placement = { ...context, queryColumn: query.column ?? 0, queryStride: query.stride, outputStride: attention };
    const size = { tokens, heads, headSize: head, aligned8: attentionIsAligned8(placement) };
    const each = attentionFlops({ ...size, sequences: 1 });
    const band = Math.max(1, Math.floor((ATTENTION_SHARE * this.#gpu.flopsPerDispatch) / each));
    for (let firstSequence = 0; firstSequence < count; firstSequence += band) {
      const shape = { ...size, sequences: Math.min(band, count - firstSequence) };
      this.#steps.push({
        candidates: attentionCandidates(shape, this.#gpu.profile),
        key: attentionKey(shape),
        buffers: [query.buffer, context.buffer, sequences, this.#work.buffers.narrow],
        parameters: attentionParameters(shape, { ...placement, firstSequence }),
        flops: 0,
      });
    }
  }

  get #wideQueries() {
    return { buffer: this.#work.buffers.wide, stride: 3 * this.#model.layout.attention };
  }

  get #wideContext() {
    const { attention } = this.#model.layout;
    return { buffer: this.#work.buffers.wide, keyColumn: attention, valueColumn: 2 * attention, contextStride: 3 * attention };
  }

  #pageContext(layer: number) {
    const { attention } = this.#model.layout;
    return { buffer: this.#request.page!.layers[layer]!, keyColumn: 0, valueColumn: attention, contextStride: 2 * attention };
  }

  /** Output projection of attention rows starting at `from` (in slots), added to the residual rows of `residual` or of a table. */
  #projectOut(layer: number, slots: Slots, from: number, residual: number | GPUBuffer): void {
    const { width, attention } = this.#model.layout;
    const table = typeof residual === "number" ? undefined : residual;
    this.#linear(
      slots.count * this.#rows,
      this.#model.layers[layer]!.out,
      table ? "table" : "residual",
      "f32",
      { input: this.#work.buffers.narrow, output: this.#work.buffers.residual, ...(table ? { table } : {}) },
      {
        inputOffset: from * this.#rows * attention,
        outputOffset: slots.first * this.#rows * width,
        ...(typeof residual === "number"
          ? { residualOffset: residual * this.#rows * width }
          : { period: this.#model.layout.tokens }),
      },
    );
  }

  #mlp(layer: number, slots: Slots): void {
    const { width, hidden } = this.#model.layout;
    const { fc1, fc2 } = this.#model.layers[layer]!;
    const { narrow, wide, residual } = this.#work.buffers;
    const rows = slots.count * this.#rows;
    const first = slots.first * this.#rows;
    this.#normalize(slots);
    this.#linear(
      rows,
      fc1,
      "gelu",
      "elem",
      { input: narrow, output: wide },
      { inputOffset: first * width, outputOffset: first * hidden },
    );
    this.#linear(
      rows,
      fc2,
      "residual",
      "f32",
      { input: wide, output: residual },
      { inputOffset: first * hidden, outputOffset: first * width },
    );
  }

  #embed(from: "content" | "style", slot: number): void {
    const { config, layout, embed, table } = this.#model;
    const shape = {
      images: this.#request.images,
      channels: config.in_channels,
      imageSize: config.image_size,
      patchSize: config.patch_size,
      depth: layout.patch,
      format: this.#request.input,
    };
    const { narrow, residual } = this.#work.buffers;
    const statistics = { mean: config.mean ?? [], std: config.std ?? [] };
    this.#add(
      planPatchify(shape, this.#gpu.profile),
      [this.#work.buffers[from], narrow],
      patchifyParameters(shape, slot * this.#rows, statistics),
    );
    this.#linear(
      this.#rows,
      embed,
      "table",
      "f32",
      { input: narrow, output: residual, table },
      {
        inputOffset: slot * this.#rows * layout.patch,
        outputOffset: slot * this.#rows * layout.width,
        period: layout.tokens,
      },
    );
  }

  /** Bottleneck, per-patch product, convolution and pixels of one slot's stream. */
  decode(slot: number): void {
    const { config, layout, bottleneck1, bottleneck2, convolution } = this.#model;
    const { narrow, wide, product, planes, pixels } = this.#work.buffers;
    const first = slot * this.#rows;
    this.#normalize({ first: slot, count: 1 });
    this.#linear(this.#rows, bottleneck1, "gelu", "elem", { input: narrow, output: wide }, { inputOffset: first * layout.width });
    this.#linear(this.#rows, bottleneck2, "none", "elem", { input: wide, output: narrow });
    const image = { images: this.#request.images, channels: config.in_channels, imageSize: config.image_size };
    const patches = { ...image, patchSize: config.patch_size, rank: layout.rank, stride: layout.width };
    this.#add(planPatchProduct(patches, this.#gpu.profile), [narrow, product], patchProductParameters(patches));
    const filter = { ...image, kernelSize: config.post_process_conv_kernel_size };
    this.#add(planConvolution(filter, this.#gpu.profile), [product, convolution, planes], convolutionParameters(filter));
    const { output } = this.#request;
    if (output === "bytes" || output === "floats") {
      const shape = { ...image, format: output };
      const statistics = { mean: config.mean ?? [], std: config.std ?? [] };
      this.#add(planQuantize(shape, this.#gpu.profile), [planes, pixels], quantizeParameters(shape, statistics));
    }
  }

  /** The encoder's last norm of one slot, scale and shift applied, into `target`: [rows, width] f32. */
  finalNorm(slot: number, target: GPUBuffer): void {
    const { config, layout, normGamma, normBeta } = this.#model;
    const shape = { rows: this.#rows, width: config.embed_dim, affine: true, result: "f32" as const };
    this.#add(
      planLayerNorm(shape, this.#gpu.profile),
      [this.#work.buffers.residual, normGamma, normBeta, target],
      layerNormParameters(shape, {
        inputOffset: slot * this.#rows * layout.width,
        inputStride: layout.width,
        outputStride: layout.width,
      }),
    );
  }

  /** A, Y and Q in slots 0, 1, 2; the result, Z, in slot 2. */
  pair(): void {
    const { images } = this.#request;
    const last = this.#model.layers.length - 1;
    this.#embed("content", 0);
    this.#embed("style", 1);
    for (let layer = 0; layer < last; layer++) {
      // In layer 0 Q is A: its rows and queries are read from A's slot.
      const q = layer === 0 ? 0 : 2;
      this.#normalize({ first: 0, count: layer === 0 ? 2 : 3 });
      this.#project(layer, { first: 0, count: 2 }, "qkv");
      if (q !== 0) this.#project(layer, { first: 2, count: 1 }, "q");
      const [a, y] = [0, 1];
      // A and Y attend to themselves, Q to Y.
      const sequences = this.#slotSequences([
        [a, a],
        [y, y],
        [q, y],
      ]);
      this.#attend(3 * images, sequences, this.#wideQueries, this.#wideContext);
      if (q === 0) {
        // Before A is updated in place.
        this.#projectOut(layer, { first: 2, count: 1 }, 2, 0);
        this.#projectOut(layer, { first: 0, count: 2 }, 0, 0);
      } else {
        this.#projectOut(layer, { first: 0, count: 3 }, 0, 0);
      }
      this.#mlp(layer, { first: 0, count: 3 });
      this.#nextQuery(layer, 0, 2);
    }
    const q = last === 0 ? 0 : 2;
    this.#normalize({ first: q === 0 ? 0 : 1, count: 2 });
    this.#project(last, { first: q, count: 1 }, "q");
    this.#project(last, { first: 1, count: 1 }, "kv");
    this.#attend(images, this.#slotSequences([[q, 1]]), this.#wideQueries, this.#wideContext);
    this.#projectOut(last, { first: 2, count: 1 }, 0, q);
    this.#mlp(last, { first: 2, count: 1 });
  }

  /** Q' = blk(A', Z), over Z's slot. */
  #nextQuery(layer: number, a: number, z: number): void {
    this.#normalize({ first: a, count: 1 });
    this.#normalize({ first: z, count: 1 });
    this.#project(layer, { first: a, count: 1 }, "q");
    this.#project(layer, { first: z, count: 1 }, "kv");
    this.#attend(this.#request.images, this.#slotSequences([[a, z]]), this.#wideQueries, this.#wideContext);
    this.#projectOut(layer, { first: z, count: 1 }, 0, a);
    this.#mlp(layer, { first: z, count: 1 });
  }

  /** Y in slot 0; keys and values of every layer go to the page. */
  style(): void {
    const { images, page, firstStyle = 0 } = this.#request;
    const { tokens } = this.#model.layout;
    const last = this.#model.layers.length - 1;
    const only = { first: 0, count: 1 };
    this.#embed("style", 0);
    for (let layer = 0; layer <= last; layer++) {
      this.#normalize(only);
      this.#project(layer, only, "kv", { buffer: page!.layers[layer]!, row: firstStyle * tokens });
      if (layer === last) break;
      this.#project(layer, only, "q");
      const rows = Array.from({ length: images }, (_, image) => [image * tokens, (firstStyle + image) * tokens] as const);
      this.#attend(images, this.#sequences(rows), this.#wideQueries, this.#pageContext(layer));
      this.#projectOut(layer, only, 0, 0);
      this.#mlp(layer, only);
    }
  }

  /** A and Q in slots 0 and 1, styles from the page; the result, Z, in slot 1. */
  banked(): void {
    const { images, styleRows } = this.#request;
    const last = this.#model.layers.length - 1;
    this.#embed("content", 0);
    for (let layer = 0; layer <= last; layer++) {
      const q = layer === 0 ? 0 : 1;
      this.#normalize({ first: layer === last ? q : 0, count: layer === 0 || layer === last ? 1 : 2 });
      if (layer === last) {
        this.#project(layer, { first: q, count: 1 }, "q");
      } else {
        this.#project(layer, { first: 0, count: 1 }, "qkv");
        if (q !== 0) this.#project(layer, { first: 1, count: 1 }, "q");
      }
      // The page's sequences count rows from the start of a slot: Q's queries begin where its slot does.
      const queries = { ...this.#wideQueries, column: q * this.#rows * this.#wideQueries.stride };
      this.#attend(images, styleRows!, queries, this.#pageContext(layer));
      this.#projectOut(layer, { first: 1, count: 1 }, 0, q);
      if (layer === last) {
        this.#mlp(layer, { first: 1, count: 1 });
        break;
      }
      this.#attend(images, this.#slotSequences([[0, 0]]), this.#wideQueries, this.#wideContext);
      this.#projectOut(layer, { first: 0, count: 1 }, 0, 0);
      this.#mlp(layer, { first: 0, count: 2 });
      this.#nextQuery(layer, 0, 1);
    }
  }

  /** A of one content in slot 0; its queries go to `kept`, and its rows are to be copied there at `layerEnds`. */
  content(): void {
    const last = this.#model.layers.length - 1;
    const { kept } = this.#request;
    const only = { first: 0, count: 1 };
    this.#embed("content", 0);
    this.layerEnds.push(this.#steps.length);
    this.#normalize(only);
    this.#project(0, only, "q", { buffer: kept!.queries[0]!, row: 0 });
    for (let layer = 0; layer < last; layer++) {
      this.#normalize(only);
      this.#project(layer, only, "qkv");
      this.#attend(this.#request.images, this.#slotSequences([[0, 0]]), this.#wideQueries, this.#wideContext);
      this.#projectOut(layer, only, 0, 0);
      this.#mlp(layer, only);
      this.layerEnds.push(this.#steps.length);
      this.#normalize(only);
      this.#project(layer, only, "q", { buffer: kept!.queries[layer + 1]!, row: 0 });
    }
  }

  /** Q in slot 0, one kept content, styles from the page. */
  restyle(): void {
    const { images, styleRows, sharedStyleRows, kept } = this.#request;
    const { attention, tokens } = this.#model.layout;
    const last = this.#model.layers.length - 1;
    const only = { first: 0, count: 1 };
    for (let layer = 0; layer <= last; layer++) {
      if (layer === 0) {
        // Every sequence of Q starts as the content: same queries, same residual rows.
        this.#attend(images, sharedStyleRows!, { buffer: kept!.queries[0]!, stride: attention }, this.#pageContext(0));
        this.#projectOut(0, only, 0, kept!.rows[0]!);
      } else {
        this.#normalize(only);
        this.#project(layer, only, "q");
        this.#attend(images, styleRows!, this.#wideQueries, this.#pageContext(layer));
        this.#projectOut(layer, only, 0, 0);
      }
      this.#mlp(layer, only);
      if (layer === last) break;
      this.#normalize(only);
      this.#project(layer, only, "kv");
      const contexts = this.#sequences(Array.from({ length: images }, (_, image) => [0, image * tokens] as const));
      this.#attend(images, contexts, { buffer: kept!.queries[layer + 1]!, stride: attention }, this.#wideContext);
      this.#projectOut(layer, only, 0, kept!.rows[layer + 1]!);
      this.#mlp(layer, only);
    }
  }

  /** A, Y, Q, Z in slots 0 to 3, every pass by itself, nothing shared. */
  plain(): void {
    const [a, y, q, z] = [0, 1, 2, 3];
    this.#embed("content", a!);
    this.#embed("style", y!);
    this.#embed("content", q!);
    for (let layer = 0; layer < this.#model.layers.length; layer++) {
      this.#block(layer, q!, y!, z!);
      this.#block(layer, a!, a!, a!);
      this.#block(layer, y!, y!, y!);
      this.#block(layer, a!, z!, q!);
      this.layerEnds.push(this.#steps.length);
    }
  }

  /** blk(x, y) into slot `to`. */
  #block(layer: number, x: number, y: number, to: number): void {
    this.#normalize({ first: x, count: 1 });
    if (y !== x) this.#normalize({ first: y, count: 1 });
    this.#project(layer, { first: x, count: 1 }, "q");
    this.#project(layer, { first: y, count: 1 }, "kv");
    this.#attend(this.#request.images, this.#slotSequences([[x, y]]), this.#wideQueries, this.#wideContext);
    this.#projectOut(layer, { first: to, count: 1 }, 0, x);
    this.#mlp(layer, { first: to, count: 1 });
  }

  /**
   * Chooses plans, compiles what is not compiled yet, all at once, and binds everything.
   * @param mayMeasure whether the workspace's contents may be lost to measuring.
   */
  async finish(mayMeasure: boolean): Promise<ForwardSchedule> {
    const { tuner, pipelines: cache } = this.#gpu;
    const plans: Plan[] = [];
    for (const { key, candidates, buffers, parameters } of this.#steps) {
      plans.push(await tuner.pick(this.#gpu, key, candidates, buffers, parameters, mayMeasure));
    }
    tuner.save();
    const pipelines = await Promise.all(plans.map(({ variant }) => cache.get(variant)));
    const builder = new DispatchBuilder(this.#gpu);
    for (const [index, { buffers, parameters }] of this.#steps.entries())
      builder.add(plans[index]!, pipelines[index]!, buffers, parameters);
    const schedule = builder.finish(this.#request.mode);
    const index = this.#indexBuffers;
    return {
      schedule,
      layerEnds: this.layerEnds,
      flops: this.#steps.map(({ flops }) => flops),
      dispose: () => {
        schedule.dispose();
        this.#gpu.release(...index);
      },
    };
  }
}

/** Slot of the stream that a mode decodes. */
export function resultSlot(mode: Mode): number {
  return STREAMS[mode].indexOf(mode === "plain" ? "Z" : "Q");
}

/** Binds the steps that `add` asks a builder for; what the workspace holds stays as it is. */
export async function buildSteps(
  gpu: Gpu,
  model: PackedModel,
  work: Workspace,
  request: ScheduleRequest,
  add: (builder: ForwardBuilder) => void,
  mayMeasure = false,
): Promise<ForwardSchedule> {
  const builder = new ForwardBuilder(gpu, model, work, request);
  add(builder);
  return builder.finish(mayMeasure);
}

/**
 * Plans, compiles and binds everything of one forward pass. Nothing is compiled or allocated when it runs. What the workspace
 * held may be gone, where a tuner measured on it.
 */
export function buildSchedule(gpu: Gpu, model: PackedModel, work: Workspace, request: ScheduleRequest): Promise<ForwardSchedule> {
  const add = (builder: ForwardBuilder) => {
    builder[request.mode]();
    if (request.output !== "none") builder.decode(resultSlot(request.mode));
  };
  return buildSteps(gpu, model, work, request, add, true);
}

/** Block passes of a mode, per image: the cost that the exact savings are about. */
export function blockPasses(mode: Mode, depth: number): number {
  return {
    pair: 4 * depth - 3,
    style: depth - 1,
    banked: 3 * depth - 2,
    content: depth - 1,
    restyle: 2 * depth - 1,
    plain: 4 * depth,
  }[mode];
}
