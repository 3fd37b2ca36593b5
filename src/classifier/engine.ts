import type { Gpu } from "../gpu/gpu.js";
import type { DispatchTime } from "../gpu/timing.js";
import type { TuneMode } from "../gpu/tuner.js";
import type { WeightSource } from "../hub/weight-source.js";
import type { EngineOptions } from "../models/host.js";
import { largestBatch } from "../models/load.js";
import type { VitConfig } from "../models/vit/config.js";
import { recordVit, VIT_OUTPUTS, type VitRequest } from "../models/vit/programs.js";
import { uploadVit, type VitModel } from "../models/vit/weights.js";
import { asFloats, onDevice, type Pixels, unpadded, writePixels } from "../net/pixels.js";
import type { Read, RunTiming } from "../net/run.js";
import { Runner } from "../net/runner.js";

export interface VitJob extends VitRequest {
  pixels: Pixels;
}

export interface VitResult {
  /** [images, classes]; of no length where there is no head. */
  logits: Float32Array;
  /** [images, tokens, D] behind the final norm, where they were asked for. */
  tokens: Float32Array;
  /** [images, heads, patches], where it was asked for. */
  attention: Float32Array;
}

/** Requests with one key have one program. */
const programKey = ({ images, height, width, input, tokens = false, attention = false }: VitRequest): string =>
  [images, height, width, input, tokens, attention].join();

/** A classifier on a device: weights, and a runner for its programs. It knows no files. */
export class VitEngine {
  readonly gpu: Gpu;
  readonly model: VitModel;
  readonly #runner: Runner;
  /** Of the largest activation of one image, by request. */
  readonly #bytes = new Map<string, number>();

  private constructor(gpu: Gpu, model: VitModel, tune: TuneMode) {
    this.gpu = gpu;
    this.model = model;
    this.#runner = new Runner(gpu, tune);
  }

  /** @throws StylizingError `CHECKPOINT`, `CONFIG` or `GPU` */
  static async create(
    gpu: Gpu,
    config: VitConfig,
    source: WeightSource,
    { tune = "off", onFirstMeasure, ...options }: EngineOptions = {},
  ): Promise<VitEngine> {
    const engine = new VitEngine(gpu, await uploadVit(gpu, config, source, options), tune);
    engine.#runner.tuner.onFirstMeasure = onFirstMeasure;
    return engine;
  }

  /** Images of a size that one submission may hold. @throws StylizingError `GPU` where not even one fits the device's limits */
  largestBatch(request: Omit<VitRequest, "images">, wanted?: number): number {
    const one = { ...request, images: 1 };
    const key = programKey(one);
    let bytes = this.#bytes.get(key);
    if (bytes === undefined) {
      bytes = Math.max(...this.#runner.measure((r) => recordVit(r, this.model, one)).values());
      this.#bytes.set(key, bytes);
    }
    const rows = 1 + (request.height * request.width) / this.model.config.patch_size ** 2;
    return largestBatch(this.gpu, { bytes, sequences: 1, rows }, wanted);
  }

  /** Compiles what a request needs, and on a GPU measures how long a dispatch may be. */
  async warm(request: VitRequest): Promise<void> {
    await this.#runner.exclusively(async () => {
      const { program } = await this.#program(request);
      if (!this.gpu.profile.software) await this.#runner.limitDispatches(program);
    });
  }

  /**
   * Runs a job. Jobs are submitted in the order of the calls, and up to two are on the device at a time.
   * @throws StylizingError `GPU`; its `cause` is `"out-of-memory"` where a smaller batch may fit
   */
  async run(job: VitJob, timing?: RunTiming): Promise<VitResult> {
    const { images, height, width, input } = job;
    const { config, layout } = this.model;
    const patches = (height * width) / config.patch_size ** 2;
    const counts = {
      logits: images * layout.classes,
      tokens: job.tokens ? images * (1 + patches) * layout.width : 0,
      attention: job.attention ? images * layout.heads * patches : 0,
    };
    const names = (["logits", "tokens", "attention"] as const).filter((name) => counts[name] > 0);
    const pixelBytes = images * config.in_channels * height * width * (input === "bytes" ? 1 : 4);
    const read = await this.#runner.run(async () => {
      const { program } = await this.#program(job);
      const { arena } = this.#runner;
      return {
        label: "classify",
        programs: [program],
        reads: names.map((name): Read => ({ buffer: arena.buffer(VIT_OUTPUTS[name]), bytes: 4 * counts[name] })),
        timing,
        foreign: onDevice(job.pixels),
        upload: (encoder) => writePixels(this.gpu.device.queue, encoder, arena.buffer("pixels"), job.pixels, pixelBytes),
      };
    });
    const of = (name: (typeof names)[number]) => {
      const bytes = read[names.indexOf(name)];
      return bytes ? asFloats(bytes) : new Float32Array(0);
    };
    return {
      logits: unpadded(of("logits"), layout.classes, config.num_classes),
      tokens: unpadded(of("tokens"), layout.width, config.embed_dim),
      attention: of("attention"),
    };
  }

  /** Device time of every dispatch of a job, after the job has run once; undefined where the device has no timestamps. */
  async profile(job: VitJob): Promise<DispatchTime[] | undefined> {
    await this.run(job);
    return this.#runner.exclusively(async () => this.#runner.time((await this.#program(job)).program));
  }

  #program(request: VitRequest) {
    return this.#runner.program(programKey(request), `a batch of ${request.images} images`, (r) =>
      recordVit(r, this.model, request),
    );
  }

  /** Frees programs, activations and weights; the device stays. */
  dispose(): void {
    this.#runner.dispose();
    this.gpu.release(...this.model.buffers);
  }
}
