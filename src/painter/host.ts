import { StylizingError } from "../errors.js";
import type { Gpu } from "../gpu/gpu.js";
import type { WeightSource } from "../hub/weight-source.js";
import { openDevice } from "../models/device.js";
import type { FoundModel } from "../models/open.js";
import { Engine } from "./engine.js";
import type { LoadOptions } from "./types.js";

async function createEngine(gpu: Gpu, found: FoundModel, options: LoadOptions): Promise<Engine> {
  const { onProgress, signal } = options;
  let source: WeightSource | undefined;
  try {
    source = await found.open();
    const engine = await Engine.create(gpu, found.config, source, {
      signal,
      tune: options.tune ?? "auto",
      onFirstMeasure: () =>
        options.onNote?.("measuring kernels on this adapter; what is found is remembered, and tune off does without"),
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

/** A model on a device, and on another one where that is lost. */
export class ModelHost implements Disposable {
  readonly #found: FoundModel;
  readonly #options: LoadOptions;
  #engine: Engine;
  #recovery: Promise<void> | undefined;
  #disposed = false;

  private constructor(found: FoundModel, options: LoadOptions, engine: Engine) {
    this.#found = found;
    this.#options = options;
    this.#engine = engine;
  }

  /** Opens a device and puts the model there. Nothing stays allocated where that fails. */
  static async open(found: FoundModel, options: LoadOptions): Promise<ModelHost> {
    const gpu = await openDevice(options);
    try {
      return new ModelHost(found, options, await createEngine(gpu, found, options));
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
        const gpu = await openDevice(this.#options);
        this.#engine = await createEngine(gpu, this.#found, { ...this.#options, onProgress: () => {} });
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
