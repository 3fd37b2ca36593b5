// What is asked of a Hub beside files, and where Hugging Face tools keep theirs. It is written here since that is all that was
// used of a client library of 12 MB: the library's own downloader neither resumes nor checks what arrives, takes no signal and
// reports no progress.
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { failed, request, retrying, type Session } from "./transfer.js";

export const HUB_URL = "https://huggingface.co";

/** A path as a shell reads it: `~` is the home folder. @throws Error where this user has none */
export function expandHome(path: string): string {
  if (!/^~(?=[/\\]|$)/.test(path)) return path;
  const home = homedir();
  if (!isAbsolute(home)) throw new Error("this user has no home");
  return join(home, path.slice(1));
}

/** Where Hugging Face tools keep what they fetched: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`. */
export function hubCache(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE } = process.env;
  return expandHome(HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(hubHome(), "hub"));
}

/** `HF_HOME`, else `~/.cache/huggingface`. */
function hubHome(): string {
  const { HF_HOME, XDG_CACHE_HOME } = process.env;
  return expandHome(HF_HOME || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface"));
}

/** The token that Hugging Face tools send: `HF_TOKEN`, else what is in the file `HF_TOKEN_PATH`, else in `HF_HOME/token`. */
export async function hubToken(): Promise<string | undefined> {
  const { HF_TOKEN, HF_TOKEN_PATH } = process.env;
  if (HF_TOKEN?.trim()) return HF_TOKEN.trim();
  try {
    return (await readFile(expandHome(HF_TOKEN_PATH || join(hubHome(), "token")), "utf8")).trim() || undefined;
  } catch {
    // Public models need none.
    return undefined;
  }
}

/** A model's folder in there. */
export const modelFolder = (repo: string): string => `models--${repo.replaceAll("/", "--")}`;

/** A file of a repository, as the Hub describes it; not checked. */
export interface FileInfo {
  readonly path: string;
  readonly size: number;
  /** git's sha1 of the blob. */
  readonly oid?: string;
  /** Of a large file the sha256 of its contents. */
  readonly lfs?: { readonly oid: string };
}

/**
 * The commit that the session's branch or tag stands for, as the Hub says; not checked.
 * @throws StylizingError `DOWNLOAD`; the signal's reason
 */
export async function askCommit(session: Session): Promise<string> {
  const { repo, revision } = session;
  const answer = (await ask(session, `${repo}/revision/${encodeURIComponent(revision)}?expand=sha`)) as { sha?: unknown } | null;
  return String(answer?.sha);
}

/**
 * What the Hub says of some files at a commit; of those that it has.
 * @throws StylizingError `DOWNLOAD`; the signal's reason
 */
export async function askFiles(session: Session, commit: string, paths: readonly string[]): Promise<FileInfo[]> {
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ paths }) };
  const answer = await ask(session, `${session.repo}/paths-info/${commit}`, init);
  if (!Array.isArray(answer)) throw failed(session, "the answer about its files is not a list", "Check the endpoint.");
  return answer.filter((info: FileInfo | null) => info !== null && paths.includes(info.path));
}

/** An answer that is no JSON counts as a broken one, and is asked for again. */
function ask(session: Session, path: string, init: RequestInit = {}): Promise<unknown> {
  const headers = { accept: "application/json", ...init.headers };
  return retrying(session, async () =>
    (await request(session, `${session.endpoint}/api/models/${path}`, { ...init, headers })).json(),
  );
}
