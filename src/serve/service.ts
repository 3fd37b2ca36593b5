import { chmod } from "node:fs/promises";
import type { AddressInfo, Socket } from "node:net";
// Fastify: routes, bodies by type and limit, errors in one place, a graceful end. node:http has none of them.
import { type FastifyInstance, fastify } from "fastify";
import type { AugmentOptions } from "../augment/augment-options.js";
import { Augmenter } from "../augment/augmenter.js";
import { checkKinds, StylizingError } from "../errors.js";
import { type Address, freeSocket, inUse, isLocal } from "./address.js";
import { Batcher } from "./batcher.js";
import { RAW, SAFETENSORS } from "./body.js";
import { Budget } from "./budget.js";
import { Gate } from "./gate.js";
import { ServiceMetrics } from "./metrics.js";
import { NamedStyles } from "./named-styles.js";
import { answerOf } from "./refusal.js";
import { addRoutes } from "./routes.js";

export interface ServiceOptions
  extends Omit<AugmentOptions, "data" | "inputFormat" | "domain" | "split" | "label" | "maskSuffix" | "styles"> {
  /** Default: any free port of 127.0.0.1. */
  address?: Address | undefined;
  /** What clients must send as `Authorization: Bearer TOKEN`; without one only this machine may ask. */
  token?: string | undefined;
  /** How long a free device waits for a batch to fill, at most; default 20. */
  deadlineMs?: number | undefined;
  /** Images that wait, at most; default 1024. */
  queueImages?: number | undefined;
  /** Bytes of bodies that are held at a time; default 512 MiB. */
  queueBytes?: number | undefined;
  /** Bytes of a body; default 128 MiB. */
  maxBytes?: number | undefined;
  /** How long a client may take to send a request, and to take its answer; default 30 000. */
  timeoutMs?: number | undefined;
}

/** Of a request's first lines: keys may be in them. */
const HEADER_BYTES = 2 ** 16;
const CONNECTIONS = 1024;

/** An HTTP service that restyles images of several clients in batches: docs/service.md. */
export class Service implements AsyncDisposable {
  /** `http://127.0.0.1:8787`, or the path of a socket. */
  readonly url: string;
  /** What methods run on. */
  readonly adapters: Readonly<Record<string, unknown>>;
  readonly #end: () => Promise<void>;
  #ended: Promise<void> | undefined;

  private constructor(url: string, adapters: Record<string, unknown>, end: () => Promise<void>) {
    this.url = url;
    this.adapters = adapters;
    this.#end = end;
  }

