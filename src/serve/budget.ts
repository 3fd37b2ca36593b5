import { Refusal } from "./refusal.js";

/**
 * Bytes of bodies that the service holds at a time. They are reserved by a request's declared length, before its body is read, and are
 * free again when its answer was taken or its connection is gone: memory is bounded whatever clients do.
 */
export class Budget {
  readonly most: number;
  #held = 0;
  #waiting: (() => void)[] = [];

  constructor(most: number) {
    this.most = most;
  }

  get held(): number {
    return this.#held;
  }

  /** @returns what gives them back, once. @throws Refusal 429 where there is no room @param retryAfter seconds */
  reserve(bytes: number, retryAfter: () => number): () => void {
    if (this.#held + bytes > this.most)
      throw new Refusal(
        429,
        "BUSY",
        `The service holds ${this.#held} of ${this.most} bytes, and there is no room for ${bytes} more.`,
        "Send it again after the seconds that Retry-After says.",
        retryAfter(),
      );
    this.#held += bytes;
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#held -= bytes;
      if (this.#held === 0) for (const resolve of this.#waiting.splice(0)) resolve();
    };
  }

  /** Resolves when nothing is held. */
  empty(): Promise<void> {
    return this.#held === 0 ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve));
  }
}
