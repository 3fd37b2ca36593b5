import { createHash, timingSafeEqual } from "node:crypto";
import { readFile, stat, unlink } from "node:fs/promises";
import { createConnection, isIP } from "node:net";
import { messageOf, StylizingError } from "../errors.js";

/** Where a service listens. */
export type Address = { host: string; port: number } | { path: string };

/** `HOST:PORT`, of IPv6 `[HOST]:PORT`; port 0 is any that is free. @throws StylizingError `ARGUMENT` */
export function parseAddress(text: string): Address {
  const [, six, four, port] = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(text) ?? [];
  const host = six ?? four;
  if (!host || Number(port) > 65535 || (six !== undefined && isIP(six) !== 6))
    throw new StylizingError("ARGUMENT", `"${text}" is no address.`, "Give HOST:PORT: 127.0.0.1:8787.");
  return { host, port: Number(port) };
}

/** Whether nobody but this machine's own users can reach it. A name may be resolved to anything, but for one. */
export const isLocal = (address: Address): boolean =>
  "path" in address ||
  address.host === "localhost" ||
  address.host === "::1" ||
  (isIP(address.host) === 4 && address.host.startsWith("127."));

/** @throws StylizingError `ARGUMENT` where there is no file, or nothing in it */
export async function readToken(file: string): Promise<string> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    throw new StylizingError("ARGUMENT", `The token file ${file} cannot be read (${messageOf(error)}).`, "Check the path.", {
      cause: error,
    });
  });
  const token = text.trim();
  if (!/^[\x21-\x7e]{16,}$/.test(token))
    throw new StylizingError(
      "ARGUMENT",
      `The token file ${file} holds no token of 16 or more characters without spaces.`,
      "Make one: openssl rand -hex 32 > FILE.",
    );
  return token;
}

const digest = (text: string) => createHash("sha256").update(text).digest();

/** Compares an `Authorization` header with a token, in a time that depends on neither. */
export function tokenCheck(token: string): (header: string | undefined) => boolean {
  const expected = digest(`Bearer ${token}`);
  return (header = "") => timingSafeEqual(digest(header), expected);
}

/** Removes the socket of a service that was killed. @throws StylizingError `ARGUMENT` where another one listens, or it is no socket */
export async function freeSocket(path: string): Promise<void> {
  const info = await stat(path).catch(() => undefined);
  if (!info) return;
  if (!info.isSocket())
    throw new StylizingError("ARGUMENT", `${path} is there and is no socket.`, "Give the path of a new one with --socket.");
  const alive = await new Promise<boolean>((resolve) => {
    const probe = createConnection(path, () => resolve(true)).on("error", () => resolve(false));
    probe.on("close", () => resolve(false)).unref();
    probe.once("connect", () => probe.destroy());
  });
  if (alive) throw inUse(path);
  await unlink(path);
}

export const inUse = (where: string): StylizingError =>
  new StylizingError(
    "ARGUMENT",
    `${where} is in use.`,
    "Give another address, or port 0 for any that is free; or stop what listens there.",
  );
