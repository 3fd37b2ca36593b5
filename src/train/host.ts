import { type AdapterReport, adapterReport } from "../gpu/gpu.js";
import type { Tier } from "../gpu/profile.js";
import type { DownloadOptions } from "../hub/download.js";
import { type GpuOptions, openDevice } from "../models/device.js";
import type { TaskKind } from "../models/task.js";
import type { TaskConfig, TaskOptions } from "../models/tasks.js";
import type { TrainingEngineOptions } from "./engine.js";
import type { TrainingEngine } from "./types.js";

export interface HostOptions extends GpuOptions {
  task: TaskKind<TaskConfig, TaskOptions>;
  /** The run's, of which the task reads its own part. */
  recipe: Readonly<Record<string, unknown>>;
  channels: number;
  signal?: AbortSignal | undefined;
  onProgress?: DownloadOptions["onProgress"];
}

/** A device and what the task needs beside the model: all that an engine needs and that may have to be opened anew. */
export interface TrainingHost extends AsyncDisposable {
  readonly adapter: AdapterReport;
  readonly tier: Tier;
  readonly isLost: boolean;
  createEngine(config: TaskConfig, options: TrainingEngineOptions): Promise<TrainingEngine>;
}

export type OpenHost = (options: HostOptions) => Promise<TrainingHost>;

/**
 * Opens a device, and before it the task's own weights, which may have to be fetched.
 * @throws StylizingError `ARGUMENT`, `CHECKPOINT`, `DOWNLOAD`, `OUTPUT`, `NO_ADAPTER` or `GPU`.
 */
export const openTrainingHost: OpenHost = async ({ task, recipe, channels, signal, onProgress, ...options }) => {
  const open = await task.open(recipe, channels, { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) });
  try {
    // The recipe is one of 32 bits: 16 are taken where they are asked for, and not because there are some.
    const precision = options.precision === undefined || options.precision === "auto" ? "f32" : options.precision;
    const gpu = await openDevice({ ...options, precision });
    return {
      adapter: adapterReport(gpu),
      tier: gpu.profile.tier,
      get isLost() {
        return gpu.isLost;
      },
      createEngine: async (config, engine) => {
        const { createTrainingEngine } = await import("./engine.js");
        return createTrainingEngine(gpu, config, open, { ...engine, tune: options.tune ?? "auto" });
      },
      [Symbol.asyncDispose]: async () => {
        gpu.dispose();
        await open[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await open[Symbol.asyncDispose]();
    throw error;
  }
};
