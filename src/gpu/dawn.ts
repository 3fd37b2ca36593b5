import { createRequire } from "node:module";
import { isMainThread } from "node:worker_threads";
import { StylizingError } from "../errors.js";

/**
 * Dawn's Node binding, loaded on first use and never installed on `globalThis`: other copies of WebGPU in the same
 * process keep theirs, and `import "stylizing-vit"` itself cannot fail for want of a system library.
 */

/** WebGPU's own constants; the binding exports them, the type package declares them as globals. */
export const BufferUsage = {
  MAP_READ: 1,
  MAP_WRITE: 2,
  COPY_SRC: 4,
  COPY_DST: 8,
  UNIFORM: 64,
  STORAGE: 128,
  QUERY_RESOLVE: 512,
} as const;
export const MAP_READ = 1;
export const COMPUTE_STAGE = 4;

/**
 * Flags of every instance. `vulkan_enable_f16_on_nvidia` only makes the feature visible: it is asked for after its trial.
 * `disable_robustness` drops the bounds checks that Dawn adds to every access; each kernel guards its own, and tests hold
 * them to it. `disable_workgroup_init` drops the zeros that are written into workgroup memory at every launch: kernels write
 * theirs before they read it. Quantised timestamps (65 µs) are too coarse to measure a kernel with.
 */
const ENABLED = [
  "allow_unsafe_apis",
  "vulkan_enable_f16_on_nvidia",
  "use_vulkan_memory_model",
  "disable_robustness",
  "disable_workgroup_init",
];
const DISABLED = ["timestamp_quantization"];

/**
 * Refuses worker threads: one that is ended while Dawn is at work takes the whole process with it, and a thread's variables do not reach
 * the loader of drivers, so that none is found though there is one.
 * @throws StylizingError `NO_ADAPTER`
 */
export function refuseWorkerThread(): void {
  if (isMainThread) return;
  throw new StylizingError(
    "NO_ADAPTER",
    "A device cannot be opened in a worker thread.",
    "Load the model in the main thread, where images are read in threads of their own, or in a child process.",
  );
}

type CreateGpu = (flags: string[]) => GPU;

let create: CreateGpu | undefined;

async function binding(): Promise<CreateGpu> {
  try {
    create ??= ((await import("webgpu")) as unknown as { create: CreateGpu }).create;
    return create;
  } catch (cause) {
    throw new StylizingError(
      "NO_ADAPTER",
      `The WebGPU binding could not be loaded on ${process.platform}-${process.arch}: ${cause instanceof Error ? cause.message : cause}.`,
      "It needs Linux (glibc 2.34 or later, x64 or arm64), macOS or Windows; reinstall with `npm install webgpu`.",
      { cause },
    );
  }
}

/**
 * A new Dawn instance; `backend` names one (`null` validates shaders and executes nothing), `adapter` the
 * first adapter that has this in its name. Keep it for as long as a device
 * of it lives: Dawn crashes where it is collected before.
 */
export async function createInstance({ backend, adapter }: { backend?: "null"; adapter?: string } = {}): Promise<GPU> {
  // For measuring what else a toggle is worth, as `skip_validation`: commas between names.
  const more = process.env.STYLIZING_VIT_DAWN?.split(",").filter((name) => name !== "") ?? [];
  const flags = [`enable-dawn-features=${[...ENABLED, ...more].join(",")}`, `disable-dawn-features=${DISABLED.join(",")}`];
  if (backend) flags.push(`backend=${backend}`);
  if (adapter !== undefined) flags.push(`adapter=${adapter}`);
  return (await binding())(flags);
}

/** Version of the installed binding, for reports. */
export function bindingVersion(): string {
  return (createRequire(import.meta.url)("webgpu/package.json") as { version: string }).version;
}
