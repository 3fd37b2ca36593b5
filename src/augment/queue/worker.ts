import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import type { Job, Worker } from "bullmq";
import { createWriter } from "../../datasets/open.js";
import type { DataFormat, DataSetWriter } from "../../datasets/types.js";
import { describeError, StylizingError } from "../../errors.js";
import type { LoadOptions } from "../../painter/types.js";
import { AugmentRun } from "../augment-run.js";
import { Augmenter } from "../augmenter.js";
import { headerIn, type ManifestLine } from "../manifest.js";
import { optionsOf } from "../repeat.js";
import {
  type JobData,
  JobError,
  type JobProgress,
  type JobResult,
  QUEUE_NAME,
  type RunData,
  type Shard,
  shardName,
} from "./job.js";
import { KeptLines } from "./kept-lines.js";
import { connectRedis, placeOf } from "./redis.js";

export interface WorkOptions {
  /** `redis://HOST:PORT[/DATABASE]` */
  queue: string;
  /** Shards at a time; default 1. */
  concurrency?: number | undefined;
  /** Seconds after which a worker that says nothing has lost its shard to another one; default 30. */
  lease?: number | undefined;
  /** Seconds without work after which it ends; default: never. */
  idle?: number | undefined;
  /** Where the data set, the folder of results and the model are on this machine, if not where the coordinator has them. */
  in?: string | undefined;
  out?: string | undefined;
  model?: string | undefined;
  batch?: number | undefined;
  workers?: number | undefined;
  load?: LoadOptions | undefined;
  onNote?: ((note: string) => void) | undefined;
}

export interface WorkReport {
  worker: string;
  /** That were done, given up as another worker had taken them over, and that failed. */
  shards: number;
  lost: number;
  failed: number;
  outputs: number;
  /** It ended while Redis was gone: what it was at is another worker's. */
  cutOff?: boolean;
}

/** How often workers may die of a shard before it counts as failed. */
const MOST_STALLED = 5;
/** Milliseconds that a worker which ends waits for a Redis that is gone. */
const PATIENCE = 3000;
/** Milliseconds between looks at whether there is nothing to do. */
const A_LOOK = 100;
/** Failures after which a worker is of no use. */
const FATAL = ["NO_ADAPTER", "DEVICE_LOST"];

/** Raised in a shard that belongs to another worker by now, or to a run that is over. */
class Lost extends Error {}

/**
 * Takes shards of runs off a queue, restyles them and writes what comes out, until the signal is raised; the shard at hand is finished.
 * @throws StylizingError `ARGUMENT`, `QUEUE`; as `Augmenter.open` does where a run cannot be opened here: its shard goes to another worker
 */
export async function work(options: WorkOptions, signal?: AbortSignal): Promise<WorkReport> {
  const { queue, concurrency = 1, lease = 30, idle = Number.POSITIVE_INFINITY, onNote } = options;
  const name = `${hostname()}:${process.pid}`;
  const { client: connection, end } = await connectRedis(queue, onNote);
  const { Worker: BullWorker } = await import("bullmq");
  const report: WorkReport = { worker: name, shards: 0, lost: 0, failed: 0, outputs: 0 };
  await using runs = new OpenRuns(options);
  let [atWork, last] = [0, performance.now()];
  let fatal: unknown;
  const take = async (job: Job<JobData>, token: string | undefined, lost: AbortSignal | undefined): Promise<JobResult> => {
    atWork++;
    try {
      const { run, shard } = job.data;
      const open = await runs.get(run).catch((error: unknown) => {
        if (!(error instanceof Lost)) fatal = error;
        throw error;
      });
      try {
        const held = async () => {
          // Begun anew, or finished: what would be written may be wrong by now.
          if (!(await open.isOn())) throw new Lost();
          if (lost?.aborted || !(await job.extendLock(token!, lease * 1000).catch(isLock))) throw new Lost();
        };
        const say = (samples: number) => void job.updateProgress({ worker: name, samples } satisfies JobProgress).catch(() => {});
        const lines = shard ? await open.make(shard, held, say) : [];
        await held();
        if (shard) report.shards++;
        report.outputs += lines.filter(({ error }) => !error).length;
        return { worker: name, adapters: await open.adapters(), lines };
      } finally {
        await runs.release(run);
      }
    } catch (error) {
      const what = job.data.shard ? `groups ${shardName(job.data.shard)}` : "the adapters";
      if (error instanceof Lost) {
        report.lost++;
        onNote?.(`${what}: another worker has taken them over, or the run is over`);
        throw error;
      }
      const about = describeError(error);
      if (FATAL.includes(about.code)) fatal = error;
      report.failed++;
      onNote?.(`failed: ${what}: ${about.message}`);
      // Of no use here: what is at hand goes to others.
      if (fatal) void worker.close().catch(() => {});
      throw new JobError(about);
    } finally {
      atWork--;
      last = performance.now();
    }
  };
  const worker: Worker<JobData, JobResult> = new BullWorker<JobData, JobResult>(QUEUE_NAME, take, {
    ...{ connection, concurrency, name, autorun: false, maxStalledCount: MOST_STALLED },
    ...{ lockDuration: lease * 1000, stalledInterval: lease * 1000 },
    // So soon it asks a Redis that is back.
    runRetryDelay: 1000,
  });
  worker.on("lockRenewalFailed", (ids) => {
    for (const id of ids) worker.cancelJob(id);
  });
  // Connections are watched by their own events, and a shard that was lost is told of where it is noticed.
  worker.on("error", () => {});
  const running = worker.run();
  running.catch(() => {});
  onNote?.(`${name} takes work from ${placeOf(queue)}`);
  try {
    while (!signal?.aborted && !fatal) {
      if (atWork === 0 && performance.now() - last > idle * 1000) break;
      await delay(A_LOOK, undefined, signal ? { signal } : {}).catch(() => {});
    }
    // The engine's own end waits for ever where Redis is gone.
    const closed = worker.close(atWork === 0).then(
      () => true,
      () => true,
    );
    const waiting = new AbortController();
    for (let isClosed = false; !isClosed && !report.cutOff; ) {
      isClosed = await Promise.race([closed, delay(PATIENCE, false, { signal: waiting.signal }).catch(() => false)]);
      if (!isClosed && connection.status !== "ready") report.cutOff = true;
    }
    waiting.abort();
  } finally {
    end();
  }
  if (fatal) throw fatal;
  return report;
}

