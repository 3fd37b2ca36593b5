import { StylizingError } from "../errors.js";
import { type AdapterReport, adapterReport, type Gpu } from "../gpu/gpu.js";
import type { Tier } from "../gpu/profile.js";
import { checkWorkers } from "../image/pool.js";
import { versions } from "../version.js";
import { checkGpuOptions, type GpuOptions } from "./device.js";

/** How far the loading of a model is. */
export interface LoadProgress {
  phase: "download" | "verify" | "upload" | "compile" | "ready";
  /** Bytes while downloading, layers while uploading. */
  loaded: number;
  total: number;
  /** While downloading. */
  file?: string;
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

export function modelReport(model: string, gpu: Gpu): ModelReport {
  const { tier, notes } = gpu.profile;
  return { model, adapter: adapterReport(gpu), tier, notes, versions: versions() };
}

/** For people: the model, the adapter and the tier. */
export const describeModel = ({ model, adapter, tier }: ModelReport): string =>
  `${model} on ${adapter.name}, ${tier}${adapter.software ? " (a CPU: slow; right for a first look and for tests)" : ""}`;

/** @throws StylizingError `ARGUMENT` */
export function checkBatchSize(size: number): void {
  if (!(Number.isSafeInteger(size) && size > 0))
    throw new StylizingError("ARGUMENT", `batchSize is ${size}.`, "Give a positive integer.");
}

/** Looks at what no later step may come to look at. @throws StylizingError `ARGUMENT`; the signal's reason when aborted */
export function checkLoadOptions(
  options: GpuOptions & { batchSize?: number | undefined; workers?: number | undefined; signal?: AbortSignal | undefined },
): void {
  const { batchSize, workers, signal } = options;
  if (batchSize !== undefined) checkBatchSize(batchSize);
  checkWorkers(workers);
  checkGpuOptions(options);
  signal?.throwIfAborted();
}

/** Images a submission where nothing else limits it: large enough to fill a GPU, small enough for a CPU to answer between. */
const DEFAULT_BATCH = { hardware: 64, software: 4 };

/**
 * Images that one submission may hold on a device.
 * @param one of an image: bytes of its largest activation, its sequences, and their rows in all
 * @throws StylizingError `GPU` where not even one image fits the device's limits
 */
export function largestBatch(
  { profile: { limits, software } }: Gpu,
  one: { bytes: number; sequences: number; rows: number },
  wanted?: number,
): number {
  const { maxStorageBufferBindingSize, maxBufferSize, maxComputeWorkgroupsPerDimension: most } = limits;
  const limit = Math.min(maxStorageBufferBindingSize, maxBufferSize);
  const largest = Math.min(
    Math.floor(limit / one.bytes),
    Math.floor(most / one.sequences),
    // The row tiles of the smallest linear grid: 16 rows a workgroup.
    Math.floor((most * 16) / one.rows),
  );
  if (largest < 1) {
    throw new StylizingError(
      "GPU",
      `One image of this model needs a buffer of ${one.bytes} bytes, and this device allows ${limit}.`,
      "Use a smaller image size or another device.",
    );
  }
  return Math.min(wanted ?? DEFAULT_BATCH[software ? "software" : "hardware"], largest);
}
