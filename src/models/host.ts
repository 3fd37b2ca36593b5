import { StylizingError } from "../errors.js";
import type { Gpu } from "../gpu/gpu.js";
import type { TuneMode } from "../gpu/tuner.js";
import type { WeightSource } from "../hub/weight-source.js";
import { type GpuOptions, openDevice } from "./device.js";
import type { BaseConfig } from "./kind.js";
import type { LoadProgress } from "./load.js";
import type { FoundModel } from "./open.js";
import type { UploadOptions } from "./task.js";

/** A model on a device: what is lost with the device. */
export interface Hosted {
  readonly gpu: Gpu;
  dispose(): void;
}

export interface HostOptions extends GpuOptions {
  /** Receives notices that are no error: a second device after a lost one. */
  onNote?: ((note: string) => void) | undefined;
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** How an engine puts weights on a device. */
export type EngineOptions = UploadOptions & { tune?: TuneMode; onFirstMeasure?: () => void };

/** What is to be known of a kind of engine to put a model on a device. */
export interface Hosting<Engine> {
  create(gpu: Gpu, source: WeightSource, options: EngineOptions): Promise<Engine>;
  /** Compiles what the first job needs. */
  warm(engine: Engine): Promise<void>;
}

/** Opens a device and puts a found model there. Nothing stays allocated where that fails. */
export function openModel<Engine extends Hosted, Config extends BaseConfig>(
  found: FoundModel<Config>,
  options: HostOptions,
  { create, warm }: Hosting<Engine>,
): Promise<ModelHost<Engine>> {
  const { onNote, signal, tune = "auto" } = options;
  return ModelHost.open(async (gpu, again) => {
    const onProgress = again ? undefined : options.onProgress;
    await using source = await found.open();
    const engine = await create(gpu, source, {
      signal,
      tune,
      onFirstMeasure: () => onNote?.("measuring kernels on this adapter; what is found is remembered, and tune off does without"),
      onProgress: (loaded, total) => onProgress?.({ phase: "upload", loaded, total }),
    });
    try {
      signal?.throwIfAborted();
      onProgress?.({ phase: "compile", loaded: 0, total: 1 });
      await warm(engine);
      onProgress?.({ phase: "compile", loaded: 1, total: 1 });
      return engine;
    } catch (error) {
      engine.dispose();
      throw error;
    }
  }, options);
}

/** A model on a device, and on another one where that is lost. */
export class ModelHost<Engine extends Hosted> implements Disposable {
  readonly #create: (gpu: Gpu, again: boolean) => Promise<Engine>;
  readonly #options: HostOptions;
  #engine: Engine;
  #recovery: Promise<void> | undefined;
  #disposed = false;

  private constructor(create: (gpu: Gpu, again: boolean) => Promise<Engine>, options: HostOptions, engine: Engine) {
    this.#create = create;
    this.#options = options;
    this.#engine = engine;
  }

  /**
   * Opens a device and puts the model there. Nothing stays allocated where that fails.
   * @param create puts the model on a device; `again` where one was lost.
   */
  static async open<Engine extends Hosted>(
    create: (gpu: Gpu, again: boolean) => Promise<Engine>,
    options: HostOptions,
  ): Promise<ModelHost<Engine>> {
    return new ModelHost(create, options, await ModelHost.#place(create, options, false));
  }

  /** On a device of its own, which does not stay open where that fails. */
  static async #place<Engine extends Hosted>(
    create: (gpu: Gpu, again: boolean) => Promise<Engine>,
    options: HostOptions,
    again: boolean,
  ): Promise<Engine> {
    const gpu = await openDevice(options);
    try {
      return await create(gpu, again);
    } catch (error) {
      gpu.dispose();
      throw error;
    }
  }

  get engine(): Engine {
    return this.#engine;
  }

  get gpu(): Gpu {
    return this.#engine.gpu;
  }

  /** Runs `work`; where the device is lost under it, once more on a new device. */
  async recovering<T>(work: (engine: Engine) => Promise<T>): Promise<T> {
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
        this.#engine = await ModelHost.#place(this.#create, this.#options, true);
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

  /** Frees everything and destroys the device if it is ours. Idempotent. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    const { gpu } = this.#engine;
    this.#engine.dispose();
    gpu.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