/** Whether a lock could be made longer: another's, and one that is no more, cannot. */
function isLock(error: Error): number {
  if (/lock/i.test(error.message)) return 0;
  throw error;
}

/** A run as a worker has it: its data set, its styles, its methods, and where its results go. */
class OpenRun {
  readonly #augmenter: Augmenter;
  readonly #writer: DataSetWriter;
  readonly #data: RunData;
  readonly #out: string;

  private constructor(augmenter: Augmenter, writer: DataSetWriter, data: RunData, out: string) {
    this.#out = out;
    this.#augmenter = augmenter;
    this.#writer = writer;
    this.#data = data;
  }

  static async open(run: RunData, options: WorkOptions): Promise<OpenRun> {
    const { in: place, model, batch, workers, onNote } = options;
    const { model: found, ...about } = run.load;
    const load = { ...options.load, ...(about as LoadOptions) };
    const augmenter = await Augmenter.open(
      optionsOf(run.header, { in: place, model: model ?? found, batch, workers, load, onNote }),
    );
    try {
      const out = options.out ?? run.out;
      const id = await KeptLines.idIn(out);
      // A job that nobody took back when its run was ended, or begun anew.
      if (id !== run.folder && (id !== undefined || (await headerIn(out)))) throw new Lost();
      if (id !== run.folder)
        throw new StylizingError(
          "OUTPUT",
          `${out} is not the folder that the run writes to.`,
          "Share that folder with the machine of `augment --queue`, or say with --out where it is here.",
        );
      const { count, path } = augmenter.data!;
      if (count !== run.samples)
        throw new StylizingError(
          "ARGUMENT",
          `${path} has ${count} samples here, and ${run.samples} where the run was begun.`,
          "Give the same data set with --in.",
        );
      const format = run.header.output.format as DataFormat;
      const writer = await createWriter(format, out, { like: augmenter.data!, joins: true });
      // Whatever is missing here shows now, and not in the middle.
      await augmenter.adapters();
      return new OpenRun(augmenter, writer, run, out);
    } catch (error) {
      await augmenter[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Whether the folder of results is the run's still. */
  async isOn(): Promise<boolean> {
    return (await KeptLines.idIn(this.#out)) === this.#data.folder;
  }

  adapters(): Promise<Record<string, unknown>> {
    return this.#augmenter.adapters();
  }

  /**
   * Restyles and writes a shard.
   * @param held throws where the shard is another worker's.
   * @param say receives how many of its samples are done.
   * @returns its lines of the manifest.
   */
  async make({ first, groups }: Shard, held: () => Promise<void>, say: (samples: number) => void): Promise<ManifestLine[]> {
    const { copies, keepOriginals, group } = this.#data.header.output;
    const lines: ManifestLine[] = [];
    let stopped: unknown;
    const write: DataSetWriter["write"] = async (number, outputs) => {
      try {
        await held();
        await this.#writer.write(number, outputs);
      } catch (error) {
        stopped = error;
        throw error;
      }
    };
    const sink = { add: async (some: readonly ManifestLine[]) => void lines.push(...some) };
    const from = first * group;
    const onProgress = (done: number) => say(done - from);
    const run = new AugmentRun(
      this.#augmenter,
      { ...this.#writer, write },
      sink,
      { group, copies, keepOriginals },
      { onProgress },
    );
    await run.run(from, Math.min((first + groups) * group, this.#augmenter.data!.count), undefined);
    if (stopped) throw stopped;
    return lines;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer[Symbol.asyncDispose]();
    await this.#augmenter[Symbol.asyncDispose]();
  }
}

/** The run that was worked at last stays open, and those that are worked at. */
class OpenRuns implements AsyncDisposable {
  readonly #options: WorkOptions;
  readonly #runs = new Map<string, { open: Promise<OpenRun>; users: number }>();
  #last = "";

  constructor(options: WorkOptions) {
    this.#options = options;
  }

  /** `release` it. */
  async get(run: RunData): Promise<OpenRun> {
    this.#last = run.id;
    const known = this.#runs.get(run.id) ?? { open: OpenRun.open(run, this.#options), users: 0 };
    this.#runs.set(run.id, known);
    known.users++;
    try {
      return await known.open;
    } catch (error) {
      this.#runs.delete(run.id);
      throw error;
    }
  }

  async release({ id }: RunData): Promise<void> {
    const run = this.#runs.get(id);
    if (run) run.users--;
    for (const [one, { open, users }] of this.#runs) {
      if (users > 0 || one === this.#last) continue;
      this.#runs.delete(one);
      await (await open)[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { open } of this.#runs.values()) await (await open)[Symbol.asyncDispose]();
    this.#runs.clear();
  }
}
