// Fetches published checkpoints into the cache that Python's huggingface_hub also uses:
//
//   models--owner--name/refs/<branch>                  the commit a branch stood for when it was first used
//   models--owner--name/snapshots/<commit>/<file>      relative links to blobs
//   models--owner--name/blobs/<etag>                   sha256 of a large file, git's sha1 of a small one
//   models--owner--name/blobs/<etag>[.<owner>].partial bytes so far; the owner is `<host>-<pid>-<random>`
//
// Processes never wait for each other. Whoever downloads writes to a partial file of its own; bytes left behind are
// taken over by renaming, which only one process can win, and handed back the same way. So nothing has to be unlocked
// after a crash, at the price that two processes that start together both fetch the file. Should a live partial be
// taken for an abandoned one, both write the same bytes to the same places. A file gets its final name only by a
// rename after its digest was right.
import { randomBytes } from "node:crypto";
import { constants, copyFile, open, readdir, readFile, realpath, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, isAbsolute, join, relative } from "node:path";
import { StylizingError } from "../errors.js";
import type { Fetch } from "../globals.js";
import { makeFolder } from "../image/make-folder.js";
import { askCommit, askFiles, type FileInfo, HUB_URL, hubCache, hubToken, modelFolder } from "./api.js";
import { readShardIndex } from "./checkpoint.js";
import { fetchByProxy } from "./proxy.js";
import { damageOfSafetensors } from "./safetensors.js";
import { disk, failed, isWhole, type RemoteFile, type Session, Transfer } from "./transfer.js";
import type { DownloadProgress } from "./types.js";

export type { DownloadProgress } from "./types.js";

export interface DownloadOptions {
  /** Branch, tag or commit; `main` unless the name says `@revision`. */
  readonly revision?: string | undefined;
  /** Its file of weights; default: `model.safetensors`, or shards of it. */
  readonly weights?: string | undefined;
  /** Default: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`. */
  readonly cacheDir?: string | undefined;
  /** Default: `HF_ENDPOINT`, else the Hugging Face Hub. */
  readonly endpoint?: string | undefined;
  /** Use the cache only. Default: whether `HF_HUB_OFFLINE` is set. */
  readonly offline?: boolean | undefined;
  /** Ask again which commit the branch stands for. Otherwise the recorded one is used, so that runs repeat. */
  readonly refresh?: boolean | undefined;
  /** Stops the download; the bytes so far stay for the next call. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Instead of Node's own, or of one by way of the proxy that `HTTPS_PROXY` or `HTTP_PROXY` names. */
  readonly fetch?: Fetch | undefined;
  /** Milliseconds before the first retry (500); doubles each time. */
  readonly retryDelay?: number | undefined;
}

export interface DownloadedCheckpoint {
  /** The snapshot's folder, to be opened as a checkpoint. */
  readonly folder: string;
  /** The commit. */
  readonly revision: string;
  /** File names in `folder`, weights last. */
  readonly files: readonly string[];
}

const CONFIG = "config.json";
const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";
const COMMIT = /^[0-9a-f]{40}$/;
/** Git's sha1, or a sha256. */
const DIGEST = /^([0-9a-f]{40}|[0-9a-f]{64})$/;
/** A partial file of another machine, untouched for so long (ms), has been abandoned. */
const ABANDONED = 3_600_000;
const HOST = hostname().replace(/[^\w-]/g, "_");

/**
 * Brings a repository of the Hub that has its weights in `model.safetensors`, or in shards of it, into the cache, or finds it
 * there. A revision that was once fetched completely is used without any request, unless a file of it is damaged. Needs no token for public
 * models; that of Hugging Face's tools is sent to the endpoint where there is one.
 * @param label what messages call it
 * @throws StylizingError `ARGUMENT` for a malformed revision, endpoint or proxy; `DOWNLOAD` when it is neither cached nor to be had, arrives
 * damaged or cannot be stored, or there is no home folder to store it in; `CHECKPOINT` for a malformed index of shards; the
 * signal's reason when aborted
 */
