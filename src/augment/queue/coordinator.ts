import { setTimeout as delay } from "node:timers/promises";
import type { Job, Queue } from "bullmq";
import { messageOf, StylizingError } from "../../errors.js";
import type { ErrorReport } from "../failures.js";
import { errorOf } from "../failures.js";
import type { ManifestLine } from "../manifest.js";
import { Claim } from "./claim.js";
import {
  type JobData,
  type JobProgress,
  type JobResult,
  QUEUE_NAME,
  type RunData,
  reportOf,
  type Shard,
  shardName,
} from "./job.js";
import type { KeptLines } from "./kept-lines.js";
import { type Connection, connectRedis, placeOf } from "./redis.js";

/** Shards that are in the queue at a time: what workers give back is held there until it is fetched. */
const IN_QUEUE = 64;
/** Milliseconds between looks at them. */
const A_LOOK = 200;
/** Looks between counts of workers. */
const A_COUNT = 10;
/** Times that a shard is tried. */
const ATTEMPTS = 3;
const RETRY_MS = 1000;
/** Shards that fail one after another, behind which no further one is tried: of a full disk, say. */
const HOPELESS = 16;
/** Milliseconds that an ending run waits for a Redis that does not answer. */
const PATIENCE = 2000;
/** Seconds after which the engine may forget what nobody fetched. */
const A_WEEK = 604_800;

export interface CoordinatorOptions {
  onNote?: ((note: string) => void) | undefined;
}

/** What is to be done of a run. */
export interface Work {
  shards: readonly Shard[];
  kept: KeptLines;
  /** That the manifest names. */
  adapters: Record<string, unknown>;
  /** Receives lines of the manifest. */
  add: (lines: readonly ManifestLine[]) => Promise<void>;
  /** How many samples a shard has. */
  samplesOf: (shard: Shard) => number;
}

/** How a job stands. */
type Found = { state: "waiting" } | { state: "active" | "completed" | "failed"; job: Job<JobData, JobResult> };

/** A shard that nobody could make. */
export interface FailedShard extends Shard {
  error: ErrorReport;
}

/** Puts shards of a run into a queue and fetches what workers make of them. Nothing is lost with Redis: what is missing there is put again. */
export class Coordinator implements AsyncDisposable {
  readonly #place: string;
  readonly #connection: Connection;
  readonly #queue: Queue<JobData, JobResult>;
  readonly #options: CoordinatorOptions;
  #claim: Claim | undefined;
  #workers = -1;
  #adapters = "";
  #told = false;
  #looks = 0;

  private constructor(place: string, connection: Connection, queue: Queue<JobData, JobResult>, options: CoordinatorOptions) {
    this.#place = place;
    this.#connection = connection;
    this.#queue = queue;
    this.#options = options;
  }

  /** @throws StylizingError `ARGUMENT` for what is no address, `QUEUE` where there is no Redis */
  static async open(url: string, options: CoordinatorOptions): Promise<Coordinator> {
    const connection = await connectRedis(url, options.onNote);
    const { Queue: BullQueue } = await import("bullmq");
    const queue = new BullQueue<JobData, JobResult>(QUEUE_NAME, { connection: connection.client });
    queue.on("error", () => {});
    return new Coordinator(placeOf(url), connection, queue, options);
  }

