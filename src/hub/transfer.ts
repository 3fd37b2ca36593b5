// The bytes of one file over an unreliable line: continued, counted and hashed. Knows no cache and no catalogue.
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, stat } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, StylizingError } from "../errors.js";
import type { DownloadProgress } from "./types.js";

/** What all requests of one download share. */
export interface Session {
  readonly repo: string;
  readonly revision: string;
  readonly endpoint: string;
  readonly signal: AbortSignal;
  readonly report: (progress: DownloadProgress) => void;
  readonly fetch: typeof globalThis.fetch;
  readonly token: string | undefined;
  /** Why a file that is in the cache is fetched again. */
  readonly damage: string | undefined;
  /** Milliseconds before the first retry. */
  readonly retryDelay: number;
}

export interface RemoteFile {
  readonly path: string;
  readonly url: string;
  /** Bytes. */
  readonly size: number;
  /** Hex digest: sha256 of a large file, else git's sha1 of a blob. */
  readonly etag: string;
}

/** What comes to a file's etag once its bytes have gone through. */
function hashFor({ etag, size }: Pick<RemoteFile, "etag" | "size">): Hash {
  return etag.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}

/** Whether a file on disk is the remote one, byte for byte; false where there is none. */
export async function isWhole(path: string, file: Pick<RemoteFile, "etag" | "size">): Promise<boolean> {
  const hash = hashFor(file);
  try {
    if ((await stat(path)).size !== file.size) return false;
    for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  } catch {
    return false;
  }
  return hash.digest("hex") === file.etag;
}

/** Attempts that bring no new byte before giving up. */
const RETRIES = 5;
/** A connection on which nothing arrives for so long (ms) is dropped and counts as failed. */
const SILENCE = 60_000;

/** Completes an open partial file. Bytes that are already in it are hashed first and not requested again. */
export class Transfer {
  /** Bytes at the start of the file that are right as far as is known, and that the hash has seen. */
  #loaded = 0;
  #hash!: Hash;
  readonly #session: Session;
  readonly #file: RemoteFile;
  readonly #handle: FileHandle;

  constructor(session: Session, file: RemoteFile, handle: FileHandle) {
    this.#session = session;
    this.#file = file;
    this.#handle = handle;
    this.#reset();
  }

  /** @throws StylizingError `DOWNLOAD` when the file cannot be completed or its digest is wrong; the signal's reason */
  async run(): Promise<void> {
    await this.#rehash();
    let resumed = this.#loaded > 0;
    for (;;) {
      await this.#fill();
      if (this.#hash.digest("hex") === this.#file.etag) break;
      await this.#restart();
      // What an earlier process left may have been torn by a crash of the machine: one try without it.
      if (!resumed) throw this.#damaged("its digest is not the published one");
      resumed = false;
    }
    this.#report("verify", this.#file.size);
  }

  #reset(): void {
    this.#loaded = 0;
    this.#hash = hashFor(this.#file);
  }

  async #restart(): Promise<void> {
    this.#reset();
    await disk(this.#session, () => this.#handle.truncate(0));
  }

