import { EPSILON, type GuidedBuffers, guidedRadius, recordGuided } from "../detail/guided.js";
import { type Layout, writeLayout } from "../detail/layout.js";
import { Gpu } from "../gpu/gpu.js";
import type { DispatchTime } from "../gpu/timing.js";
import type { TuneMode } from "../gpu/tuner.js";
import { hashedUniform } from "../hub/hashed.js";
import type { WeightSource } from "../hub/weight-source.js";
import type { EngineOptions } from "../models/host.js";
import { largestBatch } from "../models/load.js";
import type { ModelConfig } from "../models/stylizing-vit/config.js";
import { type KeptContent, type Mode, type ProgramRequest, STREAMS, type StylePage } from "../models/stylizing-vit/modes.js";
import { recordMode } from "../models/stylizing-vit/programs.js";
import { type ModelWeights, uploadModel } from "../models/stylizing-vit/weights.js";
import { asFloats, onDevice, type Pixels, writePixels } from "../net/pixels.js";
import type { Recorder } from "../net/recorder.js";
import type { RunTiming } from "../net/run.js";
import { Runner } from "../net/runner.js";
import { imageBytes, type PixelFormat } from "../ops/images.js";
import { type OnLayer, type Trace, traceModel } from "./trace.js";

export interface Job {
  mode: Mode;
  images: number;
  input: PixelFormat;
  output: PixelFormat | "none";
  content?: Pixels;
  style?: Pixels;
  page?: StylePage | undefined;
  firstStyle?: number | undefined;
  /** For each image, its style's position in the page. */
  styles?: readonly number[];
  kept?: KeptContent | undefined;
  /** Where the result goes on the device, instead of to the host. */
  into?: { buffer: GPUBuffer; offset?: number };
  /** Where the result goes in host memory; without it in an array of its own. */
  target?: Uint8Array;
  /** The contents at their full size, which the result then has: 8-bit, at whole words one behind the other, as `layout` says. */
  detail?: DetailJob | undefined;
}

/** Guided detail of a job's images. */
export interface DetailJob {
  layout: Layout;
  /** Kept as it is where it is bare glass of this colour. */
  background: readonly number[] | undefined;
}

/** Which rows of a page the sequences of a batch attend to; rewritten before every run. */
type StyleRows = Pick<ProgramRequest, "styleRows" | "sharedStyleRows">;

/** What is written before every run of a program. */
type Bound = StyleRows & { guided?: GuidedBuffers | undefined };

/** A model on a device: weights, and a runner for its programs. It knows no files. */
export class Engine {
  readonly gpu: Gpu;
  readonly model: ModelWeights;
  readonly #runner: Runner;
  readonly #pageIds = new WeakMap<object, number>();
  #nextId = 0;
  readonly #kept: KeptContent[] = [];

  private constructor(gpu: Gpu, model: ModelWeights, tune: TuneMode) {
    this.gpu = gpu;
    this.model = model;
    this.#runner = new Runner(gpu, tune);
  }

  static async create(
    gpu: Gpu,
    config: ModelConfig,
    source: WeightSource,
    { tune = "off", onFirstMeasure, ...options }: EngineOptions = {},
  ): Promise<Engine> {
    const engine = new Engine(gpu, await uploadModel(gpu, config, source, options), tune);
    engine.tuner.onFirstMeasure = onFirstMeasure;
    return engine;
  }

  get tuner() {
    return this.#runner.tuner;
  }

  /** Images that one submission of a mode may hold on this device. */
  largestBatch(mode: Mode, wanted?: number): number {
    const sequences = STREAMS[mode].length;
    const rows = sequences * this.model.layout.tokens;
    return largestBatch(this.gpu, { bytes: this.#bytesOf(mode), sequences, rows }, wanted);
  }

  readonly #bytes = new Map<Mode, number>();

  /** Bytes of the largest activation of one image. */
  #bytesOf(mode: Mode): number {
    let bytes = this.#bytes.get(mode);
    if (bytes === undefined) {
      const nowhere = this.model.layers.map(() => undefined as unknown as GPUBuffer);
      const places = { page: { layers: nowhere, capacity: 1 }, kept: { rows: nowhere, queries: nowhere } };
      const job = { mode, images: 1, input: "bytes", output: mode === "style" || mode === "content" ? "none" : "bytes" } as const;
      bytes = Math.max(...this.#runner.measure((r) => recordMode(r, this.model, { ...job, ...places })).values());
      this.#bytes.set(mode, bytes);
    }
    return bytes;
  }

  /** Compiles what a mode needs, so that its first job does not, and on a GPU measures how long a dispatch may be. */
  async warm(mode: Mode, output: PixelFormat): Promise<void> {
    await this.#runner.exclusively(async () => {
      const { program } = await this.#program({ mode, images: 1, input: output, output });
      // A CPU has no watchdog, and one pass of a large model takes it a minute.
      if (!this.gpu.profile.software) await this.#runner.limitDispatches(program);
    });
  }

