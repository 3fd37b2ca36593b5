import type { Socket } from "node:net";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { tokenCheck } from "./address.js";
import type { Budget } from "./budget.js";
import type { ServiceMetrics } from "./metrics.js";
import { Refusal } from "./refusal.js";

export interface GateOptions {
  token?: string | undefined;
  maxBytes: number;
  /** Milliseconds that an answer may take to be read. */
  timeoutMs: number;
  budget: Budget;
  metrics: ServiceMetrics;
  retryAfter(): number;
  stopping(): boolean;
  /** A connection has ended. */
  onGone(client: object): void;
}

const gone = () => new Refusal(499, "GONE", "The client hung up.", "Keep the connection open.");

interface Pass {
  signal: AbortSignal;
  /** Until when its answer is to be read. */
  writing?: NodeJS.Timeout;
}

/**
 * What every request goes through before its body is read, and what is done when it ends, however it does: its room is free again, and
 * work for a client that has hung up is called off.
 */
export class Gate {
  readonly #options: GateOptions;
  /** Requests under way. */
  readonly #passes = new WeakMap<FastifyRequest, Pass>();
  /** What is to be done at the end of each request of a connection: Node says of requests that wait behind another one nothing else. */
  readonly #ends = new WeakMap<Socket, Set<() => void>>();

  constructor(app: FastifyInstance, options: GateOptions) {
    this.#options = options;
    const { token, budget, metrics, maxBytes, timeoutMs, retryAfter, stopping } = options;
    const allowed = token === undefined ? () => true : tokenCheck(token);

    app.addHook("onRequest", async (request, reply) => {
      const { url: route = "none" } = request.routeOptions;
      const start = performance.now();
      const controller = new AbortController();
      let release = () => {};
      const pass: Pass = { signal: controller.signal };
      this.#passes.set(request, pass);
      const ends = this.#endsOf(request.raw.socket);
      const end = () => {
        if (!ends.delete(end)) return;
        release();
        clearTimeout(pass.writing);
        this.#passes.delete(request);
        const whole = reply.raw.writableFinished;
        metrics.request(route, whole ? reply.statusCode : 499, (performance.now() - start) / 1000);
        if (!whole) controller.abort(gone());
      };
      ends.add(end);
      reply.raw.once("close", end);

      if (route === "/health") return;
      if (!allowed(request.headers.authorization))
        throw new Refusal(
          401,
          "UNAUTHORIZED",
          request.headers.authorization === undefined ? "The request has no token." : "The token is wrong.",
          "Send Authorization: Bearer TOKEN, with what is in the service's token file.",
        );
      if (stopping())
        throw new Refusal(503, "STOPPING", "The service is stopping.", "Send it to another one, or again when it is back.");
      if (request.method !== "POST") return;
      const declared = request.headers["content-length"];
      // Room is given by it, so that no body is begun that cannot be held.
      if (declared === undefined)
        throw new Refusal(411, "LENGTH_REQUIRED", "The body has no length.", "Send it with Content-Length, not in chunks.");
      if (Number(declared) > maxBytes)
        throw new Refusal(
          413,
          "TOO_LARGE",
          `The body has ${declared} bytes, and ${maxBytes} are the most.`,
          "Send fewer images at a time, or start the service with a larger --max-bytes.",
        );
      release = budget.reserve(Number(declared), retryAfter);
      metrics.bytes("in", Number(declared));
    });

    app.addHook("onSend", async (request, _reply, payload) => {
      const pass = this.#passes.get(request);
      // Its client has gone.
      if (!pass) return;
      const { socket } = request.raw;
      // A client that never reads holds its answer for so long and no longer.
      pass.writing = setTimeout(() => socket.destroy(), timeoutMs);
      if (typeof payload === "string" || payload instanceof Buffer) metrics.bytes("out", payload.length);
    });
  }

  /** Raised when the client hangs up, or has done so. */
  signalOf(request: FastifyRequest): AbortSignal {
    return this.#passes.get(request)?.signal ?? AbortSignal.abort(gone());
  }

  #endsOf(socket: Socket): Set<() => void> {
    const known = this.#ends.get(socket);
    if (known) return known;
    const ends = new Set<() => void>();
    this.#ends.set(socket, ends);
    socket.once("close", () => {
      this.#options.onGone(socket);
      for (const end of [...ends]) end();
    });
    return ends;
  }
}
