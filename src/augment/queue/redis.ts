import type { Redis } from "ioredis";
import { messageOf, StylizingError } from "../../errors.js";

/** The least Redis that the engine's scripts run on. */
const LEAST = [6, 2] as const;
/** Milliseconds between attempts to reach a Redis that is gone, at most. */
const SLOWEST = 5000;

/** An address without its password, for messages. @throws StylizingError `ARGUMENT` for what is no address of a Redis */
export function placeOf(url: string): string {
  try {
    const { protocol, hostname, port, pathname } = new URL(url);
    if (/^rediss?:$/.test(protocol) && hostname !== "" && /^\/?\d*$/.test(pathname))
      return `${protocol}//${hostname}:${port || 6379}${pathname === "/" ? "" : pathname}`;
  } catch {}
  throw new StylizingError(
    "ARGUMENT",
    "That is no address of a Redis.",
    "Write redis://HOST:PORT, or redis://HOST:PORT/DATABASE.",
  );
}

/** A connection, and those that are made of it. */
export interface Connection {
  client: Redis;
  /** Closes it; nobody waits for a Redis that is gone any more. */
  end(): void;
}

/**
 * Connects to a Redis. One that goes away later is waited for, however long: commands wait with it, and it is said once each time.
 * @throws StylizingError `ARGUMENT` for an address that is none, `QUEUE` where there is no Redis, or one that is too old
 */
export async function connectRedis(url: string, onNote: ((note: string) => void) | undefined): Promise<Connection> {
  const place = placeOf(url);
  const { Redis: Client } = await import("ioredis");
  let isOpen = false;
  let isGone = false;
  let isEnding = false;
  let last: unknown;
  const client = new Client(url, {
    lazyConnect: true,
    connectTimeout: 10_000,
    // The engine's commands wait; it says so itself where another number is given.
    maxRetriesPerRequest: null,
    retryStrategy: (times) => (isOpen && !isEnding ? Math.min(100 * 2 ** Math.min(times, 10), SLOWEST) : null),
  });
  client.on("error", (error) => {
    last = error;
  });
  const end = () => {
    isEnding = true;
    client.disconnect();
  };
  client.on("close", () => {
    if (!isOpen || isGone || isEnding) return;
    isGone = true;
    onNote?.(`${place} is gone: waiting for it`);
  });
  client.on("ready", () => {
    if (isGone) onNote?.(`${place} is back`);
    isGone = false;
  });
  try {
    await client.connect();
    const about = await client.info("server");
    isOpen = true;
    const [, version = "0"] = /redis_version:([\d.]+)/.exec(about) ?? [];
    const [major = 0, minor = 0] = version.split(".").map(Number);
    if (major < LEAST[0] || (major === LEAST[0] && minor < LEAST[1]))
      throw new StylizingError("QUEUE", `${place} is Redis ${version}.`, `Take ${LEAST.join(".")} or later.`);
    return { client, end };
  } catch (error) {
    end();
    if (error instanceof StylizingError) throw error;
    const reason = messageOf(/closed/i.test(messageOf(error)) ? (last ?? error) : error).replace(/\.$/, "");
    throw new StylizingError(
      "QUEUE",
      `There is no Redis to use at ${place}: ${reason}.`,
      "Start one (`redis-server`; on Debian `apt-get install redis-server`), or check host, port and password.",
      { cause: error },
    );
  }
}
