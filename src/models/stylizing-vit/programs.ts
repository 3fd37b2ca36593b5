import { columnsOf, rowsOf, type View, view } from "../../gpu/view.js";
import { Block, type QkvPart } from "../../net/layers/block.js";
import type { Recorder } from "../../net/recorder.js";
import { convolution, patchify, patchProduct, quantize } from "../../ops/images.js";
import { layerNorm } from "../../ops/layer-norm.js";
import { linear } from "../../ops/linear.js";
import { type ProgramRequest, resultSlot, STREAMS } from "./modes.js";
import type { ModelWeights } from "./weights.js";

/**
 * Emits the programs of the modes. Rows of the streams stand in slots of three matrices: the residual stream (f32), narrow rows
 * (normalised rows, attention's results, patches) and wide rows (query | key | value, hidden rows).
 */
export class Programs {
  readonly #r: Recorder;
  readonly #model: ModelWeights;
  readonly #request: ProgramRequest;
  readonly #blocks: readonly Block[];
  /** Rows of one slot. */
  readonly #rows: number;

  constructor(r: Recorder, model: ModelWeights, request: ProgramRequest) {
    this.#r = r;
    this.#model = model;
    this.#request = request;
    this.#rows = request.images * model.layout.tokens;
    const { tokens, heads, attention } = model.layout;
    this.#blocks = model.layers.map((layer) => new Block(r, layer, { tokens, heads, attention, width: model.config.embed_dim }));
  }

  /** `count` slots of a matrix of `cols` columns, from slot `first` on. */
  #slots(name: "residual" | "narrow" | "wide", first: number, count: number, cols: number): View {
    const all = this.#r.scratch(name, (first + count) * this.#rows, cols, name === "residual" ? "f32" : "elem");
    return rowsOf(all, first * this.#rows);
  }

  /** Rows of the residual stream. */
  residual(slot: number, count = 1): View {
    return this.#slots("residual", slot, count, this.#model.layout.width);
  }