  /**
   * Binds the programs of every mode at a batch size, so that the tuner meets their ops, and compares a tuned pass with one by
   * the defaults.
   * @returns the largest difference, of the largest value.
   */
  async tune(images: number): Promise<number> {
    // What is bound already was bound without being measured.
    await this.#runner.forget();
    const page = await this.createPage(images);
    const kept = this.takeKept();
    const format = this.model.config.mean ? "bytes" : "planes";
    try {
      const common = { images, input: format, output: format } as const;
      const jobs: Job[] = [
        { mode: "pair", ...common },
        { mode: "style", images, input: format, output: "none", page, firstStyle: 0 },
        { mode: "banked", ...common, page },
        { mode: "content", images: 1, input: format, output: "none", kept },
        { mode: "restyle", ...common, page, kept },
      ];
      await this.tuner.onRequest(async () => {
        for (const job of jobs) await this.#runner.exclusively(() => this.#program(job));
      });
    } finally {
      await this.disposePage(page);
      this.returnKept(kept);
    }
    const { in_channels, image_size } = this.model.config;
    const count = images * in_channels * image_size ** 2;
    const [content, style] = [hashedUniform("content", count, 1), hashedUniform("style", count, 1)];
    const job: Job = { mode: "pair", images, input: "planes", output: "planes", content, style };
    const tuned = asFloats(await this.run(job));
    const { device, facts, profile } = this.gpu;
    const plain = new Engine(new Gpu(device, facts, profile, false), this.model, "off");
    try {
      const expected = asFloats(await plain.run(job));
      const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      return expected.reduce((most, value, at) => Math.max(most, Math.abs(value - tuned[at]!)), 0) / largest;
    } finally {
      plain.dispose();
      plain.gpu.dispose();
    }
  }

  /** Takes the defaults from now on, and forgets what was chosen. */
  async forgetTuning(): Promise<void> {
    this.tuner.forget();
    await this.#runner.forget();
  }

  /** Room for one content's stream. Give it back, so that programs bound to it serve the next content too. */
  takeKept(): KeptContent {
    const free = this.#kept.pop();
    if (free) return free;
    const { tokens, width, attention } = this.model.layout;
    const each = <T>(make: (layer: number) => T) => this.model.layers.map((_, layer) => make(layer));
    return {
      rows: each((layer) => this.gpu.storage(`kept rows ${layer}`, tokens * width * 4)),
      queries: each((layer) => this.gpu.storage(`kept queries ${layer}`, tokens * attention * this.gpu.profile.elementBytes)),
    };
  }

  returnKept(kept: KeptContent): void {
    this.#kept.push(kept);
  }

  /** Styles that one page can hold: a buffer a layer, within the binding limit and a quarter of a gigabyte. */
  get pageCapacity(): number {
    const { maxStorageBufferBindingSize, maxBufferSize } = this.gpu.profile.limits;
    return Math.max(1, Math.floor(Math.min(maxStorageBufferBindingSize, maxBufferSize, 2 ** 28) / this.#styleBytes));
  }

  get #styleBytes(): number {
    const { tokens, attention } = this.model.layout;
    return tokens * 2 * attention * this.gpu.profile.elementBytes;
  }

  createPage(capacity: number): Promise<StylePage> {
    return this.gpu.checked(`a bank of ${capacity} styles`, () => ({
      capacity,
      layers: this.model.layers.map((_, layer) => this.gpu.storage(`style bank ${layer}`, capacity * this.#styleBytes)),
    }));
  }

  /** Frees a page once nothing in flight reads it. */
  async disposePage(page: StylePage): Promise<void> {
    const part = this.#pageKey(page);
    await this.#runner.forget((key) => key.split(",").includes(part));
    this.gpu.release(...page.layers);
  }

  /**
   * Runs a job and returns its pixels, [images, ...] in the job's output format; none where they stay on the device. Jobs are
   * submitted in the order of the calls, and up to two are on the device at a time.
   * @param timing is added to.
   * @throws StylizingError `GPU`; its `cause` is `"out-of-memory"` where a smaller batch may fit.
   */
  async run(job: Job, timing?: RunTiming): Promise<Uint8Array> {
    const plain = job.output === "none" ? 0 : this.#imageBytes(job.images, job.output);
    const bytes = job.detail ? 4 * job.detail.layout.words : plain;
    const [pixels = new Uint8Array(0)] = await this.#runner.run(async () => {
      const { program, value } = await this.#program(job);
      const { arena } = this.#runner;
      const output = () => value.guided?.restored ?? arena.buffer(job.output === "planes" ? "planes" : "pixels");
      const reads = job.output === "none" || job.into ? [] : [{ buffer: output(), bytes, target: job.target }];
      return {
        label: job.mode,
        programs: [program],
        reads,
        timing,
        foreign: onDevice(job.content) || onDevice(job.style),
        upload: (encoder) => {
          this.#upload(encoder, job);
          this.#writeStyleRows(job, value);
          if (job.detail) writeLayout(this.gpu.device.queue, value.guided!, job.detail.layout);
        },
        // The rows of a content that is kept, layer by layer.
        ...(job.mode === "content"
          ? { atTap: (encoder, { name, view }) => copyAll(encoder, view.buffer, job.kept!.rows[Number(name)]!) }
          : {}),
        after: (encoder) => {
          if (job.into) encoder.copyBufferToBuffer(output(), 0, job.into.buffer, job.into.offset ?? 0, bytes);
        },
      };
    });
    return pixels;
  }

  #upload(encoder: GPUCommandEncoder, job: Job): void {
    for (const what of ["content", "style"] as const) {
      const pixels = job[what];
      if (!pixels) continue;
      const bytes = this.#imageBytes(job.images, job.input);
      writePixels(this.gpu.device.queue, encoder, this.#runner.arena.buffer(what), pixels, bytes);
    }
  }

  #imageBytes(images: number, format: PixelFormat): number {
    const { in_channels: channels, image_size: imageSize } = this.model.config;
    return imageBytes({ images, channels, imageSize }, format);
  }