  /**
   * Opens what the service's methods run on, then listens.
   * @throws StylizingError `ARGUMENT` for an address that is in use, or that others can reach without a token, and as `Augmenter.open`; `NO_ADAPTER`, `GPU`
   */
  static async open(options: ServiceOptions = {}, signal?: AbortSignal): Promise<Service> {
    const { address = { host: "127.0.0.1", port: 0 }, token, timeoutMs = 30_000, onNote } = options;
    const { deadlineMs = 20, queueImages = 1024, queueBytes = 2 ** 29, maxBytes = 2 ** 27 } = options;
    checkKinds(options, {
      deadlineMs: "number",
      queueImages: "number",
      queueBytes: "number",
      maxBytes: "number",
      timeoutMs: "number",
    });
    if (token === undefined && !isLocal(address))
      throw new StylizingError(
        "ARGUMENT",
        "Other machines can reach that address, and there is no token.",
        "Give --token-file, or listen on 127.0.0.1.",
      );
    if (maxBytes > queueBytes)
      throw new StylizingError(
        "ARGUMENT",
        `A body may have ${maxBytes} bytes, and ${queueBytes} are held at most.`,
        "Give a larger --queue-bytes, or a smaller --max-bytes.",
      );
    const augmenter = await Augmenter.open(options, signal);
    const app = makeApp(maxBytes, timeoutMs, onNote);
    try {
      const adapters = await augmenter.adapters();
      const { batch } = augmenter.plan;
      const styles = new NamedStyles();
      const budget = new Budget(queueBytes);
      const batcher: Batcher = new Batcher({
        ...{ batch, deadlineMs, queueImages },
        restyle: (items) => augmenter.restyle(items),
        onBatch: (images) => metrics.batch(images),
      });
      const metrics = new ServiceMetrics(batch, {
        images: () => batcher.waiting,
        bytes: () => budget.held,
        styles: () => styles.size,
      });
      let stopped = false;
      const stopping = () => stopped;
      const retryAfter = () => batcher.retryAfter();
      const onGone = (client: object) => batcher.forget(client);
      const gate = new Gate(app, { token, maxBytes, timeoutMs, budget, metrics, retryAfter, stopping, onGone });
      addRoutes(app, { own: options, plan: augmenter.plan, batcher, styles, metrics, gate, stopping });
      return new Service(await listen(app, address), adapters, async () => {
        stopped = true;
        await budget.empty();
        await app.close();
        await augmenter[Symbol.asyncDispose]();
      });
    } catch (error) {
      await app.close();
      await augmenter[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Refuses what comes from now on, finishes what was taken, and ends. */
  stop(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

function makeApp(maxBytes: number, timeoutMs: number, onNote: AugmentOptions["onNote"]): FastifyInstance {
  const app = fastify({
    bodyLimit: maxBytes,
    requestTimeout: timeoutMs,
    return503OnClosing: false,
    http: {
      headersTimeout: Math.min(10_000, timeoutMs),
      connectionsCheckingInterval: Math.min(1000, timeoutMs / 2),
      maxHeaderSize: HEADER_BYTES,
    },
    clientErrorHandler: refuseConnection,
  });
  app.server.maxConnections = CONNECTIONS;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser([RAW, SAFETENSORS], { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  app.setErrorHandler((error, request, reply) => {
    const { status, retryAfter, document } = answerOf(error);
    if (status >= 500 && status !== 503) onNote?.(`${request.method} ${request.routeOptions.url}: ${document.error.message}`);
    // A body that is not wanted is not read to its end for the sake of the connection.
    if (!request.raw.complete || status === 503) reply.header("connection", "close");
    if (retryAfter !== undefined) reply.header("retry-after", retryAfter);
    if (status === 401) reply.header("www-authenticate", "Bearer");
    return reply.code(status).send(document);
  });
  app.setNotFoundHandler(() => {
    throw Object.assign(new Error("There is nothing at this path"), { statusCode: 404 });
  });
  return app;
}

/** What comes before there is a request: lines that are none, that are too long or that never end. */
function refuseConnection(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const late = error.code === "ERR_HTTP_REQUEST_TIMEOUT";
  const long = error.code === "HPE_HEADER_OVERFLOW";
  const [statusCode, reason] = late
    ? [408, "Request Timeout"]
    : long
      ? [431, "Request Header Fields Too Large"]
      : [400, "Bad Request"];
  const problem = late
    ? "The request did not end in time"
    : long
      ? "The request's header is too long"
      : "The request is not HTTP";
  const body = JSON.stringify(answerOf(Object.assign(new Error(problem), { statusCode })).document);
  const lines = [
    `HTTP/1.1 ${statusCode} ${reason}`,
    "content-type: application/json",
    `content-length: ${Buffer.byteLength(body)}`,
  ];
  socket.end([...lines, "connection: close", "", body].join("\r\n"), () => socket.destroy());
}

/** @returns the URL, or the path of the socket. @throws StylizingError `ARGUMENT` */
async function listen(app: FastifyInstance, address: Address): Promise<string> {
  if ("path" in address) await freeSocket(address.path);
  const where = "path" in address ? address.path : `${address.host}:${address.port}`;
  try {
    await app.listen(address);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EADDRINUSE") throw inUse(where);
    throw new StylizingError("ARGUMENT", `The service cannot listen on ${where} (${message}).`, "Give another address.", {
      cause: error,
    });
  }
  if ("path" in address) {
    // Who may write to it may connect.
    await chmod(address.path, 0o600);
    return address.path;
  }
  const { port } = app.server.address() as AddressInfo;
  return `http://${address.host.includes(":") ? `[${address.host}]` : address.host}:${port}`;
}
