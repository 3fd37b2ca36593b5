import { describeError, StylizingError } from "../errors.js";
import { diskIsFull } from "../image/atomic-write.js";

export type ErrorReport = ReturnType<typeof describeError>;

/**
 * The error that a report is of: a message ends with its fix, which the constructor adds again.
 * @param what stands in front of the message.
 */
export const errorOf = ({ code, message, fix }: ErrorReport, what?: string): StylizingError => {
  const problem = message.endsWith(fix) ? message.slice(0, -fix.length).trimEnd() : message;
  return new StylizingError(code as "GPU", what === undefined ? problem : `${what}: ${problem}`, fix);
};

/** Says why images failed, at once and once a reason: what fails for it later is counted at the end. */
export class Failures {
  readonly #onNote: ((note: string) => void) | undefined;
  readonly #told: Set<string>;
  readonly #full = new AbortController();
  /** Why no more is begun, where the disk takes no more. */
  stopReason: ErrorReport | undefined;

  /** @param told messages that were said already. */
  constructor(onNote: ((note: string) => void) | undefined, told: Iterable<string> = []) {
    this.#onNote = onNote;
    this.#told = new Set(told);
  }

  /** Raised where the disk takes no more. */
  get stop(): AbortSignal {
    return this.#full.signal;
  }

  add(what: string, error: unknown): ErrorReport {
    const reason = describeError(error);
    const full = diskIsFull(error);
    // Of a full disk every file has a message of its own.
    if (full ? !this.stopReason : !this.#told.has(reason.message)) this.#onNote?.(`failed: ${what}: ${reason.message}`);
    this.#told.add(reason.message);
    if (full) {
      this.stopReason ??= reason;
      this.#full.abort(error);
    }
    return reason;
  }
}
