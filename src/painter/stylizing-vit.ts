import { StylizingError } from "../errors.js";
import { BufferUsage } from "../gpu/dawn.js";
import { ImagePool } from "../image/pool.js";
import {
  asGuise,
  asSized,
  type Batch,
  type GpuImages,
  type Image,
  type Images,
  type ImageTensor,
  inFloats,
  takePlanes,
  toBatch,
  toList,
} from "../models/batch.js";
import { Calls } from "../models/calls.js";
import type { ModelHost } from "../models/host.js";
import { checkBatchSize, checkLoadOptions, type ModelReport, modelReport } from "../models/load.js";
import { DEFAULT_MODEL, type FoundModel, findModel } from "../models/open.js";
import type { ModelConfig } from "../models/stylizing-vit/config.js";
import { MODEL_TOLERANCE } from "../models/stylizing-vit/tolerance.js";
import { asFloats } from "../net/pixels.js";
import type { RunTiming } from "../net/run.js";
import { Batches } from "./batches.js";
import type { Engine } from "./engine.js";
import { openHost } from "./host.js";
import type { Band } from "./large.js";
import { chosenStyles, type Pair, pairUp } from "./pairing.js";
import { type LargeSource, type PaintOptions, PairPainter } from "./sized.js";
import { isPlain, type SizeOptions, type Sizing, settleSizing } from "./sizing.js";
import {
  inGroups,
  type PaintedBatch,
  type PaintStreamOptions,
  paintStream,
  type StreamBatch,
  type StreamPair,
  type StreamPool,
} from "./stream.js";
import { StyleBank } from "./style-bank.js";
import type { Trace } from "./trace.js";
import type { LoadOptions, StreamOptions, StylizeOptions, TuneReport } from "./types.js";

/**
 * Stylizing ViT (Doerrich et al., arXiv 2601.17586) on a GPU: repaints a content image in the appearance of a style image.
 * Calls may overlap; they are queued. `dispose()` it, or use `await using`: a living device keeps the process from exiting.
 */
export class StylizingViT implements Disposable, AsyncDisposable {
  readonly config: ModelConfig;
  readonly #found: FoundModel;
  readonly #options: LoadOptions;
  readonly #host: ModelHost<Engine>;
  readonly #batches: Batches;
  readonly #painter: PairPainter;
  readonly #calls = new Calls("model");
  #pool: ImagePool | undefined;

  private constructor(found: FoundModel, options: LoadOptions, host: ModelHost<Engine>) {
    this.#found = found;
    this.#options = options;
    this.config = found.config;
    this.#host = host;
    this.#batches = new Batches(options, this);
    this.#painter = new PairPainter(host, this.#batches, found.config, this);
  }

  /**
   * Loads a model onto a device and compiles its kernels.
   * @param model a published name (`base/camelyon17wilds`), a folder, a `.safetensors` file, `demo`, or `hashed:SEED`.
   * @throws StylizingError `ARGUMENT`, `CONFIG`, `CHECKPOINT`, `DOWNLOAD`, `NO_ADAPTER`, `GPU`, or `OUTPUT` where the software
   *   driver finds no folder to be unpacked into; the signal's reason when aborted. Nothing stays allocated then.
   */
  static async load(model: string = DEFAULT_MODEL, options: LoadOptions = {}): Promise<StylizingViT> {
    checkLoadOptions(options);
    return StylizingViT.loadFound(await findModel(model, options), options);
  }

  /** @internal `load` for whoever has found the model already: a name is looked up and a checkpoint's header read once a run. */
  static async loadFound(found: FoundModel, options: LoadOptions): Promise<StylizingViT> {
    checkLoadOptions(options);
    const host = await openHost(found, options);
    options.onProgress?.({ phase: "ready", loaded: 1, total: 1 });
    return new StylizingViT(found, options, host);
  }

  /** Images that one submission of pairs holds: what was asked for, or what suits the device, and no more than fits it. */
  get batchSize(): number {
    return this.#batches.largest(this.#host.engine, "pair");
  }

  /** The device that the model runs on, for buffers of your own. It changes when a lost device is replaced. */
  get device(): GPUDevice {
    return this.#host.gpu.device;
  }

