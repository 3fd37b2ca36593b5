import { StylizingError } from "../errors.js";
import { BufferUsage } from "../gpu/dawn.js";
import { type AdapterReport, adapterReport, checkGpuOptions, type Gpu, type GpuOptions, openGpu } from "../gpu/gpu.js";
import type { Tier } from "../gpu/profile.js";
import type { Choice } from "../gpu/tuner.js";
import type { WeightSource } from "../hub/weight-source.js";
import { checkWorkers, ImagePool } from "../image/pool.js";
import { versions } from "../version.js";
import { type Batch, type GpuImages, type Image, type Images, type ImageTensor, inFloats, toBatch, toList } from "./batch.js";
import type { ModelConfig } from "./config.js";
import { asFloats, Engine, type Job, type JobTiming, noTime, type Trace } from "./engine.js";
import { DEFAULT_MODEL, type FoundModel, findModel, type OpenOptions } from "./open.js";
import type { KeptContent, Mode, StylePage } from "./schedule.js";
import {
  BATCHES_UNDER_WAY,
  inGroups,
  type PaintedBatch,
  type PaintStreamOptions,
  paintStream,
  type StreamBatch,
  type StreamPair,
  type StreamTiming,
} from "./stream.js";
import { MODEL_TOLERANCE } from "./tolerance.js";

export interface LoadProgress {
  phase: "download" | "verify" | "upload" | "compile" | "ready";
  /** Bytes while downloading, layers while uploading. */
  loaded: number;
  total: number;
  /** While downloading. */
  file?: string;
}

export interface LoadOptions extends Omit<OpenOptions, "onProgress">, GpuOptions {
  /** Images a submission; by default 64 on a GPU and 4 on a software adapter, and never more than the device holds. */
  batchSize?: number;
  onProgress?: (progress: LoadProgress) => void;
  /** Threads that read picture files for `stream`: by default as many as there are cores, at most 8; 0 for none. */
  workers?: number | undefined;
  /** Receives what is worth knowing and no error: a second device after a lost one, a batch that had to be halved. */
  onNote?: (note: string) => void;
}

export interface StylizeOptions {
  signal?: AbortSignal | undefined;
  /** For each content its style's number in the bank. Without it contents and styles go in pairs, or one goes with all. */
  styles?: readonly number[];
  /** Called after every submission. */
  onProgress?: (done: number, total: number) => void;
}

/** What the model runs on, for reports. */
export interface ModelReport {
  model: string;
  adapter: AdapterReport;
  tier: Tier;
  /** Why the tier is not a higher one. */
  notes: readonly string[];
  versions: { "stylizing-vit": string; webgpu: string; node: string };
}

export interface StreamOptions<P> {
  /** Pairs a batch; by default the model's `batchSize`. */
  batchSize?: number;
  signal?: AbortSignal | undefined;
  /** Styles to paint in; each pair's `style` is then the number of one. */
  bank?: StyleBank | undefined;
  /** Receives a pair that names a file which cannot be read; it is left out. Without this the stream fails there. */
  onUnreadable?: ((pair: P, error: unknown) => void) | undefined;
  /** Receives where the time went, once, when the stream has ended, however it ended. */
  onTiming?: ((timing: StreamTiming) => void) | undefined;
}

export interface TuneReport {
  /** By op and shape: the candidate that was chosen, its milliseconds and the default's. */
  choices: (Choice & { op: string })[];
  /** Difference between tuned and default results, of the largest value. */
  error: number;
}

/** Keys and values of a set of styles, kept on the device: painting in them costs 3L - 2 block passes a content, not 4L - 3. */
export class StyleBank {
  readonly #owner: StylizingViT;
  readonly #styles: Batch;
  #pages: Promise<StylePage[]> | undefined;
  #engine: Engine | undefined;
  #disposed = false;

  /** @internal Made by `StylizingViT.styleBank()`. */
  constructor(owner: StylizingViT, styles: Batch) {
    this.#owner = owner;
    this.#styles = styles;
  }

  /** Number of styles. */
  get size(): number {
    return this.#styles.count;
  }

