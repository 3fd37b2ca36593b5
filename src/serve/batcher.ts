import type { Augmented, AugmentItem } from "../augment/augmenter.js";
import { errorOf } from "../augment/failures.js";
import { Refusal } from "./refusal.js";

export interface BatcherOptions {
  /** Throws for what concerns all of a batch alone. */
  restyle(items: readonly AugmentItem[]): Promise<Augmented[]>;
  /** Images a batch. */
  batch: number;
  /** How long a free device waits for a batch to fill, at most. */
  deadlineMs: number;
  /** Images that wait, at most. */
  queueImages: number;
  onBatch?(images: number): void;
}

/** An image in its new style. */
export type Done = Exclude<Augmented, { error: unknown }>;

interface Job {
  client: object;
  items: readonly AugmentItem[];
  results: Done[];
  /** Images that were handed over, and that came back. */
  begun: number;
  since: number;
  resolve(results: Done[]): void;
  reject(reason: unknown): void;
}

/** A client that sends nothing for so long is not waited for. */
const IDLE_MS = 1000;
/** Speed is a mean that forgets. */
const MEMORY = 0.8;

/**
 * Puts images of several clients together, first come, first served: a batch goes when it is full, when the device has been free and its first image
 * there for as long as the deadline says, or when every client that has lately sent something has its images in it, since nobody else is to be waited
 * for. One batch is under way at a time. Time under way does not count: clients that have just had their answers would come too late for ever.
 */
export class Batcher {
  readonly #options: BatcherOptions;
  #jobs: Job[] = [];
  #running = false;
  /** Since when nothing is under way. */
  #free = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Clients and when they were last heard of. */
  readonly #clients = new Map<object, number>();
  #secondsAnImage = 0.01;

  constructor(options: BatcherOptions) {
    this.#options = options;
  }

  /** Images that wait. */
  get waiting(): number {
    return this.#jobs.reduce((sum, { items, begun }) => sum + items.length - begun, 0);
  }

  /** After how many seconds there will be room: what waits now, by the speed of the last batches. */
  retryAfter(): number {
    return Math.min(60, Math.max(1, Math.ceil(this.waiting * this.#secondsAnImage)));
  }

  /**
   * @param client whose images they are: what is waited for.
   * @param signal when it is raised, those that are not begun are dropped.
   * @returns in order. @throws Refusal where the queue is full, or they can never fit; StylizingError of the first image that failed
   */
  submit(items: readonly AugmentItem[], client: object, signal?: AbortSignal): Promise<Done[]> {
    const { queueImages } = this.#options;
    if (items.length > queueImages)
      throw new Refusal(
        413,
        "TOO_LARGE",
        `${items.length} images are sent at a time, and the queue holds ${queueImages}.`,
        "Send fewer at a time, or start the service with a larger --queue-images.",
      );
    const { waiting } = this;
    if (waiting + items.length > queueImages)
      throw new Refusal(
        429,
        "BUSY",
        `${waiting} images wait, and the queue holds ${queueImages}.`,
        "Send it again after the seconds that Retry-After says.",
        this.retryAfter(),
      );
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const job: Job = { client, items, results: [], begun: 0, since: performance.now(), resolve, reject };
      this.#jobs.push(job);
      this.#clients.set(client, job.since);
      signal?.addEventListener("abort", () => this.#drop(job, signal.reason), { once: true });
      this.#next();
    });
  }

  /** A client that has gone is waited for no more. */
  forget(client: object): void {
    if (this.#clients.delete(client)) this.#next();
  }

  #drop(job: Job, reason: unknown): void {
    this.#jobs = this.#jobs.filter((one) => one !== job);
    job.reject(reason);
    this.#next();
  }

  /** Begins a batch where it is time, or sees to it that it will be. */
  #next(): void {
    if (this.#running || this.#jobs.length === 0) return;
    clearTimeout(this.#timer);
    const { batch, deadlineMs } = this.#options;
    const left = Math.max(this.#jobs[0]!.since, this.#free) + deadlineMs - performance.now();
    if (left > 0 && this.waiting < batch && this.#othersToCome()) this.#timer = setTimeout(() => this.#next(), left);
    else void this.#run();
  }

  #othersToCome(): boolean {
    const here = new Set(this.#jobs.map(({ client }) => client));
    const now = performance.now();
    for (const [client, heard] of this.#clients) {
      if (now - heard > IDLE_MS) this.#clients.delete(client);
      else if (!here.has(client)) return true;
    }
    return false;
  }

  async #run(): Promise<void> {
    this.#running = true;
    const { batch, restyle, onBatch } = this.#options;
    const parts: { job: Job; from: number; count: number }[] = [];
    let room = batch;
    for (const job of this.#jobs) {
      const count = Math.min(room, job.items.length - job.begun);
      parts.push({ job, from: job.begun, count });
      job.begun += count;
      room -= count;
      if (room === 0) break;
    }
    this.#jobs = this.#jobs.filter(({ items, begun }) => begun < items.length);
    const start = performance.now();
    const finished: (() => void)[] = [];
    const failed = new Map<Job, unknown>();
    try {
      onBatch?.(batch - room);
      const results = await restyle(parts.flatMap(({ job, from, count }) => job.items.slice(from, from + count)));
      let at = 0;
      for (const { job, count } of parts) {
        for (const result of results.slice(at, at + count))
          if ("error" in result) failed.set(job, failed.get(job) ?? errorOf(result.error, result.key));
          else job.results.push(result);
        at += count;
        if (job.results.length === job.items.length) finished.push(() => job.resolve(job.results));
      }
    } catch (error) {
      for (const { job } of parts) failed.set(job, error);
    }
    const seconds = (performance.now() - start) / 1000 / (batch - room);
    this.#secondsAnImage = MEMORY * this.#secondsAnImage + (1 - MEMORY) * seconds;
    this.#running = false;
    this.#free = performance.now();
    this.#jobs = this.#jobs.filter((job) => !failed.has(job));
    for (const { job } of parts) if (this.#clients.has(job.client)) this.#clients.set(job.client, this.#free);
    // What waits is handed to the device before answers are written.
    this.#next();
    for (const answer of finished) answer();
    for (const [job, error] of failed) job.reject(error);
  }
}
