import { StylizingError } from "../errors.js";
import type { Gpu } from "../gpu/gpu.js";
import { type GpuOptions, openDevice } from "./device.js";

/** A model on a device: what is lost with the device. */
export interface Hosted {
  readonly gpu: Gpu;
  dispose(): void;
}

export interface HostOptions extends GpuOptions {
  /** Receives notices that are no error: a second device after a lost one. */
  onNote?: ((note: string) => void) | undefined;
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
    const gpu = await openDevice(options);
    try {
      return new ModelHost(create, options, await create(gpu, false));
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
        this.#engine = await this.#create(gpu, true);
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
