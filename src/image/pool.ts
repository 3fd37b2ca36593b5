import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import type { Piscina } from "piscina";
import { StylizingError } from "../errors.js";
import type { DecodedImage } from "./decode.js";
import {
  type DecodeTask,
  type EncodeTask,
  type ImageResult,
  type ImageTask,
  type LoadedImage,
  type LoadTask,
  perform,
  type SaveTask,
} from "./tasks.js";
import type { Answer } from "./worker.js";

/** Threads where none are asked for: more than these a main thread that uploads and downloads cannot feed. */
const MOST_WORKERS = 8;
/** Images at a time where there are no threads: as many as libuv has for sharp. */
const IN_THIS_THREAD = 4;

/** Images that are done in the caller's thread before any is started: a thread costs as much as a dozen of them. */
const BEFORE_THREADS = 16;
/** Images that a thread is sent at a time where many wait: a message costs the main thread some 0.2 ms, whatever is in it. */
const MOST_AT_ONCE = 8;

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

/** A task that waits for its turn. */
interface Waiting {
  task: ImageTask;
  signal: AbortSignal | undefined;
  resolve: (result: ImageResult) => void;
  reject: (reason: unknown) => void;
}

function asError({ code, message, fix, cause }: Extract<Answer, { error: unknown }>["error"]): Error {
  // A message ends with its fix, which the constructor adds again.
  return code === undefined
    ? new Error(message)
    : new StylizingError(code, message.slice(0, -fix.length).trimEnd(), fix, { cause });
}

/**
 * Reads and writes images in worker threads. They are started when first needed, do not keep the process alive while
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
  /** Threads, or turns of the caller's, that have nothing to do. */
  #free: number;
  readonly #running = new Set<Promise<unknown>>();
  /** Here and not in the threads' own queue, where nothing could be given up. */
  readonly #waiting: Waiting[] = [];
  #scheduled = false;
  /** Tasks still to be done in the caller's thread. */
  #before: number;

  /**
   * @param wanted threads at most; by default as many as there are cores, and no more than eight, and none for the first
   *   few images.
   */
  constructor(wanted?: number) {
    checkWorkers(wanted);
    const workers = wanted ?? Math.min(MOST_WORKERS, availableParallelism());
    this.#before = wanted === undefined ? BEFORE_THREADS : 0;
    this.#file = workers > 0 ? workerFile() : undefined;
    this.workers = this.#file ? workers : 0;
    if (workers > 0 && !this.#file) this.note = "images are read in the main thread: the project is not built";
    this.#free = this.workers || IN_THIS_THREAD;
  }

  /**
   * An image file, fitted to a square.
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

  /** An image at its own size. Throws as {@link load} does. */
  async decode(task: Omit<DecodeTask, "kind">, signal?: AbortSignal): Promise<DecodedImage> {
    return (await this.#run({ kind: "decode", ...task }, signal)) as DecodedImage;
  }

  /** An image as a file's bytes. @throws StylizingError `OUTPUT` or `DISPOSED` */
  async encode(task: Omit<EncodeTask, "kind">): Promise<Uint8Array> {
    return (await this.#run({ kind: "encode", ...task })) as Uint8Array;
  }

  #run(task: ImageTask, signal?: AbortSignal): Promise<ImageResult> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ task, signal, resolve, reject });
      if (this.#scheduled) return;
      this.#scheduled = true;
      // When all that are asked for at once are here: how many there are decides how many a thread gets.
      queueMicrotask(() => {
        this.#scheduled = false;
        this.#next();
      });
    });
  }

  /** Gives those that have nothing to do what waits. */
  #next(): void {
    while (this.#free > 0 && this.#waiting.length > 0) {
      const threads = this.workers > 0 && this.#before <= 0;
      const share = threads ? Math.floor(this.#waiting.length / (2 * this.workers)) : 1;
      const chunk = this.#waiting.splice(0, Math.max(1, Math.min(MOST_AT_ONCE, share))).filter((one) => this.#wanted(one));
      if (chunk.length === 0) continue;
      this.#free--;
      this.#before--;
      const work = (threads ? this.#send(chunk) : this.#perform(chunk[0]!)).finally(() => {
        this.#running.delete(work);
        this.#free++;
        this.#next();
      });
      this.#running.add(work);
    }
  }

  #wanted({ signal, reject }: Waiting): boolean {
    if (signal?.aborted) reject(signal.reason);
    else if (this.#ended) reject(new StylizingError("DISPOSED", "The workers were ended.", "Load the model again."));
    else return true;
    return false;
  }

  async #perform({ task, resolve, reject }: Waiting): Promise<void> {
    await perform(task).then(resolve, reject);
  }

  async #send(chunk: readonly Waiting[]): Promise<void> {
    try {
      const threads = await this.#start();
      const answers = (await threads.run(chunk.map(({ task }) => task))) as Answer[];
      for (const [index, answer] of answers.entries()) {
        const { resolve, reject } = chunk[index]!;
        if ("error" in answer) reject(asError(answer.error));
        else resolve(answer.result);
      }
    } catch (error) {
      // The thread itself came to an end.
      for (const { reject } of chunk) reject(error);
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
    // `#ended` is set when this returns for the first time; what waits is refused in its turn.
    await Promise.resolve();
    this.#next();
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