  async #rehash(): Promise<void> {
    const { size } = await disk(this.#session, () => this.#handle.stat());
    if (size > this.#file.size) return this.#restart();
    const chunk = new Uint8Array(Math.min(size, 2 ** 20));
    while (this.#loaded < size) {
      this.#session.signal.throwIfAborted();
      const { bytesRead } = await disk(this.#session, () => this.#handle.read(chunk, 0, chunk.length, this.#loaded));
      if (bytesRead === 0) break;
      this.#hash.update(chunk.subarray(0, bytesRead));
      this.#loaded += bytesRead;
      if (this.#loaded < this.#file.size) this.#report("verify", this.#loaded);
    }
  }

  async #fill(): Promise<void> {
    if (this.#loaded === this.#file.size) return;
    let best = this.#loaded;
    const progress = (loaded: number) => {
      best = Math.max(best, loaded);
      this.#report("download", best); // a server that starts over must not turn the progress back
    };
    await retrying(
      this.#session,
      () => this.#pull(progress),
      () => best,
    );
  }

  /** One connection: from where the file ends to its full size, or an error. */
  async #pull(progress: (loaded: number) => void): Promise<void> {
    const silence = new AbortController();
    const timer = setTimeout(() => silence.abort(new Error(`nothing arrived for ${SILENCE / 1000} s`)), SILENCE);
    try {
      // Compressed bytes could neither be counted nor continued.
      const headers: Record<string, string> = { "accept-encoding": "identity" };
      if (this.#loaded > 0) headers.range = `bytes=${this.#loaded}-`;
      const response = await request(this.#session, this.#file.url, { headers, signal: silence.signal });
      const continues = response.status === 206 && response.headers.get("content-range")?.startsWith(`bytes ${this.#loaded}-`);
      if (this.#loaded > 0 && !continues) await this.#restart();
      if (response.status !== (this.#loaded > 0 ? 206 : 200) || response.body === null) {
        await response.body?.cancel();
        throw new Error(`the server answered ${response.status} where bytes were expected`);
      }
      for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
        timer.refresh();
        if (this.#loaded + chunk.length > this.#file.size) {
          await this.#restart();
          throw this.#damaged(`it is longer than the published ${this.#file.size} bytes`);
        }
        await disk(this.#session, () => this.#write(chunk));
        this.#hash.update(chunk);
        this.#loaded += chunk.length;
        progress(this.#loaded);
      }
      if (this.#loaded < this.#file.size)
        throw new Error(`the connection ended after ${this.#loaded} of ${this.#file.size} bytes`);
    } finally {
      clearTimeout(timer);
    }
  }

  async #write(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.length; ) {
      done += (await this.#handle.write(chunk, done, chunk.length - done, this.#loaded + done)).bytesWritten;
    }
  }

  #report(phase: DownloadProgress["phase"], loaded: number): void {
    this.#session.report({ phase, file: this.#file.path, loaded, total: this.#file.size });
  }

  #damaged(problem: string): StylizingError {
    const fix = "It was thrown away; call again, or try another endpoint.";
    return failed(this.#session, `${this.#file.path} arrived damaged: ${problem}`, fix);
  }
}

/**
 * One request, with the token when it goes to the endpoint.
 * @returns a success or a 416
 * @throws StylizingError `DOWNLOAD` when refused; a plain error for what may pass by itself; the signal's reason
 */
export async function request(session: Session, url: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const { token } = session;
  if (token && new URL(url).origin === new URL(session.endpoint).origin) headers.set("authorization", `Bearer ${token}`);
  const signal = AbortSignal.any([session.signal, init.signal ?? AbortSignal.timeout(SILENCE)]);
  const response = await session.fetch(url, { ...init, headers, signal });
  const { status } = response;
  if (response.ok || status === 416) return response;
  await response.body?.cancel();
  if (status === 401 || status === 403) {
    const fix = token
      ? "Check HF_TOKEN or the token's file, or remove it for a public model."
      : "Check the name; for a private model set HF_TOKEN.";
    throw failed(session, `the server refused access (${status})`, fix);
  }
  if (status === 404)
    throw failed(session, "there is no such repository, revision or file (404)", "Check the name and the revision.");
  if (status >= 500 || status === 429 || status === 408) throw new Error(`the server answered ${status}`);
  throw failed(session, `the server answered ${status}`, "Check the endpoint.");
}

/**
 * Repeats what failed on the way, more and more slowly, until several attempts in a row brought nothing new.
 * @param progress a number that grows while attempts are worth it
 * @throws StylizingError at once; `DOWNLOAD` when it gives up; the signal's reason
 */
export async function retrying<T>(session: Session, action: () => Promise<T>, progress: () => number = () => 0): Promise<T> {
  let reached = progress();
  for (let failures = 0; ; ) {
    session.signal.throwIfAborted();
    try {
      return await action();
    } catch (error) {
      session.signal.throwIfAborted();
      if (error instanceof StylizingError) throw error;
      if (progress() > reached) failures = 0;
      reached = progress();
      if (++failures > RETRIES) {
        // The first cause of all tells most: a proxy's answer lies behind two others.
        let first = error;
        while (first instanceof Error && first.cause) first = first.cause;
        const cause = first === error ? messageOf(error) : `${messageOf(error)}: ${messageOf(first)}`;
        throw failed(session, cause, "Check the connection and call again: what has arrived is kept.", error);
      }
      const pause = Math.min(session.retryDelay * 2 ** (failures - 1), 16_000) * (0.75 + Math.random() / 2);
      await delay(pause, undefined, { signal: session.signal }).catch(() => {}); // aborted: the loop's first line says why
    }
  }
}

/** Runs a file operation; its failure becomes a `DOWNLOAD` error that speaks of the cache. */
export async function disk<T>(session: Session, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    const full = (error as NodeJS.ErrnoException).code === "ENOSPC";
    const fix = full
      ? "Free some space, or set HF_HOME or HF_HUB_CACHE to a folder on another disk."
      : "Set HF_HOME or HF_HUB_CACHE to a folder you may write to.";
    throw failed(session, `it could not be stored (${messageOf(error)})`, fix, error);
  }
}

/** A `DOWNLOAD` error that names what was asked of whom. */
export function failed(session: Session, problem: string, fix: string, cause?: unknown): StylizingError {
  const what = `Could not download ${session.repo} (revision ${session.revision}) from ${session.endpoint}: ${problem}.${session.damage ? ` ${session.damage}` : ""}`;
  return new StylizingError("DOWNLOAD", what, fix, cause === undefined ? {} : { cause });
}
