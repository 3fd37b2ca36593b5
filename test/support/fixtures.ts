import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { type ModelConfig, parseConfig } from "../../src/models/stylizing-vit/config.js";
import { difference } from "./compare.js";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** Material that is larger than a repository should hold lies beside the checkout, where there is any. */
export const shared = join(root, "..", "shared");

export interface Golden {
  name: string;
  folder: string;
  config: ModelConfig;
  batch: number;
  /** A model as `load` takes it. */
  model: string;
  tensors: Map<string, Float32Array>;
}

/** Folder of a golden case: the nano one comes with the project. `checkout` is the project's folder. */
export function goldenFolder(name: string, checkout = root): string | undefined {
  const folders = [join(checkout, "test/fixtures", name), join(checkout, "..", "shared", "golden", name)];
  return folders.find((folder) => existsSync(folder));
}

export async function loadGolden(name: string, checkout = root): Promise<Golden> {
  const folder = goldenFolder(name, checkout);
  if (!folder) throw new Error(`no golden case ${name}`);
  const info = JSON.parse(readFileSync(join(folder, "case.json"), "utf8")) as {
    config: unknown;
    batch: number;
    seed: number;
    weights: string;
  };
  const file = await SafetensorsFile.open(join(folder, "case.safetensors"));
  const tensors = new Map<string, Float32Array>();
  for (const key of file.tensors.keys()) tensors.set(key, await file.read(key));
  await file.close();
  return {
    name,
    folder,
    config: parseConfig(info.config, name),
    batch: info.batch,
    model: info.weights === "hashed" ? `hashed:${info.seed}` : join(folder, info.weights),
    tensors,
  };
}

/** max |actual - expected| / max |expected|; infinite where a value is not a number. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  const { error, scale } = difference(actual, expected);
  return error / scale;
}