  get report(): ModelReport {
    return modelReport(this.#found.label, this.#host.gpu);
  }

  /**
   * Measures the kernels' candidates at batch sizes of your own, before a run that should not begin with it, and on software
   * adapters, where it is done on request only. What is known already is not measured again, unless the model was loaded with
   * `tune: "measure"`; one that was loaded with `off` keeps its defaults.
   * @returns what was chosen, by op and shape, and the largest difference that it makes to a result, of the largest value.
   * @throws StylizingError `ARGUMENT` for an impossible batch size, `GPU` where tuned kernels compute something else than the defaults; what was chosen is then forgotten.
   */
  tune(batchSizes: readonly number[] = [this.batchSize]): Promise<TuneReport> {
    return this.#calls.track(() =>
      this.#host.recovering(async (engine) => {
        for (const size of batchSizes) checkBatchSize(size);
        let error = 0;
        for (const size of batchSizes) error = Math.max(error, await engine.tune(engine.largestBatch("pair", size)));
        const bound = MODEL_TOLERANCE[engine.gpu.profile.tier];
        if (!(error <= bound)) {
          await engine.forgetTuning();
          throw new StylizingError(
            "GPU",
            `Kernels that were faster give other results: off by ${error.toExponential(1)} of the largest value, ${bound} allowed.`,
            "They were forgotten: the defaults are used. Please report this with the output of `stylizing-vit doctor`.",
          );
        }
        const choices = [...engine.tuner.choices].map(([op, choice]) => ({ op, ...choice }));
        return { choices: choices.sort((a, b) => (a.op < b.op ? -1 : 1)), error };
      }),
    );
  }

  /** Bytes that the model holds on the device: weights, activations, banks. */
  memory(): { deviceBytes: number } {
    return { deviceBytes: this.#host.gpu.allocatedBytes };
  }

  /**
   * Paints each content in a style. One content or one style goes with all of the other side; otherwise they go in pairs.
   * Images of another size are scaled and padded to the model's (8-bit only); results have the model's size and the
   * content's guise: 8-bit for 8-bit, floats in [0, 1] for floats, a list for a list, a tensor for a tensor.
   * @param style images, or a bank.
   * @throws StylizingError `ARGUMENT`, `GPU`, `DEVICE_LOST` or `DISPOSED`; the signal's reason when aborted.
   */
  stylize(content: Image, style: Image, options?: StylizeOptions): Promise<Image>;
  stylize(content: ImageTensor, style: Images | StyleBank, options?: StylizeOptions): Promise<ImageTensor>;
  stylize(content: GpuImages, style: Images | StyleBank, options?: StylizeOptions): Promise<GpuImages>;
  stylize(content: Image | readonly Image[], style: Images | StyleBank, options?: StylizeOptions): Promise<Image[]>;
  stylize(
    content: Images,
    style: Images | StyleBank,
    options: StylizeOptions = {},
  ): Promise<Image | Image[] | ImageTensor | GpuImages> {
    return this.#calls.track(() => this.#stylize(content, style, options));
  }

  async #stylize(
    content: Images,
    style: Images | StyleBank,
    options: StylizeOptions,
  ): Promise<Image | Image[] | ImageTensor | GpuImages> {
    this.#requireStatistics();
    const chosen = chosenStyles(options.styles);
    const sizing = settleSizing(options, this.config);
    const { fit } = sizing;
    const plain = isPlain(sizing);
    // Both are copied before anything is waited for.
    let [contents, styles] = await Promise.all([
      toBatch(content, this.config, "content", { fit, originals: !plain }),
      style instanceof StyleBank ? style : toBatch(style, this.config, "style", { fit }),
    ]);
    if (plain && !(styles instanceof StyleBank) && styles.format !== contents.format) {
      contents = inFloats(contents, "content");
      styles = inFloats(styles, "style");
    }
    const pairs = pairUp(
      contents.count,
      styles instanceof StyleBank ? styles.size : styles.count,
      chosen,
      styles instanceof StyleBank,
    );
    const single = contents.guise === "one" && !(style instanceof StyleBank) && (styles as Batch).guise === "one";
    if (!plain) return asSized(await this.#painter.images(contents, styles, pairs, sizing, options), contents, single);
    if (contents.guise === "gpu") return this.#paintOnDevice(contents, styles, pairs, options);
    const data = await this.#painter.pixels(contents, styles, pairs, options);
    return asGuise(data, contents, pairs.length, this.config, single);
  }

  /**
   * Keeps styles on the device, ready to be painted with any number of times.
   * @throws as `stylize` does.
   */
  styleBank(styles: Images, options: Pick<StylizeOptions, "signal"> = {}): Promise<StyleBank> {
    return this.#calls.track(() => this.#styleBank(styles, options.signal));
  }

  async #styleBank(styles: Images, signal: AbortSignal | undefined): Promise<StyleBank> {
    this.#requireStatistics();
    const batch = await toBatch(styles, this.config, "style");
    if (batch.count === 0)
      throw new StylizingError("ARGUMENT", "A style bank needs at least one style.", "Give one or more images.");
    if (batch.guise === "gpu") {
      throw new StylizingError(
        "ARGUMENT",
        "A style bank keeps its images, and a GPU buffer stays the caller's.",
        "Give them in host memory.",
      );
    }
    const bank = new StyleBank(this, batch);
    await this.#host.recovering((engine) => bank.pages(engine, this, signal));
    return bank;
  }

  /**
   * Paints an endless run of pairs in batches, in order. Files are read in worker threads; reading, upload, computing and
   * download of up to three batches overlap. It pulls no faster than it is pulled from: a batch is begun when the one two
   * before it is asked for. What else a pair holds (a label, a file name) comes back with it. Images that a pair holds must
   * not change until their batch is there.
   * @throws as `stylize` does, and `IMAGE` for a file that cannot be read, at the batch where it happens. When aborted, or
   *   left early, it ends when the device has done what it was given.
   */
  async *stream<P extends StreamPair>(
    pairs: Iterable<P> | AsyncIterable<P>,
    options: StreamOptions<P> = {},
  ): AsyncGenerator<StreamBatch<P>, void, undefined> {
    const size = options.batchSize ?? this.batchSize;
    checkBatchSize(size);
    for await (const { first, pairs: painted, images, timing } of this.streamBatches(inGroups(pairs, size), options))
      yield { first, pairs: painted, images, timing };
  }

  /**
   * @internal As `stream`, of batches that the caller has cut, with what was read for them.
   * @param options.stop ends it quietly: what the device does not have yet is given up.
   * @param options.pool reads files instead of the model's own.
   * @param options.shared results lie in shared memory, for other threads to take.
   */
  streamBatches<P extends StreamPair>(
    groups: AsyncGenerator<P[], void, undefined>,
    options: Omit<StreamOptions<P>, "batchSize"> & Pick<PaintStreamOptions<P>, "stop"> & { pool?: StreamPool; shared?: boolean },
  ): AsyncGenerator<PaintedBatch<P>, void, undefined> {
    this.#requireStatistics();
    const { bank, pool, shared = false, ...rest } = options;
    const sizing = settleSizing(options, this.config);
    const painter = {
      size: this.config.image_size,
      channels: this.config.in_channels,
      clock: this.#host.gpu.profile.timestamps ? "device" : "host",
      pool: () => {
        if (pool) return pool;
        this.#pool ??= new ImagePool(this.#options.workers);
        return this.#pool;
      },
      fit: sizing.fit,
      originals: !isPlain(sizing),
      paint: (contents: Image[], styles: (Image | number)[], timing: RunTiming, stop: AbortSignal) =>
        this.#calls.track(() =>
          this.#paintBatch(contents, bank ?? (styles as Image[]), styles, sizing, { timing, shared, stop }),
        ),
    } as const;
    return paintStream(painter, groups, { ...rest, banked: bank !== undefined });
  }

  async #paintBatch(
    content: Image[],
    style: Image[] | StyleBank,
    numbers: readonly (Image | number)[],
    sizing: Sizing,
    options: PaintOptions,
  ): Promise<Image[]> {
    const floats = (images: Image[]) => images.some(({ data }) => data instanceof Float32Array);
    const either = floats(content) || (!(style instanceof StyleBank) && floats(style));
    const plain = isPlain(sizing);
    const { fit } = sizing;
    const batch = async (images: Image[], what: string, originals = false) => {
      if (!either) return toList(images, this.config, what, { fit, originals });
      const read = await toBatch(images, this.config, what, { fit, originals });
      return plain ? inFloats(read, what) : read;
    };
    const contents = await batch(content, "content", !plain);
    const styles = style instanceof StyleBank ? style : await batch(style, "style");
    const chosen = styles instanceof StyleBank ? (numbers as number[]) : undefined;
    const pairs = pairUp(contents.count, styles instanceof StyleBank ? styles.size : styles.count, chosen, chosen !== undefined);
    if (!plain) return this.#painter.images(contents, styles, pairs, sizing, options);
    const data = await this.#painter.pixels(contents, styles, pairs, options);
    return asGuise(data, contents, pairs.length, this.config, false) as Image[];
  }

  /**
   * @internal Paints an image that is read by rows, in windows, in a style of a bank; see `paintLarge`.
   * @param options.onWindow is told how many windows are done, of all, and how many of them were blank.
   */
  paintRows(
    source: LargeSource,
    bank: StyleBank,
    style: number,
    options: SizeOptions & Pick<StylizeOptions, "signal"> & { onWindow?: (done: number, total: number, blank: number) => void },
  ): AsyncGenerator<Band, void, undefined> {
    this.#requireStatistics();
    return this.#painter.bands(source, bank, style, settleSizing(options, this.config), options);
  }

  /**
   * The bare forward pass, for parity: normalised planes in and out, [batch, C, S, S], no clamp.
   * @throws as `stylize` does.
   */
  async forward(content: Float32Array, style: Float32Array, options: StylizeOptions = {}): Promise<Float32Array> {
    const { count, content: contents, style: styles } = takePlanes(content, style, this.config);
    const each = content.length / count;
    const part = (data: Float32Array, from: number, n: number) => data.subarray(from * each, (from + n) * each);
    const result = new Float32Array(content.length);
    await this.#calls.track(() =>
      this.#host.recovering((engine) =>
        this.#batches.inBatches(engine, "pair", count, options, async (from, images) => {
          const pixels = await engine.run({
            mode: "pair",
            images,
            input: "planes",
            output: "planes",
            content: part(contents, from, images),
            style: part(styles, from, images),
          });
          result.set(asFloats(pixels), from * each);
        }),
      ),
    );
    return result;
  }

  /** The forward pass as published, pass by pass, with all token streams; see `Trace`. Slow, and one batch at a time. */
  async trace(
    content: Float32Array,
    style: Float32Array,
    onLayer?: (layer: number, streams: Record<string, Float32Array>) => void,
  ): Promise<Trace> {
    const { count: images, ...planes } = takePlanes(content, style, this.config);
    return this.#calls.track(() => this.#host.recovering((engine) => engine.trace({ images, ...planes }, onLayer)));
  }

  #requireStatistics(): void {
    if (this.config.mean && this.config.std) return;
    throw new StylizingError(
      "CONFIG",
      `No mean and standard deviation are known for ${this.#found.label}, so images cannot be normalised.`,
      "Load it with { mean: [...], std: [...] } of its training images; measureStatistics() takes them from yours.",
    );
  }

  async #paintOnDevice(
    contents: Batch,
    styles: Batch | StyleBank,
    pairs: readonly Pair[],
    options: StylizeOptions,
  ): Promise<GpuImages> {
    const { image_size: size, in_channels: channels } = this.config;
    const each = channels * size ** 2 * (contents.format === "bytes" ? 1 : 4);
    // The caller's to use and to destroy.
    const usage = BufferUsage.COPY_SRC | BufferUsage.COPY_DST | BufferUsage.STORAGE;
    const { gpu } = this.#host;
    const make = () => gpu.device.createBuffer({ label: "stylized", size: pairs.length * each, usage });
    const buffer = await gpu.checked("a buffer for results", make);
    try {
      await this.#batches.paint(this.#host.engine, contents, styles, pairs, options, (from) => ({
        into: { buffer, offset: from * each },
      }));
    } catch (error) {
      buffer.destroy();
      if (!this.#host.gpu.isLost || this.#calls.closed) throw error;
      // Not to be repeated on another device: the caller's buffers went with this one.
      throw new StylizingError(
        "DEVICE_LOST",
        "The device was lost, and the images in its buffers with it.",
        "Upload them again.",
        { cause: error },
      );
    }
    return { buffer, shape: [pairs.length, size, size, channels], format: contents.format };
  }

  /** Frees everything and destroys the device if it is ours. Idempotent. Work under way is rejected. */
  dispose(): void {
    if (!this.#calls.close()) return;
    this.#painter.dispose();
    this.#host.dispose();
    this.#pool?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Waits for work under way, then disposes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#calls.settled();
    this.dispose();
    await this.#pool?.dispose();
  }
}
