import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import type { Piscina } from "piscina";
import { StylizingError } from "../errors.js";
import { type ImageTask, type LoadedImage, type LoadTask, load, type SaveTask, save } from "./tasks.js";
import type { Answer } from "./worker.js";

/** Threads where none are asked for: more than these a main thread that uploads and downloads cannot feed. */
const MOST_WORKERS = 8;
/** Pictures at a time where there are no threads: as many as libuv has for sharp. */
const IN_THIS_THREAD = 4;

/** Pictures that are done in the caller's thread before any is started: a thread costs as much as a dozen of them. */
const BEFORE_THREADS = 16;

/** The compiled worker: beside this module, or in `dist/` where this is the TypeScript source of a checkout. */
function workerFile(): string | undefined {
  const beside = import.meta.url.endsWith(".ts") ? "../../dist/image/worker.js" : "./worker.js";
  const file = fileURLToPath(new URL(beside, import.meta.url));
  return existsSync(file) ? file : undefined;
}

/** @throws StylizingError `ARGUMENT` for anything but a whole number from 0 on. */
export function checkWorkers(workers: number | undefined): void {
  if (workers === undefined || (Number.isSafeInteger(workers) && workers >= 0)) return;
  throw new StylizingError("ARGUMENT", `workers is ${workers}.`, "Give a whole number; 0 decodes in this thread.");
}

function asError({ code, message, fix }: Extract<Answer, { error: unknown }>["error"]): Error {
  // A message ends with its fix, which the constructor adds again.
  return code === undefined ? new Error(message) : new StylizingError(code, message.slice(0, -fix.length).trimEnd(), fix);
}

/**
 * Reads and writes pictures in worker threads. They are started when first needed, do not keep the process alive while
 * they have nothing to do, and end with `dispose()`.
 */
export class ImagePool implements AsyncDisposable {
  /** Threads at most; 0: everything is done in the caller's. */
  readonly workers: number;
  /** Why there are no threads though they were asked for. */
  readonly note: string | undefined;
  readonly #file: string | undefined;
  #threads: Promise<Piscina> | undefined;
  #ended: Promise<void> | undefined;
  /** Tasks that may still be begun at once. Others wait here and not in the threads' queue, where they could not be given up. */
  #free: number;
  readonly #running = new Set<Promise<Answer>>();
  readonly #waiting: (() => void)[] = [];

  /** Tasks still to be done in the caller's thread. */
  #before: number;

  /**
   * @param wanted threads at most; by default as many as there are cores, and no more than eight, and none for the first
   *   few pictures.
   */
  constructor(wanted?: number) {
    checkWorkers(wanted);
    const workers = wanted ?? Math.min(MOST_WORKERS, availableParallelism());
    this.#before = wanted === undefined ? BEFORE_THREADS : 0;
    this.#file = workers > 0 ? workerFile() : undefined;
    this.workers = this.#file ? workers : 0;
    if (workers > 0 && !this.#file) this.note = "pictures are read in the main thread: the project is not built";
    this.#free = this.workers || IN_THIS_THREAD;
  }

  /**
   * A picture file, fitted to a square.
   * @throws StylizingError `IMAGE`, as `loadSquare` does, or `DISPOSED`; the signal's reason where it was aborted before
   *   its turn came. What has begun is finished: sharp cannot be stopped.
   */
  async load(task: Omit<LoadTask, "kind">, signal?: AbortSignal): Promise<LoadedImage> {
    return (await this.#run({ kind: "load", ...task }, signal)) as LoadedImage;
  }

  /**
   * Writes a result, whole or not at all. Pixels in a `SharedArrayBuffer` are not copied on their way to the thread.
   * @returns how long it took, in milliseconds.
   * @throws StylizingError `OUTPUT` or `DISPOSED`.
   */
  async save(task: Omit<SaveTask, "kind">): Promise<number> {
    return (await this.#run({ kind: "save", ...task })) as number;
  }

  async #run(task: ImageTask, signal?: AbortSignal): Promise<LoadedImage | number> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free--;
    try {
      signal?.throwIfAborted();
      if (this.#ended) throw new StylizingError("DISPOSED", "The workers were ended.", "Load the model again.");
      if (this.workers === 0 || this.#before-- > 0) {
        return task.kind === "load" ? await load(task) : await save(task);
      }
      const running = this.#start().then((threads) => threads.run(task) as Promise<Answer>);
      this.#running.add(running);
      const answer = await running.finally(() => this.#running.delete(running));
      if ("error" in answer) throw asError(answer.error);
      return "image" in answer ? answer.image : answer.milliseconds;
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }

  #start(): Promise<Piscina> {
    this.#threads ??= import("piscina").then(({ Piscina }) => {
      const threads = new Piscina({
        filename: this.#file!,
        minThreads: 0,
        maxThreads: this.workers,
        idleTimeout: Number.POSITIVE_INFINITY,
        stricterFIFO: true,
        recordTiming: false,
      });
      // What becomes of a task its own promise says.
      threads.on("error", () => {});
      return threads;
    });
    return this.#threads;
  }

  /** Ends the threads when they have finished what they are at; what waits is refused. Idempotent. */
  dispose(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  async #end(): Promise<void> {
    // A thread that is ended under sharp may take the process with it, and Piscina's own close() does not wait for all.
    await Promise.allSettled(this.#running);
    await this.#threads?.then(
      (threads) => threads.destroy(),
      () => {},
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
