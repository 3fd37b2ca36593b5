import { type AdapterReport, adapterReport, type GpuOptions, openGpu } from "../gpu/gpu.js";
import type { Tier } from "../gpu/profile.js";
import type { DownloadOptions } from "../hub/download.js";
import type { ModelConfig } from "../model/config.js";
import type { TrainingEngineOptions } from "./engine.js";
import type { TrainingEngine } from "./types.js";

export interface HostOptions extends GpuOptions {
  /** Where the frozen VGG-19 of the losses comes from: `hub`, a file, or `random:SEED`. */
  vgg: string;
  channels: number;
  signal?: AbortSignal | undefined;
  onProgress?: DownloadOptions["onProgress"];
}

/** A device and the weights of the losses' network: all that an engine needs and that may have to be opened anew. */
export interface TrainingHost extends AsyncDisposable {
  readonly adapter: AdapterReport;
  readonly tier: Tier;
  readonly isLost: boolean;
  createEngine(config: ModelConfig, options: Omit<TrainingEngineOptions, "vgg">): Promise<TrainingEngine>;
}

export type OpenHost = (options: HostOptions) => Promise<TrainingHost>;

/**
 * Opens a device, and before it the VGG's weights, which may have to be fetched.
 * @throws StylizingError `ARGUMENT`, `CHECKPOINT`, `DOWNLOAD`, `OUTPUT`, `NO_ADAPTER` or `GPU`.
 */
export const openTrainingHost: OpenHost = async ({ vgg: source, channels, signal, onProgress, ...options }) => {
  const { openVgg } = await import("./vgg-weights.js");
  const vgg = await openVgg(source, channels, {
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
  });
  try {
    // The recipe is one of 32 bits: 16 are taken where they are asked for, and not because there are some.
    const precision = options.precision === undefined || options.precision === "auto" ? "f32" : options.precision;
    const gpu = await openGpu({ ...options, precision });
    return {
      adapter: adapterReport(gpu),
      tier: gpu.profile.tier,
      get isLost() {
        return gpu.isLost;
      },
      createEngine: async (config, engine) => {
        const { createTrainingEngine } = await import("./engine.js");
        return createTrainingEngine(gpu, config, { ...engine, vgg });
      },
      [Symbol.asyncDispose]: async () => {
        gpu.dispose();
        await vgg[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await vgg[Symbol.asyncDispose]();
    throw error;
  }
};