export async function downloadRepository(
  repo: string,
  options: DownloadOptions = {},
  label: string = repo,
): Promise<DownloadedCheckpoint> {
  options.signal?.throwIfAborted();
  const revision = options.revision ?? "main";
  if (!/^[\w.-]+(\/[\w.-]+)*$/.test(revision) || revision.split("/").some((part) => /^\.+$/.test(part))) {
    throw new StylizingError("ARGUMENT", `"${revision}" is not a revision.`, "Give a branch, a tag or a 40-digit commit.");
  }
  const cache = options.cacheDir ?? sharedCache(label);
  const root = join(cache, modelFolder(repo));
  const snapshotOf = (commit: string) => join(root, "snapshots", commit);
  const pinned = COMMIT.test(revision);
  const ref = join(root, "refs", revision);
  const recorded = pinned ? revision : await recordedCommit(ref);
  const offline = options.offline ?? /^(1|true|yes|on)$/i.test(process.env.HF_HUB_OFFLINE ?? "");
  const known = options.refresh && !offline && !pinned ? undefined : recorded;
  const damage: string[] = [];
  const { weights = WEIGHTS } = options;
  if (known !== undefined) {
    const files = await cachedFiles(snapshotOf(known), weights, damage);
    if (files !== undefined && damage.length === 0) return { folder: snapshotOf(known), revision: known, files };
  }
  if (offline) {
    const state =
      damage.length > 0 ? `is damaged in the cache (${damage[0]!.replace(/\.$/, "")})` : `is not in the cache ${cache}`;
    throw new StylizingError(
      "DOWNLOAD",
      `${label} (revision ${revision}) ${state}, and downloads are off.`,
      "Run once without HF_HUB_OFFLINE, or copy the cache from a machine that has it.",
    );
  }

  const stop = new AbortController();
  const session: Session = {
    repo,
    revision,
    endpoint: checkedEndpoint(options.endpoint ?? (process.env.HF_ENDPOINT || HUB_URL)),
    signal: options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal,
    report: (progress) => {
      try {
        options.onProgress?.(progress);
      } catch (error) {
        stop.abort(error); // else the caller's own mistake would look like a lost connection, and be retried
        throw error;
      }
    },
    fetch: options.fetch ?? (await fetchByProxy()),
    token: await hubToken(),
    damage: damage[0],
    retryDelay: options.retryDelay ?? 500,
  };
  let commit = known ?? "";
  if (known === undefined) {
    commit = await askCommit(session);
    if (!COMMIT.test(commit)) throw failed(session, "the answer names no commit", "Check the endpoint.");
  }
  const folder = snapshotOf(commit);
  let files = await cachedFiles(folder, weights, damage);
  if (files === undefined || damage.length > 0) {
    const look = async (paths: string[]) =>
      (await askFiles(session, commit, paths)).map((info) => remoteFile(session, commit, info));
    await fetchSnapshot(session, join(root, "blobs"), folder, weights, look);
    files = (await cachedFiles(folder, weights, [])) ?? [];
  }
  // Recorded last, so that a branch never stands for a snapshot that is not there.
  if (commit !== recorded) {
    await disk(session, async () => {
      await makeFolder(dirname(ref));
      await replace(ref, (fresh) => writeFile(fresh, commit));
    });
  }
  return { folder, revision: commit, files };
}

/** The cache of Hugging Face's tools: where the environment says, else in the user's home. */
function sharedCache(label: string): string {
  let cause: unknown;
  try {
    const path = hubCache();
    // With an empty HOME it would lie wherever the program was started.
    if (isAbsolute(path) || process.env.HF_HOME || process.env.HF_HUB_CACHE) return path;
  } catch (error) {
    cause = error;
  }
  throw new StylizingError(
    "DOWNLOAD",
    `There is no folder for ${label}: downloads are kept in the home folder, and this user has none.`,
    "Set HF_HOME to a folder you may write to.",
    { cause },
  );
}

function checkedEndpoint(endpoint: string): string {
  if (URL.canParse(endpoint) && /^https?:/i.test(endpoint)) return endpoint.replace(/\/+$/, "");
  throw new StylizingError("ARGUMENT", `The endpoint "${endpoint}" is not a web address.`, `Give one like ${HUB_URL}.`);
}

/** Small files first and weights last: a snapshot with weights is complete. */
async function fetchSnapshot(
  session: Session,
  blobs: string,
  folder: string,
  file: string,
  look: (paths: string[]) => Promise<RemoteFile[]>,
): Promise<void> {
  const found = new Map((await look([CONFIG, file, INDEX])).map((file) => [file.path, file]));
  const weights = found.get(file) ?? found.get(INDEX);
  const config = found.get(CONFIG);
  if (weights === undefined) throw failed(session, `it has neither ${file} nor ${INDEX}`, "Choose another revision.");
  if (config !== undefined) await store(session, blobs, config, folder);
  await store(session, blobs, weights, folder);
  if (weights.path === file) return;
  const shards = [...new Set((await readShardIndex(join(folder, INDEX))).values())];
  const there = await look(shards);
  const missing = shards.find((shard) => !there.some((file) => file.path === shard));
  if (missing !== undefined) throw failed(session, `it lacks ${missing}, which its index names`, "Choose another revision.");
  for (const file of there) await store(session, blobs, file, folder);
}

/** What the Hub says of a file, checked: the digest becomes a file's name, the size decides when to stop. */
function remoteFile(session: Session, commit: string, info: FileInfo): RemoteFile {
  const etag = info.lfs?.oid ?? info.oid ?? "";
  if (!DIGEST.test(etag) || !Number.isSafeInteger(info.size) || info.size < 0) {
    throw failed(session, `the answer about ${info.path} has no digest or size`, "Check the endpoint.");
  }
  const url = `${session.endpoint}/${session.repo}/resolve/${commit}/${encodeURIComponent(info.path)}`;
  return { path: info.path, url, size: info.size, etag };
}

async function recordedCommit(ref: string): Promise<string | undefined> {
  const text = (await readFile(ref, "utf8").catch(() => "")).trim();
  return COMMIT.test(text) ? text : undefined;
}