  #normal(slot: number, count = 1): View {
    return this.#slots("narrow", slot, count, this.#model.layout.width);
  }

  /** Query | key | value. */
  #qkv(slot: number, count = 1): View {
    return this.#slots("wide", slot, count, 3 * this.#model.layout.attention);
  }

  /** Attention's results fill their matrix from its first row. */
  #attended(slot: number, count = 1): View {
    return this.#slots("narrow", slot, count, this.#model.layout.attention);
  }

  #normalize(slot: number, count = 1): void {
    const { config } = this.#model;
    this.#r.emit(layerNorm, { x: this.residual(slot, count), y: this.#normal(slot, count), width: config.embed_dim });
  }

  /** Projects normalised slots to a part of query | key | value, into the same slots or into `to`. */
  #project(layer: number, slot: number, count: number, part: QkvPart, to?: View): void {
    const block = this.#blocks[layer]!;
    const { first, count: cols } = block.columns(part);
    block.project(this.#normal(slot, count), part, to ?? columnsOf(this.#qkv(slot, count), first, cols));
  }

  /** Which rows each image of a slot attends to: those of its image in another slot. */
  #slotIndex(pairs: readonly (readonly [query: number, context: number])[]): GPUBuffer {
    const { images } = this.#request;
    const { tokens } = this.#model.layout;
    return this.#r.index(
      pairs.flatMap(([query, context]) =>
        Array.from({ length: images }, (_, image) => [(query * images + image) * tokens, (context * images + image) * tokens]),
      ),
    );
  }

  #attend(layer: number, sequences: number, index: GPUBuffer, q: View, context: View): void {
    const { attention } = this.#model.layout;
    const [k, v] = [columnsOf(context, 0, attention), columnsOf(context, attention, attention)];
    const y = this.#r.scratch("narrow", sequences * this.#model.layout.tokens, attention, "elem");
    this.#blocks[layer]!.attend(sequences, index, q, k, v, y);
  }

  /** Queries of all slots from `slot` on. */
  #queries(slot = 0): View {
    return columnsOf(this.#qkv(slot), 0, this.#model.layout.attention);
  }

  /** Key | value of all slots. */
  get #contexts(): View {
    const { attention } = this.#model.layout;
    return columnsOf(this.#qkv(0), attention, 2 * attention);
  }

  /** Key | value of a layer's styles in the page. */
  #page(layer: number): View {
    const { attention, tokens } = this.#model.layout;
    const { layers, capacity } = this.#request.page!;
    return view(layers[layer]!, "elem", capacity * tokens, 2 * attention);
  }

  #keptQueries(layer: number): View {
    const { attention, tokens } = this.#model.layout;
    return view(this.#request.kept!.queries[layer]!, "elem", tokens, attention);
  }

  #keptRows(layer: number): View {
    const { width, tokens } = this.#model.layout;
    return view(this.#request.kept!.rows[layer]!, "f32", tokens, width);
  }

  /** Output projection of attention's rows from slot `from` on into slots, added to the residual rows of others or of a table. */
  #projectOut(layer: number, slot: number, count: number, from: number, added: number | View): void {
    const how = typeof added === "number" ? { residual: this.residual(added, count) } : { table: added };
    this.#blocks[layer]!.projectOut(this.#attended(from, count), this.residual(slot, count), how);
  }

  #mlp(layer: number, slot: number, count = 1): void {
    const hidden = this.#slots("wide", slot, count, this.#model.layout.hidden);
    this.#blocks[layer]!.mlp(this.residual(slot, count), this.#normal(slot, count), hidden);
  }

  /** Pixels that the host uploads, by name: room for 32-bit ones, so that programs of both kinds share it. */
  #pixels(name: string): GPUBuffer {
    const { in_channels: channels, image_size: size } = this.#model.config;
    return this.#r.scratch(name, this.#request.images, channels * size ** 2, "f32").buffer;
  }

  #statistics() {
    const { mean = [], std = [] } = this.#model.config;
    return { mean, std };
  }

  #embed(from: "content" | "style", slot: number): void {
    const { config, layout, embed, table } = this.#model;
    const { images, input: format } = this.#request;
    const { in_channels: channels, image_size: side, patch_size: patchSize } = config;
    const image = { images, channels, height: side, width: side, patchSize };
    const patches = this.#slots("narrow", slot, 1, layout.patch);
    this.#r.emit(patchify, { ...image, pixels: this.#pixels(from), patches, format, normalization: this.#statistics() });
    this.#r.emit(linear, { x: patches, w: embed.forward, bias: embed.bias, y: this.residual(slot), table });
  }

  /** Bottleneck, patch product, convolution and pixels of one slot's stream. */
  decode(slot: number): void {
    const { config, layout, bottleneck1, bottleneck2, convolution: weight } = this.#model;
    const { images, output: format } = this.#request;
    this.#normalize(slot);
    const hidden = this.#slots("wide", 0, 1, layout.bottleneck);
    const [first, second] = [bottleneck1, bottleneck2];
    this.#r.emit(linear, { x: this.#normal(slot), w: first.forward, bias: first.bias, y: hidden, activation: "gelu" });
    const tokens = this.#normal(0);
    this.#r.emit(linear, { x: hidden, w: second.forward, bias: second.bias, y: tokens });
    const image = { images, channels: config.in_channels, imageSize: config.image_size };
    const product = this.#pixels("product");
    const planes = this.#pixels("planes");
    this.#r.emit(patchProduct, { ...image, patchSize: config.patch_size, rank: layout.rank, tokens, image: product });
    const kernelSize = config.post_process_conv_kernel_size;
    this.#r.emit(convolution, { ...image, kernelSize, input: product, weight, output: planes });
    if (format === "none" || format === "planes") return;
    const pixels = this.#pixels("pixels");
    this.#r.emit(quantize, { ...image, format, image: planes, pixels, normalization: this.#statistics() });
  }

  /** The encoder's last norm of one slot, scale and shift applied: [rows, width] f32. */
  finalNorm(slot: number): void {
    const { config, layout, norm } = this.#model;
    const y = this.#r.scratch("final norm", this.#rows, layout.width, "f32");
    this.#r.emit(layerNorm, { x: this.residual(slot), y, width: config.embed_dim, affine: norm });
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
      this.#normalize(0, layer === 0 ? 2 : 3);
      this.#project(layer, 0, 2, "qkv");
      if (q !== 0) this.#project(layer, 2, 1, "q");
      const [a, y] = [0, 1];
      // A and Y attend to themselves, Q to Y.
      const index = this.#slotIndex([
        [a, a],
        [y, y],
        [q, y],
      ]);
      this.#attend(layer, 3 * images, index, this.#queries(), this.#contexts);
      if (q === 0) {
        // Before A is updated in place.
        this.#projectOut(layer, 2, 1, 2, 0);
        this.#projectOut(layer, 0, 2, 0, 0);
      } else {
        this.#projectOut(layer, 0, 3, 0, 0);
      }
      this.#mlp(layer, 0, 3);
      this.#nextQuery(layer, 0, 2);
    }
    const q = last === 0 ? 0 : 2;
    this.#normalize(q === 0 ? 0 : 1, 2);
    this.#project(last, q, 1, "q");
    this.#project(last, 1, 1, "kv");
    this.#attend(last, images, this.#slotIndex([[q, 1]]), this.#queries(), this.#contexts);
    this.#projectOut(last, 2, 1, 0, q);
    this.#mlp(last, 2);
  }

  /** Q' = blk(A', Z), over Z's slot. */
  #nextQuery(layer: number, a: number, z: number): void {
    this.#normalize(a);
    this.#normalize(z);
    this.#project(layer, a, 1, "q");
    this.#project(layer, z, 1, "kv");
    this.#attend(layer, this.#request.images, this.#slotIndex([[a, z]]), this.#queries(), this.#contexts);
    this.#projectOut(layer, z, 1, 0, a);
    this.#mlp(layer, z);
  }

  /** Y in slot 0; keys and values of every layer go to the page. */
  style(): void {
    const { images, firstStyle = 0 } = this.#request;
    const { tokens } = this.#model.layout;
    const last = this.#model.layers.length - 1;
    this.#embed("style", 0);
    for (let layer = 0; layer <= last; layer++) {
      this.#normalize(0);
      this.#project(layer, 0, 1, "kv", rowsOf(this.#page(layer), firstStyle * tokens, images * tokens));
      if (layer === last) break;
      this.#project(layer, 0, 1, "q");
      const index = this.#r.index(Array.from({ length: images }, (_, i) => [i * tokens, (firstStyle + i) * tokens]));
      this.#attend(layer, images, index, this.#queries(), this.#page(layer));
      this.#projectOut(layer, 0, 1, 0, 0);
      this.#mlp(layer, 0);
    }
  }

  /** A and Q in slots 0 and 1, styles from the page; the result, Z, in slot 1. */
  banked(): void {
    const { images, styleRows } = this.#request;
    const last = this.#model.layers.length - 1;
    this.#embed("content", 0);
    for (let layer = 0; layer <= last; layer++) {
      const q = layer === 0 ? 0 : 1;
      this.#normalize(layer === last ? q : 0, layer === 0 || layer === last ? 1 : 2);
      if (layer === last) {
        this.#project(layer, q, 1, "q");
      } else {
        this.#project(layer, 0, 1, "qkv");
        if (q !== 0) this.#project(layer, 1, 1, "q");
      }
      // The page's sequences count rows from the start of a slot: Q's queries begin where its slot does.
      this.#attend(layer, images, styleRows!, this.#queries(q), this.#page(layer));
      this.#projectOut(layer, 1, 1, 0, q);
      if (layer === last) {
        this.#mlp(layer, 1);
        break;
      }
      this.#attend(layer, images, this.#slotIndex([[0, 0]]), this.#queries(), this.#contexts);
      this.#projectOut(layer, 0, 1, 0, 0);
      this.#mlp(layer, 0, 2);
      this.#nextQuery(layer, 0, 1);
    }
  }

  /** A of one content in slot 0; its queries go to `kept`, and its rows are to be copied there where they are tapped. */
  content(): void {
    const last = this.#model.layers.length - 1;
    this.#embed("content", 0);
    this.#r.tap("0", this.residual(0));
    this.#normalize(0);
    this.#project(0, 0, 1, "q", this.#keptQueries(0));
    for (let layer = 0; layer < last; layer++) {
      this.#normalize(0);
      this.#project(layer, 0, 1, "qkv");
      this.#attend(layer, this.#request.images, this.#slotIndex([[0, 0]]), this.#queries(), this.#contexts);
      this.#projectOut(layer, 0, 1, 0, 0);
      this.#mlp(layer, 0);
      this.#r.tap(String(layer + 1), this.residual(0));
      this.#normalize(0);
      this.#project(layer, 0, 1, "q", this.#keptQueries(layer + 1));
    }
  }

  /** Q in slot 0, one kept content, styles from the page. */
  restyle(): void {
    const { images, styleRows, sharedStyleRows } = this.#request;
    const { tokens } = this.#model.layout;
    const last = this.#model.layers.length - 1;
    for (let layer = 0; layer <= last; layer++) {
      if (layer === 0) {
        // Every sequence of Q starts as the content: same queries, same residual rows.
        this.#attend(0, images, sharedStyleRows!, this.#keptQueries(0), this.#page(0));
        this.#projectOut(0, 0, 1, 0, this.#keptRows(0));
      } else {
        this.#normalize(0);
        this.#project(layer, 0, 1, "q");
        this.#attend(layer, images, styleRows!, this.#queries(), this.#page(layer));
        this.#projectOut(layer, 0, 1, 0, 0);
      }
      this.#mlp(layer, 0);
      if (layer === last) break;
      this.#normalize(0);
      this.#project(layer, 0, 1, "kv");
      const index = this.#r.index(Array.from({ length: images }, (_, image) => [0, image * tokens]));
      this.#attend(layer, images, index, this.#keptQueries(layer + 1), this.#contexts);
      this.#projectOut(layer, 0, 1, 0, this.#keptRows(layer + 1));
      this.#mlp(layer, 0);
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
      for (const [slot, stream] of STREAMS.plain.entries()) this.#r.tap(`${layer} ${stream}`, this.residual(slot));
    }
  }

  /** blk(x, y) into slot `to`. */
  #block(layer: number, x: number, y: number, to: number): void {
    this.#normalize(x);
    if (y !== x) this.#normalize(y);
    this.#project(layer, x, 1, "q");
    this.#project(layer, y, 1, "kv");
    this.#attend(layer, this.#request.images, this.#slotIndex([[x, y]]), this.#queries(), this.#contexts);
    this.#projectOut(layer, to, 1, 0, x);
    this.#mlp(layer, to);
  }
}

/** Emits one mode's program, decoding included. */
export function recordMode(r: Recorder, model: ModelWeights, request: ProgramRequest): void {
  const programs = new Programs(r, model, request);
  programs[request.mode]();
  if (request.output !== "none") programs.decode(resultSlot(request.mode));
}
