import { stat } from "node:fs/promises";
import path from "node:path";
import type { DataSet } from "../../datasets/types.js";
import type { LoadOptions } from "../../painter/types.js";
import type { AugmentRun, LineSink } from "../augment-run.js";
import { errorOf } from "../failures.js";
import type { ManifestHeader, ManifestLine } from "../manifest.js";
import { sha256 } from "../style-source.js";
import { Coordinator, type FailedShard } from "./coordinator.js";
import type { RunData, Shard } from "./job.js";
import { KeptLines } from "./kept-lines.js";

interface SharedRunOptions {
  load?: LoadOptions | undefined;
  onNote?: ((note: string) => void) | undefined;
  onProgress?: ((done: number, total: number, detail?: string) => void) | undefined;
}

/** A run of `augmentDataSet` whose groups are made by workers. */
export class SharedRun implements AsyncDisposable {
  readonly #coordinator: Coordinator;
  readonly #options: SharedRunOptions;
  #run: RunData | undefined;
  #kept: KeptLines | undefined;

  private constructor(coordinator: Coordinator, options: SharedRunOptions) {
    this.#coordinator = coordinator;
    this.#options = options;
  }

  /** @throws StylizingError `ARGUMENT` for what is no address, `QUEUE` where there is no Redis */
  static async open(url: string, options: SharedRunOptions): Promise<SharedRun> {
    return new SharedRun(await Coordinator.open(url, options), options);
  }

  /** Begins a run, or goes on with the one that is in the folder of results. @throws StylizingError `OUTPUT`; `QUEUE` where another one does */
  async begin(
    header: RunData["header"],
    data: DataSet,
    { out, overwrite }: { out: string; overwrite: boolean },
    signal?: AbortSignal,
  ): Promise<void> {
    const before = await KeptLines.idIn(out);
    // Nor is a run begun anew under the hands of who is at it.
    if (before !== undefined) await this.#coordinator.claim({ id: before, out }, signal);
    this.#kept = await KeptLines.open(out, overwrite);
    const { id: folder } = this.#kept;
    if (folder !== before) await this.#coordinator.claim({ id: folder, out }, signal);
    const id = `${folder}-${sha256(Buffer.from(JSON.stringify(header))).slice(0, 8)}`;
    const { config, preset, precision } = (this.#options.load ?? {}) as { config?: unknown; preset?: string; precision?: string };
    const { model } = header.pipeline as { model?: string };
    const found = model !== undefined && (await stat(model).catch(() => undefined)) ? path.resolve(model) : undefined;
    this.#run = {
      ...{ id, folder, header, samples: data.count, out: path.resolve(out) },
      load: {
        ...(found === undefined ? {} : { model: found }),
        ...(config === undefined ? {} : { config: typeof config === "string" ? path.resolve(config) : config }),
        ...(preset === undefined ? {} : { preset }),
        ...(precision === undefined ? {} : { precision }),
      },
    };
  }

  /** What methods run on: as the first worker says. @throws StylizingError what workers say where they cannot open the run */
  adapters(signal?: AbortSignal): Promise<ManifestHeader["adapters"]> {
    return this.#coordinator.adapters(this.#run!, signal);
  }

  /**
   * Has all groups made.
   * @param options `from`: the first group; `each`: groups of a shard; `tally` counts, and says what failed.
   */
  async run(
    {
      from,
      each,
      adapters,
      sink,
      tally: { counts, failures },
    }: { from: number; each: number; adapters: ManifestHeader["adapters"]; sink: LineSink; tally: AugmentRun },
    signal?: AbortSignal,
  ): Promise<FailedShard[]> {
    const { samples, header } = this.#run!;
    const { group } = header.output;
    const groups = Math.ceil(samples / group);
    const shards: Shard[] = [];
    // Cut where a run from the beginning has them, so that what is kept fits.
    for (let first = from; first < groups; first += shards.at(-1)!.groups)
      shards.push({ first, groups: Math.min(each - (first % each), groups - first) });
    const samplesOf = (shard: Shard) => Math.min(samples, (shard.first + shard.groups) * group) - shard.first * group;
    const add = async (lines: readonly ManifestLine[]) => {
      await sink.add(lines);
      for (const line of lines) {
        counts.add(line);
        if (line.error) failures.add(line.copy > 0 ? `${line.source}, copy ${line.copy}` : line.source, errorOf(line.error));
      }
    };
    return this.#coordinator.run(
      this.#run!,
      { shards, kept: this.#kept!, adapters, add, samplesOf },
      (done, detail) => this.#options.onProgress?.(from * group + done, samples, detail),
      signal,
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#coordinator[Symbol.asyncDispose]();
  }
}