  /** Makes a run this coordinator's, before anything is written for it. @throws StylizingError `QUEUE` where it is another's */
  async claim(run: { id: string; out: string }, signal?: AbortSignal): Promise<void> {
    await this.#claim?.release();
    this.#claim = new Claim(this.#connection.client, run);
    while (!(await this.#ask(this.#claim.hold(), signal))) await this.#rest(signal);
  }

  /** Which adapters methods run on, by the first worker that answers. @throws StylizingError what workers say where they cannot open the run */
  async adapters(run: RunData, signal?: AbortSignal): Promise<Record<string, unknown>> {
    const id = `${run.id}-adapters`;
    for (;;) {
      const found = await this.#look(id, signal);
      if (!found) await this.#put(id, { run }, signal);
      else if ("job" in found && found.state !== "active") {
        await this.#remove(found.job, signal);
        if (found.state === "failed") throw errorOf(reportOf(found.job.failedReason));
        return found.job.returnvalue.adapters;
      }
      await this.#keep(true, signal);
      await this.#rest(signal);
    }
  }

  /**
   * Has shards made. Lines are handed on in the order of `shards`; what is done before others in front of it is kept in files.
   * @param onProgress receives how many samples are done, and words about who does them.
   * @returns shards that could not be made; the lines of those behind the first one stay in files.
   * @throws the signal's reason when aborted
   */
  async run(
    run: RunData,
    { shards, kept, add, samplesOf, adapters }: Work,
    onProgress: (samples: number, detail: string) => void,
    signal?: AbortSignal,
  ): Promise<FailedShard[]> {
    this.#adapters = JSON.stringify(adapters);
    const failed: FailedShard[] = [];
    const known = new Set<string>();
    const inQueue = new Map<string, Shard>();
    let [put, next, samples, inARow] = [0, 0, 0, 0];
    /** Hands on what is there of the shards in front. */
    const handOn = async () => {
      for (; next < shards.length && kept.has(shards[next]!); next++) {
        const shard = shards[next]!;
        await add(await kept.get(shard));
        await kept.drop(shard);
      }
    };
    try {
      while (put < shards.length || inQueue.size > 0) {
        for (; put < shards.length && inQueue.size < IN_QUEUE; put++) {
          const shard = shards[put]!;
          if (kept.has(shard)) samples += samplesOf(shard);
          else inQueue.set(`${run.id}-${shardName(shard)}`, shard);
        }
        await handOn();
        let underWay = 0;
        for (const [id, shard] of inQueue) {
          let found = await this.#look(id, signal);
          // What failed for a coordinator before is tried again.
          if (found?.state === "failed" && !known.has(id)) {
            await this.#remove(found.job, signal);
            found = undefined;
          }
          known.add(id);
          if (!found) {
            // New, or lost with what Redis knew.
            await this.#put(id, { run, shard }, signal);
            continue;
          }
          if (found.state === "waiting") continue;
          if (found.state === "active") {
            underWay += (found.job.progress as Partial<JobProgress>).samples ?? 0;
            continue;
          }
          inQueue.delete(id);
          inARow = found.state === "failed" ? inARow + 1 : 0;
          if (found.state === "failed") {
            const error = reportOf(found.job.failedReason);
            failed.push({ ...shard, error });
            this.#options.onNote?.(`failed: groups ${shardName(shard)}: ${error.message}`);
          } else {
            const lines = this.#linesOf(found.job.returnvalue);
            samples += samplesOf(shard);
            if (shard === shards[next]) {
              await add(lines);
              next++;
            } else await kept.put(shard, lines);
          }
          await this.#remove(found.job, signal);
        }
        await handOn();
        if (inARow >= HOPELESS) {
          this.#options.onNote?.(`${inARow} parts failed one after another: no further one is begun`);
          await this.#takeBack(inQueue.keys());
          return failed;
        }
        await this.#keep(inQueue.size > 0, signal);
        onProgress(samples + underWay, `${this.#workers} ${this.#workers === 1 ? "worker" : "workers"}`);
        if (inQueue.size > 0) await this.#rest(signal);
      }
      return failed;
    } catch (error) {
      // What nobody has begun is taken back; what workers are at is fetched when the run is gone on with.
      if (signal?.aborted) await this.#takeBack(inQueue.keys());
      throw error;
    }
  }

  /** Lines of a shard: what ran on other adapters than the manifest names says so. */
  #linesOf({ lines, adapters, worker }: JobResult): ManifestLine[] {
    if (JSON.stringify(adapters) === this.#adapters) return lines;
    if (!this.#told)
      this.#options.onNote?.(
        `${worker} has other adapters than the first worker: results may differ by one level, and its lines name them`,
      );
    this.#told = true;
    return lines.map((line) => ({ ...line, adapters }));
  }

  /** A job and how it stands. */
  async #look(id: string, signal: AbortSignal | undefined): Promise<Found | undefined> {
    const state = await this.#ask(this.#queue.getJobState(id), signal);
    if (state === "unknown") return undefined;
    if (state !== "active" && state !== "completed" && state !== "failed") return { state: "waiting" };
    const job = await this.#ask(this.#queue.getJob(id), signal);
    return job ? { job: job as Job<JobData, JobResult>, state } : undefined;
  }

  async #put(id: string, data: JobData, signal: AbortSignal | undefined): Promise<void> {
    const backoff = { type: "fixed", delay: RETRY_MS };
    const keep = { removeOnComplete: { age: A_WEEK }, removeOnFail: { age: A_WEEK } };
    await this.#ask(this.#queue.add("shard", data, { jobId: id, attempts: ATTEMPTS, backoff, ...keep }), signal);
  }

  /** An answer, unless the signal is raised before it. @throws StylizingError `QUEUE` for what Redis refuses */
  async #ask<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    return unlessRaised(
      work.catch((cause: unknown) => {
        if (cause instanceof StylizingError) throw cause;
        const fix = "Look at its memory and its settings; the same command goes on where this one ended.";
        throw new StylizingError("QUEUE", `${this.#place} refuses its service: ${messageOf(cause)}.`, fix, { cause });
      }),
      signal,
    );
  }

  /** What cannot be removed, as Redis has just lost it, is gone as well. */
  async #remove(job: Job<JobData, JobResult>, signal: AbortSignal | undefined): Promise<void> {
    await this.#ask(
      job.remove().catch(() => {}),
      signal,
    );
  }

  async #takeBack(ids: Iterable<string>): Promise<void> {
    const all = Promise.all([...ids].map((id) => this.#queue.remove(id).catch(() => {})));
    await Promise.race([all, delay(PATIENCE, undefined, { ref: false })]);
  }

  async #rest(signal: AbortSignal | undefined): Promise<void> {
    await delay(A_LOOK, undefined, signal ? { signal } : {}).catch(() => {});
    signal?.throwIfAborted();
  }

  /** Renews the claim, counts workers now and then, and says where there is none. */
  async #keep(isNeeded: boolean, signal: AbortSignal | undefined): Promise<void> {
    await this.#ask(this.#claim!.hold(), signal);
    if (this.#looks++ % A_COUNT !== 0) return;
    const before = this.#workers;
    this.#workers = await this.#ask(
      this.#queue.getWorkersCount().catch(() => Math.max(0, before)),
      signal,
    );
    if (isNeeded && this.#workers === 0 && before !== 0)
      this.#options.onNote?.(
        `no worker takes work from ${this.#place}${before > 0 ? " any more" : " yet"}: start \`stylizing-vit worker --queue ${this.#place}\``,
      );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const close = async () => {
      await this.#claim?.release();
      await this.#queue.close();
    };
    await Promise.race([close().catch(() => {}), delay(PATIENCE, undefined, { ref: false })]);
    this.#connection.end();
  }
}

/** What a command that waits for Redis gives, unless the signal is raised before. */
async function unlessRaised<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  signal.throwIfAborted();
  work.catch(() => {});
  let raise: () => void = () => {};
  const raised = new Promise<never>((_, reject) => {
    raise = () => reject(signal.reason);
    signal.addEventListener("abort", raise, { once: true });
  });
  try {
    return await Promise.race([work, raised]);
  } finally {
    signal.removeEventListener("abort", raise);
  }
}