/**
 * The files of a complete snapshot, weights last.
 * @param damage gets what is wrong with one. Blobs were checked before they got their names, so that only what happened to one later on is
 *   looked for, and no gigabytes are hashed: that one was cut off, as by a broken copy, its header tells.
 */
async function cachedFiles(folder: string, weights: string, damage: string[]): Promise<string[] | undefined> {
  const has = async (file: string) => {
    const path = join(folder, file);
    if ((await sizeOf(path)) === undefined) return false;
    const wrong = await (file.endsWith(".json") ? damageOfText(path) : damageOfSafetensors(path));
    if (wrong !== undefined) damage.push(wrong);
    return true;
  };
  const files = (await has(CONFIG)) ? [CONFIG] : [];
  if (await has(weights)) return [...files, weights];
  if (!(await has(INDEX)) || damage.length > 0) return undefined;
  const shards = [...new Set((await readShardIndex(join(folder, INDEX))).values())];
  for (const shard of shards) if (!(await has(shard))) return undefined;
  return [...files, INDEX, ...shards];
}

/** Of a small file by its digest, which is its blob's name; a copy, where links could not be made, has none. */
async function damageOfText(path: string): Promise<string | undefined> {
  const blob = await realpath(path);
  const etag = basename(blob);
  if (!DIGEST.test(etag) || (await isWhole(blob, { etag, size: (await stat(blob)).size }))) return undefined;
  return `${path} is not what was fetched.`;
}

async function sizeOf(path: string): Promise<number | undefined> {
  const info = await stat(path).catch(() => undefined);
  return info?.isFile() ? info.size : undefined;
}

/** Makes sure of a file's blob and links it into the snapshot. */
async function store(session: Session, blobs: string, file: RemoteFile, folder: string): Promise<void> {
  const blob = join(blobs, file.etag);
  const there = (await sizeOf(blob)) !== undefined;
  if (!there || !(await isWhole(blob, file))) {
    // What there is of it may be right as far as it goes.
    if (there) await rename(blob, `${blob}.partial`).catch(() => {});
    await fetchBlob(session, file, blob);
  }
  await disk(session, async () => {
    await makeFolder(folder);
    // Windows allows links only to some users; a copy always works.
    await replace(join(folder, file.path), (fresh) => symlink(relative(folder, blob), fresh).catch(() => copyFile(blob, fresh)));
  });
}

/** Makes a file aside and renames it: nobody sees half of it, and whatever was there, a dangling link too, gives way. */
async function replace(path: string, make: (fresh: string) => Promise<void>): Promise<void> {
  const fresh = `${path}.${owner()}`;
  try {
    await make(fresh);
    await rename(fresh, path);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
}

async function fetchBlob(session: Session, file: RemoteFile, blob: string): Promise<void> {
  const partial = await disk(session, async () => {
    await makeFolder(dirname(blob));
    return claimPartial(dirname(blob), file.etag);
  });
  const handle = await disk(session, () => open(partial, constants.O_RDWR | constants.O_CREAT));
  try {
    try {
      await new Transfer(session, file, handle).run();
      await disk(session, () => handle.sync());
    } finally {
      await handle.close();
    }
    await disk(session, async () => {
      try {
        await rename(partial, blob);
      } catch (error) {
        // Another process was faster, and on Windows may have the blob open.
        if ((await sizeOf(blob)) !== file.size) throw error;
        await rm(partial, { force: true });
      }
      await rm(await claimPartial(dirname(blob), file.etag), { force: true }); // what others left meanwhile is of no use now
    });
  } catch (error) {
    // Kept for the next call, unless there is nothing in it (as when it proved worthless).
    if (!(await sizeOf(partial))) await rm(partial, { force: true });
    else await rename(partial, join(dirname(blob), `${file.etag}.partial`)).catch(() => {});
    throw error;
  }
}

const owner = () => `${HOST}-${process.pid}-${randomBytes(4).toString("hex")}`;

/** Takes over the longest partial file that nobody is writing to, and drops the rest; without any, names a new one. */
async function claimPartial(blobs: string, etag: string): Promise<string> {
  const free: { path: string; size: number }[] = [];
  for (const file of await readdir(blobs)) {
    if (!file.startsWith(`${etag}.`) || !file.endsWith(".partial")) continue;
    const info = await stat(join(blobs, file)).catch(() => undefined);
    if (info === undefined) continue;
    const [, host, pid] = /\.([\w-]+)-(\d+)-[0-9a-f]+\.partial$/.exec(file) ?? [];
    // Only on this machine can one ask whether the owner still lives.
    const owned = pid !== undefined && (host !== HOST || isAlive(Number(pid)));
    if (!owned || Date.now() - info.mtimeMs > ABANDONED) free.push({ path: join(blobs, file), size: info.size });
  }
  const mine = join(blobs, `${etag}.${owner()}.partial`);
  let won = false;
  for (const { path } of free.sort((a, b) => b.size - a.size)) {
    if (won) await rm(path, { force: true });
    else {
      won = await rename(path, mine).then(
        () => true,
        () => false,
      );
    }
  }
  return mine;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
