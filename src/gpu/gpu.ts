import { checkName, messageOf, StylizingError } from "../errors.js";
import { BufferUsage, refuseWorkerThread } from "./dawn.js";
import { factsOf, findAdapter, findNamed, noAdapter } from "./find-adapter.js";
import { matrixVerdict } from "./matrix-trial.js";
import { PipelineCache } from "./pipelines.js";
import { calmPolling } from "./polling.js";
import {
  ADAPTERS,
  type AdapterChoice,
  type AdapterFacts,
  adapterName,
  isSoftware,
  MATRIX_FEATURE,
  MATRIX_SHAPE,
  makeProfile,
  matrixObstacle,
  PRECISIONS,
  type Precision,
  type Profile,
} from "./profile.js";

export { type AdapterChoice, adapterName } from "./profile.js";

export interface OpenGpuOptions {
  /**
   * `auto` takes hardware where there is some, else a software adapter. `STYLIZING_VIT_ADAPTER` sets the default; under `auto`
   * `STYLIZING_VIT_DEVICE` names one of several: a part of its name, or its number in the list of `stylizing-vit doctor`.
   */
  adapter?: AdapterChoice;
  precision?: Precision;
  /** A device of the caller's own. It is used as it is and never destroyed. */
  device?: GPUDevice;
  /** The program whose child process tries matrix units once a driver, see matrix-trial.ts; without one they are not taken. */
  trial?: string;
}

/** Ends of the queues of `checked` calls, by device: several `Gpu`s may share a caller's. */
const scopes = new WeakMap<GPUDevice, Promise<unknown>>();

/** A device, what it can do, and what was allocated on it. */
export class Gpu implements Disposable {
  readonly device: GPUDevice;
  readonly facts: AdapterFacts;
  readonly profile: Profile;
  readonly pipelines: PipelineCache;
  /** Floating-point operations of GEMMs that one dispatch may hold, so that none runs for long; set once a rate is known. */
  flopsPerDispatch = Number.POSITIVE_INFINITY;
  /** Resolves with the reason when the device is gone, unless `dispose()` was what ended it. */
  readonly lost: Promise<string>;
  #isLost = false;
  readonly #owned: boolean;
  readonly #buffers = new Map<GPUBuffer, number>();
  #bytes = 0;
  #disposed = false;