  #writeStyleRows({ styles }: Job, { styleRows, sharedStyleRows }: StyleRows): void {
    if (!styles) return;
    const { tokens } = this.model.layout;
    const rows = (shared: boolean) =>
      new Uint32Array(styles.flatMap((style, image) => [shared ? 0 : image * tokens, style * tokens]));
    const { queue } = this.gpu.device;
    if (styleRows) queue.writeBuffer(styleRows, 0, rows(false));
    if (sharedStyleRows) queue.writeBuffer(sharedStyleRows, 0, rows(true));
  }

  /** See `traceModel`. */
  trace(job: Pick<Job, "images" | "content" | "style">, onLayer?: OnLayer): Promise<Trace> {
    const { content, style } = job;
    return traceModel(this.#runner, this.model, { images: job.images, content: content!, style: style! }, onLayer);
  }

  /** Device time of every dispatch of a job, after the job has run once; undefined where the device has no timestamps. */
  async profile(job: Job): Promise<DispatchTime[] | undefined> {
    await this.run(job);
    return this.#runner.exclusively(async () => this.#runner.time((await this.#program(job)).program));
  }

  #id(object: object | undefined): number {
    if (!object) return 0;
    let id = this.#pageIds.get(object);
    if (id === undefined) {
      id = ++this.#nextId;
      this.#pageIds.set(object, id);
    }
    return id;
  }

  #key({ mode, images, input, output, page, firstStyle = 0, kept, detail }: Job): string {
    const guided = detail ? [...Object.values(detail.layout.shape), ...(detail.background ?? [])] : [];
    return [mode, images, input, output, this.#pageKey(page), firstStyle, this.#id(kept), ...guided].join();
  }

  /** What the keys of the programs that are bound to a page have in common. */
  #pageKey(page: StylePage | undefined): string {
    return `page ${this.#id(page)}`;
  }

  #program(job: Job) {
    const { mode, images, input, page, firstStyle, kept, detail } = job;
    // Guided detail takes the painting before it is rounded.
    const output = detail ? "floats" : job.output;
    return this.#runner.program(this.#key(job), `a batch of ${images} images`, (r): Bound => {
      const rows = () => r.constant("style rows", new Uint32Array(2 * images));
      const styleRows = mode === "banked" || mode === "restyle" ? rows() : undefined;
      const sharedStyleRows = mode === "restyle" ? rows() : undefined;
      recordMode(r, this.model, { mode, images, input, output, page, firstStyle, kept, styleRows, sharedStyleRows });
      return { styleRows, sharedStyleRows, guided: detail && this.#recordDetail(r, images, detail) };
    });
  }

  /** Guided detail behind a mode's program, from what it saw and what it painted. */
  #recordDetail(r: Recorder, images: number, { layout, background }: DetailJob): GuidedBuffers {
    const { in_channels, image_size: side, patch_size } = this.model.config;
    const channels = in_channels as 1 | 3;
    const sides = { height: side, width: side, rows: side, columns: side };
    const shape = { channels, ...sides, radius: guidedRadius(patch_size), epsilon: EPSILON, background, ...layout.shape };
    const pixels = (name: string) => r.scratch(name, images, channels * side ** 2, "f32").buffer;
    return recordGuided(r, shape, pixels("content"), pixels("pixels"));
  }

  /** Frees programs, activations and weights; the device stays. */
  dispose(): void {
    this.#runner.dispose();
    for (const { rows, queries } of this.#kept.splice(0)) this.gpu.release(...rows, ...queries);
    this.gpu.release(...this.model.buffers);
  }
}

/** Copies the start of a buffer into all of another. */
function copyAll(encoder: GPUCommandEncoder, from: GPUBuffer, to: GPUBuffer): void {
  encoder.copyBufferToBuffer(from, 0, to, 0, to.size);
}
