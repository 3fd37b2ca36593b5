import { StylizingError } from "../errors.js";

/** Calls of a model that are under way, so that disposing of it can refuse new ones and wait for the others. */
export class Calls {
  readonly #what: string;
  readonly #running = new Set<Promise<unknown>>();
  #closed = false;

  /** @param what "model", for messages */
  constructor(what: string) {
    this.#what = what;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Runs a call. @throws StylizingError `DISPOSED` where the model was disposed of, before or while it ran */
  track<T>(work: () => Promise<T>): Promise<T> {
    const problem = `This ${this.#what} was disposed of.`;
    if (this.#closed) return Promise.reject(new StylizingError("DISPOSED", problem, "Load it again."));
    const promise = work().catch((cause: unknown) => {
      if (!this.#closed) throw cause;
      const meanwhile = `The ${this.#what} was disposed of while it worked.`;
      throw new StylizingError("DISPOSED", meanwhile, "Await its calls first.", { cause });
    });
    this.#running.add(promise);
    const forget = () => this.#running.delete(promise);
    promise.then(forget, forget);
    return promise;
  }

  /** Refuses calls from now on. @returns whether it was open */
  close(): boolean {
    const open = !this.#closed;
    this.#closed = true;
    return open;
  }

  /** Waits for calls under way, however they end. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running);
  }
}
