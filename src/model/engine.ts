import { StylizingError } from "../errors.js";
import { BufferUsage, MAP_READ } from "../gpu/dawn.js";
import type { Schedule } from "../gpu/dispatch.js";
import { Gpu } from "../gpu/gpu.js";
import { sleepThrough } from "../gpu/patience.js";
import { type DispatchTime, LONGEST_DISPATCH, productRate, timeDispatches } from "../gpu/timing.js";
import { hashedUniform } from "../hub/hashed.js";
import type { WeightSource } from "../hub/weight-source.js";
import { imageBytes, type PixelFormat } from "../ops/images.js";
import type { ModelConfig } from "./config.js";
import { layoutOf, type PackedModel, type PackOptions, packModel } from "./pack.js";
import {
  buildSchedule,
  buildSteps,
  type ForwardBuilder,
  type ForwardSchedule,
  type KeptContent,
  type Mode,
  STREAMS,
  type StylePage,
} from "./schedule.js";
import { Workspace, workspaceBytes } from "./workspace.js";

/** Pixels of a batch: in host memory, in one array or image by image, or in a buffer of the same device. */
export type Pixels = Uint8Array | Float32Array | readonly Uint8Array[] | { buffer: GPUBuffer; offset?: number };

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
}

/** Where the time of one or several jobs went, in milliseconds; `run` adds to it. */
export interface JobTiming {
  /** JavaScript time of handing pixels to the queue. */
  upload: number;
  /** JavaScript time of encoding and submitting, without `upload`. */
  host: number;
  /** Device time of the compute passes where there are timestamps, else from submission (or the end of the job before) to done. */
  compute: number;
  /** Copying the mapped result into its array. */
  download: number;
  /** When the first job was submitted and when the host saw the last one done, as `performance.now()` tells it. */
  submitted: number;
  done: number;
}

export const noTime = (): JobTiming => ({
  upload: 0,
  host: 0,
  compute: 0,
  download: 0,
  submitted: Number.POSITIVE_INFINITY,
  done: Number.NEGATIVE_INFINITY,
});

/** Everything a forward pass computes, for parity: token streams are [images, tokens, D], images [images, C, S, S] normalised. */
export interface Trace {
  stylized: Float32Array;
  /** Decoding of stream A. */
  reconstruction: Float32Array;
  encoded_anatomy: Float32Array;
  encoded_style: Float32Array;
  encoded_stylized: Float32Array;
}

/** Results on their way to the host at the same time: enough for the device to work while one is read. */
const READS_IN_FLIGHT = 2;

/** Schedules kept bound; a batch of a size not seen lately is bound anew, in about a millisecond. */
const MOST_SCHEDULES = 12;

/** Images a submission where nothing else limits it: large enough to fill a GPU, small enough for a CPU to answer between. */
const DEFAULT_BATCH = { hardware: 64, software: 4 };

/** Bytes of the two timestamps that stand behind a result. */
const STAMPS = 16;
/** Share of the time slept that is expected next, where it was too long. */
const OVERSLEPT = 0.9;

/** A buffer that the host can map, and how many bytes of it a copy fills. */
interface ReadBuffer {
  buffer: GPUBuffer;
  bytes: number;
}

/** Two timestamps of one submission and the buffer that they are resolved into. */
interface Stamps {
  set: GPUQuerySet;
  resolved: GPUBuffer;
}

type BoundSchedule = ForwardSchedule & {
  styleRows: GPUBuffer | undefined;
  sharedStyleRows: GPUBuffer | undefined;
  /** Runs seen, and how long the next one should take by the last one, in milliseconds. */
  runs: number;
  expected: number;
};

/** A model on a device: weights, activations, schedules. It does one job after another and knows no files. */
export class Engine {
  readonly gpu: Gpu;
  readonly model: PackedModel;
  readonly #schedules = new Map<string, BoundSchedule>();
  readonly #pageIds = new WeakMap<object, number>();
  #nextId = 0;
  #workspace: Workspace | undefined;
  readonly #reads: ReadBuffer[] = [];
  #lock: Promise<unknown> = Promise.resolve();
  #slots = READS_IN_FLIGHT;
  readonly #waiting: (() => void)[] = [];
  readonly #kept: KeptContent[] = [];
  #stamps: Stamps | undefined;
  /** When the host saw the job before done, and when the device's clock did, in nanoseconds. */
  #done: Promise<number> = Promise.resolve(Number.NEGATIVE_INFINITY);
  #lastStamp = 0n;