  /** @internal The pages on an engine; made again where the engine is another one, as after a lost device. */
  pages(engine: Engine, owner: StylizingViT, signal?: AbortSignal): Promise<StylePage[]> {
    if (this.#disposed)
      throw new StylizingError("DISPOSED", "This style bank was disposed of.", "Make a new one with styleBank().");
    if (owner !== this.#owner)
      throw new StylizingError(
        "ARGUMENT",
        "This style bank belongs to another model.",
        "Make one with this model's styleBank().",
      );
    if (!this.#pages || this.#engine !== engine) {
      this.#engine = engine;
      this.#pages = this.#fill(engine, signal);
      this.#pages.catch(() => {
        this.#pages = undefined;
      });
    }
    return this.#pages;
  }

  async #fill(engine: Engine, signal?: AbortSignal): Promise<StylePage[]> {
    const pages: StylePage[] = [];
    const capacity = engine.pageCapacity;
    try {
      for (let first = 0; first < this.size; first += capacity) {
        const page = await engine.createPage(Math.min(capacity, this.size - first));
        pages.push(page);
        const batch = engine.largestBatch("style", this.#owner.batchSize);
        for (let at = 0; at < page.capacity; at += batch) {
          signal?.throwIfAborted();
          const images = Math.min(batch, page.capacity - at);
          const style = this.#styles.pixels(first + at, images);
          await engine.run({ mode: "style", images, input: this.#styles.format, output: "none", style, page, firstStyle: at });
        }
      }
      return pages;
    } catch (error) {
      for (const page of pages) await engine.disposePage(page).catch(() => {});
      throw error;
    }
  }

  /** Frees the device's memory. Idempotent; also done when the model is disposed of. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    const engine = this.#engine;
    this.#pages?.then((pages) => Promise.all(pages.map((page) => engine?.disposePage(page)))).catch(() => {});
    this.#pages = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * Stylizing ViT (Doerrich et al., arXiv 2601.17586) on a GPU: repaints a content image in the appearance of a style image.
 * Calls may overlap; they are queued. `dispose()` it, or use `await using`: a living device keeps the process from exiting.
 */
export class StylizingViT implements Disposable, AsyncDisposable {
  readonly config: ModelConfig;
  readonly #found: FoundModel;
  readonly #options: LoadOptions;
  #gpu: Gpu;
  #engine: Engine;
  #recovery: Promise<void> | undefined;
  #disposed = false;
  readonly #running = new Set<Promise<unknown>>();
  /** The largest batch of a mode that was found to fit the device's memory, where a larger one did not. */
  readonly #fits = new Map<Mode, number>();
  #pool: ImagePool | undefined;

  private constructor(found: FoundModel, options: LoadOptions, gpu: Gpu, engine: Engine) {
    this.#found = found;
    this.#options = options;
    this.config = found.config;
    this.#gpu = gpu;
    this.#engine = engine;
  }

  /**
   * Loads a model onto a device and compiles its kernels.
   * @param model a published name (`base/camelyon17wilds`), a folder, a `.safetensors` file, `demo`, or `hashed:SEED`.
   * @throws StylizingError `ARGUMENT`, `CONFIG`, `CHECKPOINT`, `DOWNLOAD`, `NO_ADAPTER`, `GPU`, or `OUTPUT` where the software
   *   driver finds no folder to be unpacked into; the signal's reason when aborted. Nothing stays allocated then.
   */
  static async load(model: string = DEFAULT_MODEL, options: LoadOptions = {}): Promise<StylizingViT> {
    checkOptions(options);
    return StylizingViT.loadFound(await findModel(model, options), options);
  }

  /** @internal `load` for whoever has found the model already: a name is looked up and a checkpoint's header read once a run. */
  static async loadFound(found: FoundModel, options: LoadOptions): Promise<StylizingViT> {
    checkOptions(options);
    const gpu = await openGpu(options);
    try {
      const engine = await StylizingViT.#createEngine(gpu, found, options);
      options.onProgress?.({ phase: "ready", loaded: 1, total: 1 });
      return new StylizingViT(found, options, gpu, engine);
    } catch (error) {
      gpu.dispose();
      throw error;
    }
  }

  static async #createEngine(gpu: Gpu, found: FoundModel, options: LoadOptions): Promise<Engine> {
    const { onProgress, signal } = options;
    gpu.tuner.onFirstMeasure = () =>
      options.onNote?.("measuring kernels on this adapter; what is found is remembered, and tune off does without");
    let source: WeightSource | undefined;
    try {
      source = await found.open();
      const engine = await Engine.create(gpu, found.config, source, {
        signal,
        onProgress: (loaded, total) => onProgress?.({ phase: "upload", loaded, total }),
      });
      signal?.throwIfAborted();
      onProgress?.({ phase: "compile", loaded: 0, total: 1 });
      await engine.warm("pair", found.config.mean ? "bytes" : "planes");
      onProgress?.({ phase: "compile", loaded: 1, total: 1 });
      return engine;
    } finally {
      await source?.[Symbol.asyncDispose]();
    }
  }

  /** Images that one submission of pairs holds: what was asked for, or what suits the device, and no more than fits it. */
  get batchSize(): number {
    return this.#largestBatch(this.#engine, "pair");
  }

  #largestBatch(engine: Engine, mode: Mode): number {
    return Math.min(engine.largestBatch(mode, this.#options.batchSize), this.#fits.get(mode) ?? Number.POSITIVE_INFINITY);
  }

  /** The device that the model runs on, for buffers of your own. It changes when a lost device is replaced. */
  get device(): GPUDevice {
    return this.#gpu.device;
  }

  get report(): ModelReport {
    const { tier, notes } = this.#gpu.profile;
    return { model: this.#found.label, adapter: adapterReport(this.#gpu), tier, notes, versions: versions() };
  }

  /**
   * Measures the kernels' candidates at batch sizes of your own, before a run that should not begin with it, and on software
   * adapters, where it is done on request only. What is known already is not measured again, unless the model was loaded with
   * `tune: "measure"`; one that was loaded with `off` keeps its defaults.
   * @returns what was chosen, by op and shape, and the largest difference that it makes to a result, of the largest value.
   * @throws StylizingError `ARGUMENT` for an impossible batch size, `GPU` where tuned kernels compute something else than the defaults; what was chosen is then forgotten.
   */
  tune(batchSizes: readonly number[] = [this.batchSize]): Promise<TuneReport> {
    return this.#track(() =>
      this.#recovering(async (engine) => {
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
        const choices = [...engine.gpu.tuner.choices].map(([op, choice]) => ({ op, ...choice }));
        return { choices: choices.sort((a, b) => (a.op < b.op ? -1 : 1)), error };
      }),
    );
  }

  /** Bytes that the model holds on the device: weights, activations, banks. */
  memory(): { deviceBytes: number } {
    return { deviceBytes: this.#gpu.allocatedBytes };
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
    return this.#track(() => this.#stylize(content, style, options));
  }

  async #stylize(
    content: Images,
    style: Images | StyleBank,
    options: StylizeOptions,
  ): Promise<Image | Image[] | ImageTensor | GpuImages> {
    this.#requireStatistics();
    let contents = await toBatch(content, this.config, "content");
    let styles = style instanceof StyleBank ? style : await toBatch(style, this.config, "style");
    if (!(styles instanceof StyleBank) && styles.format !== contents.format) {
      contents = inFloats(contents, "content");
      styles = inFloats(styles, "style");
    }
    const pairs = pairUp(
      contents.count,
      styles instanceof StyleBank ? styles.size : styles.count,
      options.styles,
      styles instanceof StyleBank,
    );
    const single = contents.guise === "one" && !(style instanceof StyleBank) && (styles as Batch).guise === "one";
    if (contents.guise === "gpu") return this.#paintOnDevice(contents, styles, pairs, options);
    const data = await this.#paint(contents, styles, pairs, options);
    return this.#asGuise(data, contents, pairs.length, single);
  }

  /**
   * Keeps styles on the device, ready to be painted with any number of times.
   * @throws as `stylize` does.
   */
  styleBank(styles: Images, options: Pick<StylizeOptions, "signal"> = {}): Promise<StyleBank> {
    return this.#track(() => this.#styleBank(styles, options.signal));
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
    await this.#recovering((engine) => bank.pages(engine, this, signal));
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
    options: Omit<StreamOptions<P>, "batchSize"> & Pick<PaintStreamOptions<P>, "stop"> & { pool?: ImagePool; shared?: boolean },
  ): AsyncGenerator<PaintedBatch<P>, void, undefined> {
    this.#requireStatistics();
    const { bank, pool, shared = false, ...rest } = options;
    const painter = {
      size: this.config.image_size,
      channels: this.config.in_channels,
      clock: this.#gpu.profile.timestamps ? "device" : "host",
      pool: () => {
        if (pool) return pool;
        this.#pool ??= new ImagePool(this.#options.workers);
        return this.#pool;
      },
      paint: (contents: Image[], styles: (Image | number)[], timing: JobTiming) =>
        this.#track(() => this.#paintBatch(contents, bank ?? (styles as Image[]), styles, timing, shared)),
    } as const;
    return paintStream(painter, groups, { ...rest, banked: bank !== undefined });
  }

  async #paintBatch(
    content: Image[],
    style: Image[] | StyleBank,
    numbers: readonly (Image | number)[],
    timing: JobTiming,
    shared: boolean,
  ): Promise<Image[]> {
    const floats = (images: Image[]) => images.some(({ data }) => data instanceof Float32Array);
    const either = floats(content) || (!(style instanceof StyleBank) && floats(style));
    const batch = async (images: Image[], what: string) =>
      either ? inFloats(await toBatch(images, this.config, what), what) : toList(images, this.config, what);
    const contents = await batch(content, "content");
    const styles = style instanceof StyleBank ? style : await batch(style, "style");
    const chosen = styles instanceof StyleBank ? (numbers as number[]) : undefined;
    const pairs = pairUp(contents.count, styles instanceof StyleBank ? styles.size : styles.count, chosen, chosen !== undefined);
    const data = await this.#paint(contents, styles, pairs, { timing, shared });
    return this.#asGuise(data, contents, pairs.length, false) as Image[];
  }