  constructor(device: GPUDevice, facts: AdapterFacts, profile: Profile, owned: boolean) {
    this.device = device;
    this.facts = facts;
    this.profile = profile;
    this.pipelines = new PipelineCache(device, profile);
    this.#owned = owned;
    this.lost = new Promise((resolve) => {
      device.lost.then((info) => {
        this.#isLost = true;
        if (!this.#disposed) resolve(info.message || info.reason || "no reason given");
      });
    });
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Bytes of the buffers alive on the device that came from `buffer()`. */
  get allocatedBytes(): number {
    return this.#bytes;
  }

  /** Whether the device is ours, so that a lost one can be replaced. */
  get owned(): boolean {
    return this.#owned;
  }

  /**
   * Allocates a buffer of at least `bytes`, rounded up to 16 so that every vec4 view of it fits.
   * @throws StylizingError `GPU` where it exceeds a limit; memory that runs out shows in `checked()`.
   */
  buffer(label: string, bytes: number, usage: number): GPUBuffer {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    const limit = this.profile.limits.maxBufferSize;
    if (size > limit) {
      throw new StylizingError(
        "GPU",
        `The buffer "${label}" needs ${size} bytes, and this device allows ${limit}.`,
        "Use a smaller batch or a smaller model.",
      );
    }
    const buffer = this.device.createBuffer({ label, size, usage });
    this.#buffers.set(buffer, size);
    this.#bytes += size;
    return buffer;
  }

  storage(label: string, bytes: number): GPUBuffer {
    return this.buffer(label, bytes, BufferUsage.STORAGE | BufferUsage.COPY_DST | BufferUsage.COPY_SRC);
  }

  release(...buffers: GPUBuffer[]): void {
    for (const buffer of buffers) {
      const size = this.#buffers.get(buffer);
      if (size === undefined) continue;
      this.#buffers.delete(buffer);
      this.#bytes -= size;
      buffer.destroy();
    }
  }

  /**
   * Runs `work`, one call after another, and turns what the device reports about it into an error.
   * @throws StylizingError `GPU` on a validation error or where memory ran out (`cause` is then `"out-of-memory"`).
   */
  checked<T>(what: string, work: () => T | Promise<T>): Promise<T> {
    // Error scopes are one stack a device: two callers at once would pop each other's.
    const before = scopes.get(this.device) ?? Promise.resolve();
    const run = before.then(() => this.#checked(what, work));
    scopes.set(
      this.device,
      run.catch(() => {}),
    );
    return run;
  }

  async #checked<T>(what: string, work: () => T | Promise<T>): Promise<T> {
    this.device.pushErrorScope("validation");
    this.device.pushErrorScope("out-of-memory");
    let result: T | undefined;
    let failure: unknown;
    try {
      result = await work();
    } catch (error) {
      failure = error;
    }
    const memory = await this.device.popErrorScope();
    const validation = await this.device.popErrorScope();
    if (failure) throw failure;
    if (memory) {
      throw new StylizingError("GPU", `The device ran out of memory (${what}): ${memory.message}.`, "Use a smaller batch.", {
        cause: "out-of-memory",
      });
    }
    if (validation) {
      throw new StylizingError(
        "GPU",
        `The device refused ${what}: ${validation.message}.`,
        "Please report this with the output of `stylizing-vit doctor`.",
      );
    }
    return result as T;
  }

  /**
   * Runs `work`, which waits for nothing, in an error scope of its own: what the device refuses of it does not show elsewhere.
   * @returns what it gave, and the device's words once they are there, which no later work waits for.
   */
  watched<T>(work: () => T): { result: T; refused: Promise<string | undefined> } {
    // Opened and closed at once, so it lies wholly inside of a `checked` call's scopes or outside. A lost device has no words left.
    this.device.pushErrorScope("validation");
    const close = () =>
      this.device.popErrorScope().then(
        (error) => error?.message.trim(),
        () => undefined,
      );
    let result: T;
    try {
      result = work();
    } catch (error) {
      void close();
      throw error;
    }
    return { result, refused: close() };
  }

  /** Destroys what was allocated, and the device if it is ours: a living device keeps the process from exiting. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.release(...this.#buffers.keys());
    if (this.#owned) this.device.destroy();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** What an adapter is, for reports. */
export interface AdapterReport {
  name: string;
  vendor: string;
  architecture: string;
  driver: string;
  /** Runs on the CPU. */
  software: boolean;
}

export function adapterReport({ facts, profile }: Gpu): AdapterReport {
  const { vendor, architecture, description: driver } = facts;
  return { name: adapterName(facts), vendor, architecture, driver, software: profile.software };
}

/** Facts and profile of a device that the caller owns: what it was created with counts, not what its adapter could do. */
function wrapDevice(device: GPUDevice, precision: Precision): Gpu {
  const facts = factsOf(device.adapterInfo, device.features, device.limits);
  // A device does not list the shapes of its matrix units. Whoever asks for them knows; elsewhere compiling fails, aloud.
  if (precision === "matrix" && facts.features.has(MATRIX_FEATURE) && facts.matrixShapes.length === 0)
    facts.matrixShapes = [MATRIX_SHAPE];
  const verdict = { ok: true, reason: "the caller's device has matrix units" };
  return new Gpu(device, facts, requireTier(profileOf(facts, precision, verdict), precision), false);
}

/** What `STYLIZING_VIT_MATRIX` says to run the matrix tier where there are no matrix units; `stand-in` is its former name. */
const EMULATION = ["emulation", "stand-in"];

const profileOf = (facts: AdapterFacts, precision: Precision, verdict: Parameters<typeof makeProfile>[2]): Profile =>
  makeProfile(facts, precision, verdict, EMULATION.includes(process.env.STYLIZING_VIT_MATRIX ?? ""));

function requireTier(profile: Profile, precision: Precision): Profile {
  if (precision === "matrix" && profile.tier !== "matrix") {
    throw new StylizingError(
      "GPU",
      `Matrix units are not to be had here: ${profile.notes.join("; ")}.`,
      "Use precision auto, f16 or f32.",
    );
  }
  return profile;
}

/**
 * What was asked for, with defaults for the rest: for those too who have long work to do before they open a device.
 * @throws StylizingError `ARGUMENT` for a name that is none of an option's, `STYLIZING_VIT_ADAPTER` included; `NO_ADAPTER` in a worker
 *   thread.
 */
export function checkDeviceOptions(options: OpenGpuOptions): {
  precision: Precision;
  adapter: AdapterChoice;
  named: string | undefined;
} {
  const precision = options.precision ?? "auto";
  checkName("precision", precision, PRECISIONS);
  // A device of the caller's own is there already: what the environment says of adapters does not matter to it.
  const fromEnvironment = options.device ? undefined : (process.env.STYLIZING_VIT_ADAPTER as AdapterChoice | undefined);
  const adapter = options.adapter ?? fromEnvironment ?? "auto";
  checkName("adapter", adapter, ADAPTERS);
  if (!options.device) refuseWorkerThread();
  // Who asks for hardware or software means that, whatever the environment names.
  const isFree = !options.device && (options.adapter ?? "auto") === "auto";
  return { precision, adapter, named: (isFree && process.env.STYLIZING_VIT_DEVICE) || undefined };
}

/**
 * Opens a device.
 * @throws StylizingError `ARGUMENT` for an option's unknown name, `NO_ADAPTER` where no adapter fits and in a worker thread, `OUTPUT` where there is no
 *   folder to unpack the software driver into, `GPU` where the device cannot be created, or matrix units were asked for and
 *   are not to be had.
 */
export async function openGpu(options: OpenGpuOptions = {}): Promise<Gpu> {
  const { precision, adapter: choice, named } = checkDeviceOptions(options);
  if (options.device) return wrapDevice(options.device, precision);
  const seen: string[] = [];
  const adapter = await (named === undefined ? findAdapter(choice, seen) : findNamed(named, seen));
  if (!adapter) throw noAdapter(choice, seen);
  const facts = factsOf(adapter.info, adapter.features, adapter.limits);
  const candidate = (precision === "auto" || precision === "matrix") && !isSoftware(facts) && !matrixObstacle(facts);
  const verdict = candidate ? await matrixVerdict(facts, choice, options.trial) : undefined;
  const profile = requireTier(profileOf(facts, precision, verdict), precision);
  try {
    const device = await adapter.requestDevice({
      label: "stylizing-vit",
      requiredFeatures: profile.features as GPUFeatureName[],
      requiredLimits: profile.limits,
    });
    if (profile.software) calmPolling();
    return new Gpu(device, facts, profile, true);
  } catch (cause) {
    throw new StylizingError(
      "GPU",
      `The adapter ${adapterName(facts)} gave no device: ${messageOf(cause)}.`,
      "Run `stylizing-vit doctor`.",
      { cause },
    );
  }
}
