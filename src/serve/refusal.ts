import { describeError, StylizingError } from "../errors.js";

/** A request that is refused: an HTTP status, a stable code for machines, and a cure. docs/service.md lists them. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: number;
  readonly code: string;
  readonly fix: string;
  /** Seconds. */
  readonly retryAfter: number | undefined;

  constructor(status: number, code: string, problem: string, fix: string, retryAfter?: number) {
    super(`${problem} ${fix}`);
    this.status = status;
    this.code = code;
    this.fix = fix;
    this.retryAfter = retryAfter;
  }
}

/** What a client is told of an error. */
export interface ErrorAnswer {
  status: number;
  retryAfter?: number | undefined;
  document: { error: { code: string; message: string; fix: string } };
}

/** Of the HTTP library's own errors: code and cure by status. */
const OF_LIBRARY: Readonly<Record<number, readonly [code: string, fix: string]>> = {
  400: ["ARGUMENT", "See docs/service.md for what a request looks like."],
  404: ["NOT_FOUND", "See docs/service.md for the paths that there are."],
  408: ["TIMEOUT", "Send the request faster, or start the service with a longer --timeout."],
  411: ["LENGTH_REQUIRED", "Send the body with its Content-Length."],
  413: ["TOO_LARGE", "Send fewer images at a time, or start the service with a larger --max-bytes."],
  415: ["ARGUMENT", "Send application/octet-stream or application/safetensors."],
  431: ["TOO_LARGE", "Send keys in the metadata of safetensors in place of a header."],
};

const STATUS: Readonly<Record<string, number>> = { ARGUMENT: 400, IMAGE: 400, CONFIG: 400, DEVICE_LOST: 503, DISPOSED: 503 };

/** What a client is told of anything that was thrown. */
export function answerOf(error: unknown): ErrorAnswer {
  if (error instanceof Refusal) {
    const { status, code, message, fix, retryAfter } = error;
    return { status, retryAfter, document: { error: { code, message, fix } } };
  }
  const known = error instanceof StylizingError;
  const status = (error as { statusCode?: number } | undefined)?.statusCode;
  if (!known && status !== undefined && status < 500) {
    const [code, fix] = OF_LIBRARY[status] ?? OF_LIBRARY[400]!;
    return { status, document: { error: { code, message: `${(error as Error).message}. ${fix}`, fix } } };
  }
  const about = describeError(error);
  return { status: STATUS[about.code] ?? 500, document: { error: about } };
}