  /**
   * The bare forward pass, for parity: normalised planes in and out, [batch, C, S, S], no clamp.
   * @throws as `stylize` does.
   */
  async forward(content: Float32Array, style: Float32Array, options: StylizeOptions = {}): Promise<Float32Array> {
    const count = this.#countPlanes(content, style);
    const each = content.length / count;
    const planes = (data: Float32Array) => ({
      count,
      pixels: (from: number, n: number) => data.subarray(from * each, (from + n) * each),
    });
    const [contents, styles] = [planes(content), planes(style)];
    const result = new Float32Array(content.length);
    await this.#track(() =>
      this.#recovering((engine) =>
        this.#inBatches(engine, "pair", count, options, async (from, images) => {
          const pixels = await engine.run({
            mode: "pair",
            images,
            input: "planes",
            output: "planes",
            content: contents.pixels(from, images),
            style: styles.pixels(from, images),
          });
          result.set(asFloats(pixels), from * each);
        }),
      ),
    );
    return result;
  }

  /** The forward pass as published, pass by pass, with all token streams; see `Trace`. Slow, and one batch at a time. */
  trace(
    content: Float32Array,
    style: Float32Array,
    onLayer?: (layer: number, streams: Record<string, Float32Array>) => void,
  ): Promise<Trace> {
    const images = this.#countPlanes(content, style);
    return this.#track(() => this.#recovering((engine) => engine.trace({ images, content, style }, onLayer)));
  }

  #countPlanes(content: Float32Array, style: Float32Array): number {
    const each = this.config.in_channels * this.config.image_size ** 2;
    if (content.length === 0 || content.length % each !== 0 || style.length !== content.length) {
      throw new StylizingError(
        "ARGUMENT",
        `content has ${content.length} values and style ${style.length}.`,
        `Give [batch, ${this.config.in_channels}, ${this.config.image_size}, ${this.config.image_size}] for both.`,
      );
    }
    return content.length / each;
  }

  #requireStatistics(): void {
    if (this.config.mean && this.config.std) return;
    throw new StylizingError(
      "CONFIG",
      `No mean and standard deviation are known for ${this.#found.label}, so images cannot be normalised.`,
      "Load it with { mean: [...], std: [...] } of its training images; measureStatistics() takes them from yours.",
    );
  }

  /** Runs [0, count) in pieces that fit the device; a piece that does not fit its memory is halved. */
  async #inBatches(
    engine: Engine,
    mode: Mode,
    count: number,
    options: StylizeOptions,
    run: (from: number, images: number) => Promise<void>,
  ): Promise<void> {
    let size = this.#largestBatch(engine, mode);
    const piece = async (from: number, images: number): Promise<void> => {
      try {
        await run(from, images);
      } catch (error) {
        if (!(error instanceof StylizingError) || error.cause !== "out-of-memory" || images === 1) throw error;
        const half = Math.ceil(images / 2);
        if (half < size) {
          size = half;
          if (half < this.#largestBatch(engine, mode)) {
            this.#fits.set(mode, half);
            this.#options.onNote?.(`a batch of ${images} does not fit the device's memory: going on with ${half}`);
          }
        }
        for (let at = 0; at < images; at += half) await piece(from + at, Math.min(half, images - at));
      }
    };
    const pending: Promise<void>[] = [];
    let done = 0;
    for (let from = 0; from < count; ) {
      options.signal?.throwIfAborted();
      const images = Math.min(size, count - from);
      const counted = piece(from, images).then(() => {
        done += images;
        options.onProgress?.(done, count);
      });
      // Awaited below, or not at all when an earlier one fails first.
      counted.catch(() => {});
      pending.push(counted);
      from += images;
      if (pending.length >= BATCHES_UNDER_WAY - 1) await pending.shift();
    }
    await Promise.all(pending);
  }

  /** All results, [pairs, S, S, C] in the contents' format. */
  async #paint(
    contents: Batch,
    styles: Batch | StyleBank,
    pairs: readonly Pair[],
    options: StylizeOptions & { timing?: JobTiming; shared?: boolean },
  ): Promise<Uint8Array> {
    const each = this.config.in_channels * this.config.image_size ** 2 * (contents.format === "bytes" ? 1 : 4);
    const bytes = pairs.length * each;
    const result = new Uint8Array(options.shared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes));
    await this.#recovering((engine) => {
      // What was measured on a device that was lost counts for nothing.
      if (options.timing) Object.assign(options.timing, noTime());
      const target = (from: number, images: number) => ({ target: result.subarray(from * each, (from + images) * each) });
      return this.#run(engine, contents, styles, pairs, options, target);
    });
    return result;
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
    const buffer = this.#gpu.device.createBuffer({ label: "stylized", size: pairs.length * each, usage });
    try {
      await this.#run(this.#engine, contents, styles, pairs, options, (from) => ({ into: { buffer, offset: from * each } }));
    } catch (error) {
      buffer.destroy();
      if (!this.#gpu.isLost || this.#disposed) throw error;
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

  /** Chooses the cheapest schedule: pairs at once, a bank of styles, or one content kept for many styles. */
  async #run(
    engine: Engine,
    contents: Batch,
    styles: Batch | StyleBank,
    pairs: readonly Pair[],
    options: StylizeOptions & { timing?: JobTiming },
    target: (from: number, images: number) => Pick<Job, "into" | "target">,
  ): Promise<void> {
    const format = contents.format;
    const finish = async (from: number, job: Job) => {
      await engine.run({ ...job, ...target(from, job.images) }, options.timing);
    };
    const shared = !(styles instanceof StyleBank) && pairs.length > 1 && (contents.count === 1 || styles.count === 1);
    if (!(styles instanceof StyleBank) && !shared) {
      const one = (batch: Batch, index: (pair: Pair) => number, from: number, images: number) =>
        batch.count === pairs.length ? batch.pixels(from, images) : gather(batch, pairs.slice(from, from + images).map(index));
      return this.#inBatches(engine, "pair", pairs.length, options, (from, images) =>
        finish(from, {
          mode: "pair",
          images,
          input: format,
          output: format,
          content: one(contents, (pair) => pair.content, from, images),
          style: one(styles, (pair) => pair.style, from, images),
        }),
      );
    }

    const bank = styles instanceof StyleBank ? styles : new StyleBank(this, styles);
    try {
      const pages = await bank.pages(engine, this, options.signal);
      const capacity = engine.pageCapacity;
      let kept: KeptContent | undefined;
      try {
        if (contents.count === 1 && pairs.length > 1) {
          kept = engine.takeKept();
          const job = {
            mode: "content",
            images: 1,
            input: format,
            output: "none",
            content: contents.pixels(0, 1),
            kept,
          } as const;
          await engine.run(job, options.timing);
        }
        // One submission reads one page: pairs are cut where their page changes.
        for (let start = 0; start < pairs.length; ) {
          const number = Math.floor(pairs[start]!.style / capacity);
          let end = start + 1;
          while (end < pairs.length && Math.floor(pairs[end]!.style / capacity) === number) end++;
          const page = pages[number]!;
          const first = start;
          const mode = kept ? "restyle" : "banked";
          await this.#inBatches(engine, mode, end - start, options, (from, images) => {
            const chosen = pairs.slice(first + from, first + from + images);
            const list = chosen.map((pair) => pair.style - number * capacity);
            const common = { images, input: format, output: format, page, styles: list } as const;
            if (kept) return finish(first + from, { mode: "restyle", ...common, kept });
            const numbers = chosen.map((pair) => pair.content);
            const content = contents.count === pairs.length ? contents.pixels(first + from, images) : gather(contents, numbers);
            return finish(first + from, { mode: "banked", ...common, content });
          });
          start = end;
        }
      } finally {
        if (kept) engine.returnKept(kept);
      }
    } finally {
      if (bank !== styles) bank.dispose();
    }
  }

  #asGuise(data: Uint8Array, contents: Batch, count: number, single: boolean): Image | Image[] | ImageTensor {
    const { image_size: size, in_channels: channels } = this.config;
    const values = contents.format === "bytes" ? data : asFloats(data);
    if (contents.guise === "tensor") return { data: values, shape: [count, size, size, channels] };
    const each = values.length / count;
    const images = Array.from({ length: count }, (_, i) => ({
      data: values.subarray(i * each, (i + 1) * each),
      width: size,
      height: size,
      channels,
    }));
    return single ? images[0]! : images;
  }

  /** Refuses work on a disposed model and lets `[Symbol.asyncDispose]` wait for what is under way. */
  #track<T>(work: () => Promise<T>): Promise<T> {
    if (this.#disposed) return Promise.reject(new StylizingError("DISPOSED", "This model was disposed of.", "Load it again."));
    const promise = work().catch((error: unknown) => {
      if (this.#disposed)
        throw new StylizingError("DISPOSED", "The model was disposed of while it worked.", "Await its calls first.", {
          cause: error,
        });
      throw error;
    });
    this.#running.add(promise);
    const forget = () => this.#running.delete(promise);
    promise.then(forget, forget);
    return promise;
  }

  /** Runs `work`; where the device is lost under it, once more on a new device. */
  async #recovering<T>(work: (engine: Engine) => Promise<T>): Promise<T> {
    const engine = this.#engine;
    try {
      return await work(engine);
    } catch (error) {
      if (!engine.gpu.isLost || this.#disposed) throw error;
      if (!engine.gpu.owned) {
        throw new StylizingError(
          "DEVICE_LOST",
          "The device that was given to the model is lost.",
          "Make a new one and load the model again.",
          { cause: error },
        );
      }
      await this.#recover(engine, error);
      try {
        return await work(this.#engine);
      } catch (second) {
        if (!this.#engine.gpu.isLost) throw second;
        throw new StylizingError(
          "DEVICE_LOST",
          "The device was lost twice in a row.",
          "Check the driver's log; a smaller batchSize may help.",
          { cause: second },
        );
      }
    }
  }

  /** Replaces a lost device, once however many calls noticed. */
  #recover(lost: Engine, cause: unknown): Promise<void> {
    if (this.#engine !== lost) return this.#recovery ?? Promise.resolve();
    this.#recovery ??= (async () => {
      this.#options.onNote?.("the device was lost: loading the model onto a new one");
      try {
        const gpu = await openGpu(this.#options);
        this.#engine = await StylizingViT.#createEngine(gpu, this.#found, { ...this.#options, onProgress: () => {} });
        this.#gpu = gpu;
        lost.gpu.dispose();
      } catch (error) {
        throw new StylizingError("DEVICE_LOST", "The device was lost and no new one could be had.", "Check the driver's log.", {
          cause: error ?? cause,
        });
      } finally {
        this.#recovery = undefined;
      }
    })();
    return this.#recovery;
  }

  /** Frees everything and destroys the device if it is ours. Idempotent. Work under way is rejected. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#engine.dispose();
    this.#gpu.dispose();
    this.#pool?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Waits for work under way, then disposes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#running);
    this.dispose();
    await this.#pool?.dispose();
  }
}

function checkOptions(options: LoadOptions): void {
  if (options.batchSize !== undefined) checkBatchSize(options.batchSize);
  checkWorkers(options.workers);
  checkGpuOptions(options);
  options.signal?.throwIfAborted();
}

function checkBatchSize(size: number): void {
  if (!(Number.isSafeInteger(size) && size > 0))
    throw new StylizingError("ARGUMENT", `batchSize is ${size}.`, "Give a positive integer.");
}

interface Pair {
  content: number;
  style: number;
}

/** Which content goes with which style. */
function pairUp(contents: number, styles: number, chosen: readonly number[] | undefined, bank: boolean): Pair[] {
  if (contents === 0 || styles === 0) {
    throw new StylizingError("ARGUMENT", `There are ${contents} contents and ${styles} styles.`, "Give at least one of each.");
  }
  if (chosen) {
    if (!bank)
      throw new StylizingError(
        "ARGUMENT",
        "`styles` chooses from a style bank, and images were given.",
        "Give a bank, or leave it away.",
      );
    const wrong = chosen.find((style) => !(Number.isSafeInteger(style) && style >= 0 && style < styles));
    if (wrong !== undefined)
      throw new StylizingError("ARGUMENT", `There is no style ${wrong} in a bank of ${styles}.`, `Use 0 to ${styles - 1}.`);
    if (contents !== 1 && chosen.length !== contents) {
      throw new StylizingError(
        "ARGUMENT",
        `${chosen.length} styles were chosen for ${contents} contents.`,
        "Choose one for each.",
      );
    }
    return chosen.map((style, index) => ({ content: contents === 1 ? 0 : index, style }));
  }
  if (contents !== styles && contents !== 1 && styles !== 1) {
    throw new StylizingError(
      "ARGUMENT",
      `${contents} contents cannot be paired with ${styles} styles.`,
      "Give as many of one as of the other, or one of either.",
    );
  }
  return Array.from({ length: Math.max(contents, styles) }, (_, index) => ({
    content: contents === 1 ? 0 : index,
    style: styles === 1 ? 0 : index,
  }));
}

/** Images of a batch by number, side by side. */
function gather(batch: Batch, numbers: readonly number[]) {
  const parts = numbers.map((number) => batch.pixels(number, 1));
  if (!ArrayBuffer.isView(parts[0]))
    throw new StylizingError(
      "ARGUMENT",
      "One GPU buffer cannot be repeated over a batch.",
      "Give as many images as the other side has.",
    );
  const arrays = parts as (Uint8Array | Float32Array)[];
  const each = arrays[0]!.length;
  const all = arrays[0] instanceof Float32Array ? new Float32Array(each * arrays.length) : new Uint8Array(each * arrays.length);
  for (const [index, part] of arrays.entries()) all.set(part, index * each);
  return all;
}