  private constructor(gpu: Gpu, model: PackedModel) {
    this.gpu = gpu;
    this.model = model;
  }

  static async create(gpu: Gpu, config: ModelConfig, source: WeightSource, options: PackOptions = {}): Promise<Engine> {
    return new Engine(gpu, await packModel(gpu, config, source, options));
  }

  /** Images that one submission of a mode may hold on this device. */
  largestBatch(mode: Mode, wanted?: number): number {
    const { config } = this.model;
    const layout = layoutOf(config);
    const { maxStorageBufferBindingSize, maxBufferSize, maxComputeWorkgroupsPerDimension } = this.gpu.profile.limits;
    const limit = Math.min(maxStorageBufferBindingSize, maxBufferSize);
    const slots = STREAMS[mode].length;
    const one = workspaceBytes(config, layout, this.gpu.profile.elementBytes, { sequences: slots, images: 1 });
    const largest = Math.min(
      Math.floor(limit / Math.max(...Object.values(one))),
      Math.floor(maxComputeWorkgroupsPerDimension / slots),
      // The row tiles of the smallest linear grid: 16 rows a workgroup.
      Math.floor((maxComputeWorkgroupsPerDimension * 16) / (slots * layout.tokens)),
    );
    if (largest < 1) {
      throw new StylizingError(
        "GPU",
        `One image of this model needs a buffer of ${Math.max(...Object.values(one))} bytes, and this device allows ${limit}.`,
        "Use a smaller image size or another device.",
      );
    }
    return Math.min(wanted ?? DEFAULT_BATCH[this.gpu.profile.software ? "software" : "hardware"], largest);
  }

