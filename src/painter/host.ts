import { type ModelHost, openModel } from "../models/host.js";
import type { FoundModel } from "../models/open.js";
import { Engine } from "./engine.js";
import type { LoadOptions } from "./types.js";

/** Opens a device and puts a model there. Nothing stays allocated where that fails. */
export const openHost = (found: FoundModel, options: LoadOptions): Promise<ModelHost<Engine>> =>
  openModel(found, options, {
    create: (gpu, source, settings) => Engine.create(gpu, found.config, source, settings),
    warm: (engine) => engine.warm("pair", found.config.mean ? "bytes" : "planes"),
  });
