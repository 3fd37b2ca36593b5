import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, StylizingError } from "../errors.js";
import { SafetensorsFile } from "./safetensors.js";
import type { WeightSource } from "./weight-source.js";

const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** A published or trained model's weights on disk: one file, several shards with an index, or a folder with either. */
export class Checkpoint implements WeightSource {
  readonly label: string;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** The folder's `config.json`, parsed but not checked; undefined where there is none or a file was opened. */
  readonly config: unknown;
  /** The text of it, and its path: for messages. */
  readonly configText: string | undefined;
  readonly configPath: string | undefined;
  readonly #config: Config | undefined;
  readonly #files: readonly SafetensorsFile[];
  readonly #where: ReadonlyMap<string, Place>;

  private constructor(label: string, files: readonly SafetensorsFile[], where: Map<string, Place>, config: Config | undefined) {
    this.label = label;
    this.shapes = new Map([...where].map(([key, { file, name }]) => [key, file.tensors.get(name)!.shape]));
    this.config = config?.value;
    this.configText = config?.text;
    this.configPath = config?.path;
    this.#config = config;
    this.#files = files;
    this.#where = where;
  }

  /**
   * Opens a `.safetensors` file, a Hugging Face `*.safetensors.index.json` with its shards beside it, or a folder with
   * `model.safetensors` (else `model.safetensors.index.json`) and perhaps `config.json`. Reads headers only.
   * @throws StylizingError `CHECKPOINT` when weights are missing or damaged, `CONFIG` when `config.json` is not JSON
   */
  static async open(path: string): Promise<Checkpoint> {
    let weights = path;
    let config: Config | undefined;
    if ((await stat(path).catch(() => undefined))?.isDirectory()) {
      weights = (await exists(join(path, WEIGHTS))) ? join(path, WEIGHTS) : join(path, INDEX);
      if (!(await exists(weights))) {
        throw refused(
          path,
          `has neither ${WEIGHTS} nor ${INDEX}`,
          "Give a folder with one of them, or the path of the weights file.",
        );
      }
      config = await readConfig(join(path, "config.json"));
    }
    const files: SafetensorsFile[] = [];
    try {
      const where = new Map<string, Place>();
      if (weights.endsWith(".index.json")) {
        const shards = new Map<string, SafetensorsFile>();
        for (const [name, shard] of await readShardIndex(weights)) {
          let file = shards.get(shard);
          if (file === undefined) {
            file = await SafetensorsFile.open(join(dirname(weights), shard));
            files.push(file);
            shards.set(shard, file);
          }
          if (!file.tensors.has(name)) {
            throw refused(weights, `places ${name} in ${shard}, which does not hold it`, "Fetch the index and all shards again.");
          }
          place(weights, where, file, name);
        }
      } else {
        const file = await SafetensorsFile.open(weights);
        files.push(file);
        for (const name of file.tensors.keys()) place(weights, where, file, name);
      }
      return new Checkpoint(path, files, where, config);
    } catch (error) {
      await Promise.all(files.map((file) => file.close()));
      throw error;
    }
  }

  /**
   * Opens it once more, after `close()` too. Headers are not read again unless a file has changed since.
   * @throws StylizingError as `open` does
   */
  async reopen(): Promise<Checkpoint> {
    const files = new Map<SafetensorsFile, SafetensorsFile>();
    try {
      for (const file of this.#files) files.set(file, await file.reopen());
      if ([...files].every(([before, now]) => now.tensors === before.tensors)) {
        const where = new Map([...this.#where].map(([key, { file, name }]) => [key, { file: files.get(file)!, name }] as const));
        return new Checkpoint(this.label, [...files.values()], where, this.#config);
      }
    } catch (error) {
      await Promise.all([...files.values()].map((file) => file.close()));
      throw error;
    }
    await Promise.all([...files.values()].map((file) => file.close()));
    return Checkpoint.open(this.label);
  }

  /**
   * The values of one weight, row-major, F16 and BF16 widened.
   * @throws StylizingError `CHECKPOINT` when there is no such key, or its values are unreadable, of another dtype or not finite
   */
  async read(key: string): Promise<Float32Array> {
    const found = this.#where.get(key);
    if (found === undefined)
      throw refused(this.label, `has no tensor ${key}`, "Check that the checkpoint belongs to this model.");
    return found.file.read(found.name);
  }

  /** Closes its files; safe to call twice. */
  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Where the tensor of a published key is: the file, and its name there. */
interface Place {
  file: SafetensorsFile;
  name: string;
}

interface Config {
  path: string;
  text: string;
  value: unknown;
}

/** Enters a tensor under its published key: without the wrapper's `module.`, and without the training-only VGG. */
function place(path: string, where: Map<string, Place>, file: SafetensorsFile, name: string): void {
  const key = name.replace(/^(?:module\.)+/, "");
  if (key.startsWith("vgg_encoder.")) return;
  const other = where.get(key);
  if (other !== undefined) {
    throw refused(
      path,
      `holds both ${other.name} and ${name}, which are the same weight`,
      "Save it again with only one of them.",
    );
  }
  where.set(key, { file, name });
}

/**
 * The `weight_map` of a Hugging Face index: shard file by tensor name. Shards are plain file names beside the index.
 * @throws StylizingError `CHECKPOINT` when the index is missing, malformed, or names a file elsewhere
 */
export async function readShardIndex(path: string): Promise<Map<string, string>> {
  const again = "Fetch the index again.";
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    throw refused(path, `cannot be read as an index of shards (${messageOf(error)})`, again, error);
  }
  const map = typeof json === "object" && json !== null && "weight_map" in json ? json.weight_map : undefined;
  if (typeof map !== "object" || map === null || Array.isArray(map) || Object.keys(map).length === 0) {
    throw refused(path, "has no weight_map", again);
  }
  const index = new Map<string, string>();
  for (const [name, shard] of Object.entries(map)) {
    // Whoever wrote the index must not choose which of the user's files are read or, when downloading, written.
    if (typeof shard !== "string" || !/^[^/\\:\0]+\.safetensors$/.test(shard)) {
      throw refused(path, `places ${name} in ${JSON.stringify(shard)}, which is not a .safetensors file beside it`, again);
    }
    index.set(name, shard);
  }
  return index;
}

async function readConfig(path: string): Promise<Config | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new StylizingError("CONFIG", `${path} cannot be read (${messageOf(error)}).`, "Check its permissions.", {
      cause: error,
    });
  }
  try {
    return { path, text, value: JSON.parse(text.replace(/^\uFEFF/, "")) };
  } catch (error) {
    throw new StylizingError("CONFIG", `${path} is not JSON (${messageOf(error)}).`, "Correct or remove it.", { cause: error });
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

function refused(path: string, problem: string, fix: string, cause?: unknown): StylizingError {
  return new StylizingError("CHECKPOINT", `${path} ${problem}.`, fix, cause === undefined ? {} : { cause });
}
