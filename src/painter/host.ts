import type { Gpu } from "../gpu/gpu.js";
import type { WeightSource } from "../hub/weight-source.js";
import { ModelHost } from "../models/host.js";
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

/** Opens a device and puts a model there. Nothing stays allocated where that fails. */
export const openHost = (found: FoundModel, options: LoadOptions): Promise<ModelHost<Engine>> =>
  ModelHost.open((gpu, again) => createEngine(gpu, found, again ? { ...options, onProgress: () => {} } : options), options);