  /** Runs `work` when all earlier work has been handed to the device. */
  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#lock.then(work);
    this.#lock = run.catch(() => {});
    return run;
  }

  /** Compiles what a mode needs, so that its first job does not, and on a GPU measures how long a dispatch may be. */
  async warm(mode: Mode, output: PixelFormat): Promise<void> {
    await this.#exclusively(async () => {
      const job: Job = { mode, images: 1, input: output, output };
      const { schedule, flops } = await this.#schedule(job, await this.#prepare(job));
      // A CPU has no watchdog, and one pass of a large model takes it a minute.
      if (!this.gpu.profile.software)
        this.gpu.flopsPerDispatch = LONGEST_DISPATCH * (await productRate(this.gpu, schedule, flops));
    });
  }

  /**
   * Binds the schedules of every mode at a batch size, so that the tuner meets their ops, and compares a tuned pass with one by
   * the defaults.
   * @returns the largest difference, of the largest value.
   */
  async tune(images: number): Promise<number> {
    // What is bound already was bound without being measured.
    await this.#unbind();
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
      await this.gpu.tuner.onRequest(async () => {
        for (const job of jobs) await this.#exclusively(async () => this.#schedule(job, await this.#prepare(job)));
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
    const plain = new Engine(new Gpu(device, facts, profile, false), this.model);
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
    this.gpu.tuner.forget();
    await this.#unbind();
  }

  /** Drops every schedule once nothing in flight uses it; the next job of each kind is planned anew. */
  #unbind(): Promise<void> {
    return this.#exclusively(async () => {
      await this.gpu.device.queue.onSubmittedWorkDone();
      this.#dropSchedules();
    });
  }

  /** Room for one content's stream. Give it back, so that schedules bound to it serve the next content too. */
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
    await this.forget(page);
    this.gpu.release(...page.layers);
  }

  /**
   * Runs a job and returns its pixels, [images, ...] in the job's output format; none where they stay on the device. Jobs are submitted in the order of the calls, and up to two are on the device at a time.
   * @param timing is added to.
   * @throws StylizingError `GPU`; its `cause` is `"out-of-memory"` where a smaller batch may fit.
   */
  async run(job: Job, timing?: JobTiming): Promise<Uint8Array> {
    if (this.#slots === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#slots--;
    try {
      const finish = await this.#exclusively(() => this.#submit(job, timing));
      return await finish();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#slots++;
    }
  }

  async #submit(job: Job, timing: JobTiming | undefined): Promise<() => Promise<Uint8Array>> {
    const work = await this.#prepare(job);
    const bound = await this.#schedule(job, work);
    const down = job.output === "none" || job.into ? 0 : this.#outputBytes(job);
    const stamps = timing && this.#timestamps();
    // Timestamps come back behind the pixels, in the same buffer: one map a job.
    const tail = Math.ceil(down / 8) * 8;
    const read = down > 0 || stamps ? await this.#takeRead(stamps ? tail + STAMPS : down) : undefined;
    let submitted: number;
    try {
      submitted = this.#send(job, work, bound, read, down, stamps && { ...stamps, tail }, timing);
    } catch (error) {
      if (read) this.gpu.release(read.buffer);
      throw error;
    }

    const before = this.#done;
    let seen!: (at: number) => void;
    this.#done = new Promise((resolve) => {
      seen = resolve;
    });
    return async () => {
      try {
        if (!read) {
          await this.gpu.device.queue.onSubmittedWorkDone();
          return new Uint8Array(0);
        }
        const begun = Math.max(submitted, await before);
        await this.#mapped(read, bound, begun);
        const ended = performance.now();
        seen(ended);
        const pixels = this.#copyOut(read, down, job.target);
        if (timing) {
          timing.compute += (stamps && this.#passTime(read, tail)) ?? ended - begun;
          timing.done = Math.max(timing.done, ended);
          timing.download += performance.now() - ended;
        }
        this.#giveBack(read);
        return pixels;
      } catch (error) {
        if (read) this.gpu.release(read.buffer);
        throw error;
      } finally {
        seen(performance.now());
      }
    };
  }

  /** Uploads, encodes and submits a job, all at once and without waiting. @returns when it was submitted. */
  #send(
    job: Job,
    work: Workspace,
    bound: BoundSchedule,
    read: ReadBuffer | undefined,
    down: number,
    stamps: (Stamps & { tail: number }) | undefined,
    timing: JobTiming | undefined,
  ): number {
    const { device } = this.gpu;
    const { schedule, layerEnds } = bound;
    const start = performance.now();
    const encoder = device.createCommandEncoder({ label: job.mode });
    this.#upload(encoder, work.buffers.content, job.content, job);
    this.#upload(encoder, work.buffers.style, job.style, job);
    const uploaded = performance.now();
    if (job.styles) {
      const { tokens } = this.model.layout;
      const rows = (shared: boolean) =>
        new Uint32Array(job.styles!.flatMap((style, image) => [shared ? 0 : image * tokens, style * tokens]));
      if (bound.styleRows) device.queue.writeBuffer(bound.styleRows, 0, rows(false));
      if (bound.sharedStyleRows) device.queue.writeBuffer(bound.sharedStyleRows, 0, rows(true));
    }

    // Copies cannot be encoded inside a pass, so where a content is kept the pass is cut after each layer.
    const copies = job.mode === "content" ? job.kept!.rows : [];
    let done = 0;
    for (const [index, rows] of copies.entries()) {
      this.#encode(encoder, schedule, done, layerEnds[index]!, stamps);
      encoder.copyBufferToBuffer(work.buffers.residual, 0, rows, 0, rows.size);
      done = layerEnds[index]!;
    }
    this.#encode(encoder, schedule, done, schedule.dispatches.length, stamps);

    if (job.into) {
      const { buffer, offset = 0 } = job.into;
      encoder.copyBufferToBuffer(this.#output(job, work), 0, buffer, offset, this.#outputBytes(job));
    }
    if (read && down > 0) encoder.copyBufferToBuffer(this.#output(job, work), 0, read.buffer, 0, Math.ceil(down / 4) * 4);
    if (stamps) {
      encoder.resolveQuerySet(stamps.set, 0, 2, stamps.resolved, 0);
      encoder.copyBufferToBuffer(stamps.resolved, 0, read!.buffer, stamps.tail, STAMPS);
    }
    device.queue.submit([encoder.finish()]);
    const submitted = performance.now();
    if (timing) {
      timing.upload += uploaded - start;
      timing.host += submitted - uploaded;
      timing.submitted = Math.min(timing.submitted, submitted);
    }
    return submitted;
  }

  /** Maps a result once it is there, and sleeps for most of the time that it should take. */
  async #mapped(read: ReadBuffer, bound: BoundSchedule, begun: number): Promise<void> {
    const slept = bound.runs > 1 && (await sleepThrough(begun, bound.expected));
    const woken = performance.now();
    await read.buffer.mapAsync(MAP_READ, 0, read.bytes);
    const now = performance.now();
    // Ready as soon as it was asked for: it may have been ready long before. On a CPU that is the rule after a run that was
    // waited for wide awake, which took a core from the work itself.
    const overslept = slept && now - woken < 1;
    bound.expected = overslept ? OVERSLEPT * (woken - begun) : now - begun;
    // The first run of a schedule may have compiled on the way.
    bound.runs++;
  }

  /**
   * Device time between the two stamps behind a mapped result, in milliseconds, without what the job before took of it;
   * undefined where they run backwards, as some drivers give them.
   */
  #passTime(read: ReadBuffer, offset: number): number | undefined {
    const [begin, end] = new BigUint64Array(read.buffer.getMappedRange(offset, STAMPS)) as unknown as [bigint, bigint];
    const from = begin > this.#lastStamp ? begin : this.#lastStamp;
    this.#lastStamp = end;
    return end > from ? Number(end - from) / 1e6 : undefined;
  }

  #timestamps(): Stamps | undefined {
    if (!this.gpu.profile.timestamps) return undefined;
    this.#stamps ??= {
      set: this.gpu.device.createQuerySet({ type: "timestamp", count: 2 }),
      resolved: this.gpu.buffer("timestamps", STAMPS, BufferUsage.QUERY_RESOLVE | BufferUsage.COPY_SRC),
    };
    return this.#stamps;
  }

  /** Encodes dispatches [from, to) as one pass; the first and the last pass of a schedule write its two timestamps. */
  #encode(encoder: GPUCommandEncoder, schedule: Schedule, from: number, to: number, stamps?: Stamps): void {
    if (from === to) return;
    const ends = {
      ...(from === 0 ? { beginningOfPassWriteIndex: 0 } : {}),
      ...(to === schedule.dispatches.length ? { endOfPassWriteIndex: 1 } : {}),
    };
    const writes = stamps && Object.keys(ends).length > 0 ? { timestampWrites: { querySet: stamps.set, ...ends } } : undefined;
    const pass = encoder.beginComputePass(writes);
    schedule.encode(pass, from, to);
    pass.end();
  }

  /**
   * The published 4L passes one by one, with everything they compute. It waits for every layer: for looking, not for speed.
   * @param onLayer receives the residual streams A, Y, Q, Z after each layer, [images, tokens, D].
   */
  trace(
    job: Pick<Job, "images" | "content" | "style">,
    onLayer?: (layer: number, streams: Record<string, Float32Array>) => void,
  ): Promise<Trace> {
    return this.#exclusively(async () => {
      const whole: Job = { ...job, mode: "plain", input: "planes", output: "planes" };
      const work = await this.#prepare(whole);
      const { schedule, layerEnds } = await this.#schedule(whole, work);
      const { device } = this.gpu;
      const encoder = device.createCommandEncoder();
      this.#upload(encoder, work.buffers.content, job.content, whole);
      this.#upload(encoder, work.buffers.style, job.style, whole);
      device.queue.submit([encoder.finish()]);
      let done = 0;
      for (const [layer, end] of layerEnds.entries()) {
        this.#submitPass(schedule, done, end);
        done = end;
        if (onLayer) onLayer(layer, await this.#readStreams(whole, work));
      }
      this.#submitPass(schedule, done, schedule.dispatches.length);
      const bytes = this.#outputBytes(whole);
      const stylized = asFloats(await this.#read(work.buffers.planes, 0, bytes));

      const rows = job.images * this.model.layout.tokens * this.model.layout.width * 4;
      const target = this.gpu.storage("final norm", rows);
      const slot = (stream: string) => STREAMS.plain.indexOf(stream);
      const side = async (add: (builder: ForwardBuilder) => void, source: GPUBuffer, size: number) => {
        const built = await buildSteps(this.gpu, this.model, work, whole, add);
        this.#submitPass(built.schedule, 0, built.schedule.dispatches.length);
        const data = await this.#read(source, 0, size);
        built.dispose();
        return data;
      };
      try {
        const norm = async (stream: string) => this.#unpad(await side((b) => b.finalNorm(slot(stream), target), target, rows));
        return {
          stylized,
          reconstruction: asFloats(await side((b) => b.decode(slot("A")), work.buffers.planes, bytes)),
          encoded_anatomy: await norm("A"),
          encoded_style: await norm("Y"),
          encoded_stylized: await norm("Z"),
        };
      } finally {
        this.gpu.release(target);
      }
    });
  }

  /** Device time of every dispatch of a job, after the job has run once; undefined where the device has no timestamps. */
  async profile(job: Job): Promise<DispatchTime[] | undefined> {
    await this.run(job);
    return this.#exclusively(async () => {
      const work = await this.#prepare(job);
      return timeDispatches(this.gpu, (await this.#schedule(job, work)).schedule);
    });
  }

  #submitPass(schedule: Schedule, from: number, to: number): void {
    const encoder = this.gpu.device.createCommandEncoder();
    this.#encode(encoder, schedule, from, to);
    this.gpu.device.queue.submit([encoder.finish()]);
  }

  #outputBytes(job: Job): number {
    if (job.output === "none") return 0;
    const { in_channels, image_size } = this.model.config;
    return imageBytes({ images: job.images, channels: in_channels, imageSize: image_size }, job.output);
  }

  #output(job: Job, work: Workspace): GPUBuffer {
    return job.output === "planes" ? work.buffers.planes : work.buffers.pixels;
  }

  #upload(encoder: GPUCommandEncoder, target: GPUBuffer, pixels: Pixels | undefined, job: Job): void {
    if (!pixels) return;
    if ("buffer" in pixels && !ArrayBuffer.isView(pixels)) {
      const { in_channels, image_size } = this.model.config;
      const bytes = imageBytes({ images: job.images, channels: in_channels, imageSize: image_size }, job.input);
      encoder.copyBufferToBuffer(pixels.buffer, pixels.offset ?? 0, target, 0, bytes);
      return;
    }
    if (Array.isArray(pixels)) {
      this.#uploadEach(target, pixels as readonly Uint8Array[]);
      return;
    }
    const data = pixels as Uint8Array | Float32Array;
    // WebGPU writes whole words; the rest of the last one is padding that no kernel reads as a pixel.
    const whole = data.byteLength - (data.byteLength % 4);
    const { queue } = this.gpu.device;
    queue.writeBuffer(target, 0, data.buffer as ArrayBuffer, data.byteOffset, whole);
    if (whole < data.byteLength) {
      const word = new Uint8Array(4);
      word.set(new Uint8Array(data.buffer, data.byteOffset + whole, data.byteLength - whole));
      queue.writeBuffer(target, whole, word);
    }
  }

  /** Images one by one, each from where it lies: cheaper than laying them side by side first. */
  #uploadEach(target: GPUBuffer, images: readonly Uint8Array[]): void {
    const { queue } = this.gpu.device;
    const each = images[0]!.byteLength;
    if (each % 4 === 0) {
      for (const [index, image] of images.entries()) queue.writeBuffer(target, index * each, image as Uint8Array<ArrayBuffer>);
      return;
    }
    const packed = new Uint8Array(Math.ceil((images.length * each) / 4) * 4);
    for (const [index, image] of images.entries()) packed.set(image, index * each);
    queue.writeBuffer(target, 0, packed);
  }

  /** A workspace that holds the job; schedules bound to a smaller one go with it. */
  async #prepare(job: Job): Promise<Workspace> {
    const { config, layout } = this.model;
    const needs = { sequences: STREAMS[job.mode].length * job.images, images: job.images };
    const bytes = workspaceBytes(config, layout, this.gpu.profile.elementBytes, needs);
    if (this.#workspace?.holds(bytes)) return this.#workspace;
    const grown = this.#workspace?.grown(bytes) ?? bytes;
    await this.gpu.device.queue.onSubmittedWorkDone();
    this.#dropSchedules();
    this.#workspace?.dispose();
    this.#workspace = undefined;
    const created = { work: undefined as Workspace | undefined };
    try {
      await this.gpu.checked(`a batch of ${job.images} images`, () => {
        created.work = new Workspace(this.gpu, grown);
      });
    } catch (error) {
      created.work?.dispose();
      throw error;
    }
    this.#workspace = created.work!;
    return this.#workspace;
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

  async #schedule(job: Job, work: Workspace) {
    const key = [job.mode, job.images, job.input, job.output, this.#id(job.page), job.firstStyle ?? 0, this.#id(job.kept)].join();
    const known = this.#schedules.get(key);
    if (known) {
      // Least recently used first.
      this.#schedules.delete(key);
      this.#schedules.set(key, known);
      return known;
    }
    while (this.#schedules.size >= MOST_SCHEDULES) {
      const [oldest] = this.#schedules.keys();
      await this.gpu.device.queue.onSubmittedWorkDone();
      this.#dropSchedule(oldest!);
    }
    const rows = () => this.gpu.storage("style rows", job.images * 8);
    const styleRows = job.mode === "banked" || job.mode === "restyle" ? rows() : undefined;
    const sharedStyleRows = job.mode === "restyle" ? rows() : undefined;
    const { mode, images, input, output, page, firstStyle, kept } = job;
    const request = { mode, images, input, output, page, firstStyle, kept, styleRows, sharedStyleRows };
    const built = await this.gpu.checked(`the schedule ${job.mode} of ${job.images}`, () =>
      buildSchedule(this.gpu, this.model, work, request),
    );
    const bound = { ...built, styleRows, sharedStyleRows, runs: 0, expected: 0 };
    this.#schedules.set(key, bound);
    return bound;
  }

  #dropSchedule(key: string): void {
    const bound = this.#schedules.get(key);
    if (!bound) return;
    this.#schedules.delete(key);
    bound.dispose();
    for (const buffer of [bound.styleRows, bound.sharedStyleRows]) if (buffer) this.gpu.release(buffer);
  }

  #dropSchedules(): void {
    for (const key of [...this.#schedules.keys()]) this.#dropSchedule(key);
  }

  /** Forgets schedules that are bound to a page or a kept content that is going away. */
  async forget(object: object): Promise<void> {
    await this.#exclusively(async () => {
      await this.gpu.device.queue.onSubmittedWorkDone();
      const id = String(this.#id(object));
      for (const key of [...this.#schedules.keys()]) {
        const parts = key.split(",");
        if (parts[4] === id || parts[6] === id) this.#dropSchedule(key);
      }
    });
  }

  async #takeRead(size: number): Promise<ReadBuffer> {
    const bytes = Math.ceil(size / 4) * 4;
    const index = this.#reads.findIndex((read) => read.buffer.size >= bytes);
    if (index >= 0) return { buffer: this.#reads.splice(index, 1)[0]!.buffer, bytes };
    // All that are free are too small: they would never be used again.
    for (const read of this.#reads.splice(0)) this.gpu.release(read.buffer);
    const usage = BufferUsage.MAP_READ | BufferUsage.COPY_DST;
    const buffer = await this.gpu.checked("a buffer to read results from", () => this.gpu.buffer("read back", bytes, usage));
    return { buffer, bytes };
  }

  /** The first `size` bytes of a mapped buffer, in `target` or in an array of their own: the one copy that is made of them. */
  #copyOut(read: ReadBuffer, size: number, target: Uint8Array = new Uint8Array(size)): Uint8Array {
    if (size > 0) target.set(new Uint8Array(read.buffer.getMappedRange(0, Math.ceil(size / 4) * 4), 0, size));
    return target;
  }

  /** Unmaps a buffer and puts it back for the next job. */
  #giveBack(read: ReadBuffer): void {
    read.buffer.unmap();
    this.#reads.push(read);
  }

  /** Copies the start of a buffer, from `offset`, to the host and waits for it; not for the loop. */
  async #read(source: GPUBuffer, offset: number, size: number): Promise<Uint8Array> {
    const read = await this.#takeRead(size);
    const encoder = this.gpu.device.createCommandEncoder();
    encoder.copyBufferToBuffer(source, offset, read.buffer, 0, read.bytes);
    this.gpu.device.queue.submit([encoder.finish()]);
    await read.buffer.mapAsync(MAP_READ, 0, read.bytes);
    const data = this.#copyOut(read, size);
    this.#giveBack(read);
    return data;
  }

  /** The residual rows of every slot, without padding: [images, tokens, D] by stream. */
  async #readStreams(job: Job, work: Workspace): Promise<Record<string, Float32Array>> {
    const streams: Record<string, Float32Array> = {};
    const { tokens, width } = this.model.layout;
    const bytes = job.images * tokens * width * 4;
    for (const [slot, name] of STREAMS[job.mode].entries()) {
      streams[name] = this.#unpad(await this.#read(work.buffers.residual, slot * bytes, bytes));
    }
    return streams;
  }

  #unpad(data: Uint8Array): Float32Array {
    const { width } = this.model.layout;
    const d = this.model.config.embed_dim;
    const padded = asFloats(data);
    const rows = padded.length / width;
    const result = new Float32Array(rows * d);
    for (let row = 0; row < rows; row++) result.set(padded.subarray(row * width, row * width + d), row * d);
    return result;
  }

  /** Frees the workspace and all schedules and weights; the device stays. */
  dispose(): void {
    this.#dropSchedules();
    this.#workspace?.dispose();
    this.#workspace = undefined;
    this.#stamps?.set.destroy();
    if (this.#stamps) this.gpu.release(this.#stamps.resolved);
    this.#stamps = undefined;
    this.gpu.release(...this.#reads.splice(0).map((read) => read.buffer), ...this.model.buffers);
  }
}

/** The same bytes as 32-bit floats; the array must start on a multiple of 4, as all that are read back do. */
export function asFloats(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}
