// A commit of this repository, checked out and compiled in a temporary folder of its own.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { messageOf } from "../src/errors.js";
import { UsageError } from "./options.js";

type Run = (program: string, args: readonly string[], cwd: string) => Promise<string>;

/** Runs a program to its end, or until the signal kills it. @throws Error with what it said last. */
function runner(signal: AbortSignal): Run {
  return async (program, args, cwd) => {
    try {
      return (await promisify(execFile)(program, args, { cwd, signal, encoding: "utf8", maxBuffer: 2 ** 26 })).stdout;
    } catch (error) {
      signal.throwIfAborted();
      const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
      const said = `${stdout}\n${stderr}`.trim().split("\n").slice(-20).join("\n");
      throw new Error(said || messageOf(error), { cause: error });
    }
  };
}

/** Cleaning up goes on when all else is stopped. */
const clean = runner(new AbortController().signal);

async function resolveCommit(name: string, root: string, run: Run): Promise<string> {
  try {
    await run("git", ["rev-parse", "--git-dir"], root);
  } catch (error) {
    const missing = ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === "ENOENT";
    throw new Error(
      missing
        ? "--against needs git, and there is none on the path."
        : `--against needs a git checkout, and ${root} is none: ${messageOf(error)}`,
      { cause: error },
    );
  }
  return run("git", ["rev-parse", "--verify", "--quiet", `${name}^{commit}`], root).then(
    (sha) => sha.trim(),
    (error) => {
      // A number: git's answer. Else it did not come to one.
      if (typeof error.cause?.code !== "number") throw error;
      throw new UsageError(`--against ${name}: this repository has no such commit; fetch it, or see \`git log\`.`);
    },
  );
}

/** Names of these folders hold the process that made them, so that those of dead ones are known. */
const PREFIX = "stylizing-vit-against-";
const OURS = new RegExp(`${PREFIX}(\\d+)-[^/\\\\]+$`);

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function remove(path: string, root: string): Promise<void> {
  const tree = join(path, "tree");
  // First the link, so that nobody follows it into the dependencies of this checkout. Installed ones are a folder, and stay.
  try {
    unlinkSync(join(tree, "node_modules"));
  } catch {}
  // Twice forced: an unfinished checkout is locked. There is none yet where even that failed.
  await clean("git", ["worktree", "remove", "--force", "--force", tree], root).catch(() => {});
  rmSync(path, { recursive: true, force: true, maxRetries: 5 });
}

/** Removes what runs that were killed have left. */
async function sweep(root: string): Promise<void> {
  const trees = (await clean("git", ["worktree", "list", "--porcelain"], root)).matchAll(/^worktree (.+)$/gm);
  for (const [, tree] of trees) {
    const path = dirname(tree!);
    const pid = Number(OURS.exec(path)?.[1] ?? Number.NaN);
    if (tree!.endsWith("/tree") && (pid === process.pid || (pid > 0 && !alive(pid)))) await remove(path, root);
  }
}

export class CommitFolder {
  /** What lies here goes with it. */
  readonly path: string;
  /** The commit's files. */
  readonly tree: string;
  readonly sha: string;
  readonly #root: string;
  readonly #signal: AbortSignal;

  private constructor(sha: string, root: string, signal: AbortSignal) {
    this.path = mkdtempSync(join(realpathSync(tmpdir()), `${PREFIX}${process.pid}-`));
    this.tree = join(this.path, "tree");
    this.sha = sha;
    this.#root = root;
    this.#signal = signal;
  }

  /** An empty folder. @throws UsageError where there is no such commit. */
  static async create(commit: string, root: string, signal: AbortSignal): Promise<CommitFolder> {
    const sha = await resolveCommit(commit, root, runner(signal));
    await sweep(root);
    return new CommitFolder(sha, root, signal);
  }

  /** Checks the commit out and compiles it, by its own compiler and settings. */
  async build(): Promise<void> {
    const { tree } = this;
    const run = runner(this.#signal);
    await run("git", ["worktree", "add", "--detach", tree, this.sha], this.#root);
    const lock = (folder: string) => readFileSync(join(folder, "package-lock.json"), "utf8");
    try {
      if (lock(tree) === lock(this.#root)) symlinkSync(join(this.#root, "node_modules"), join(tree, "node_modules"), "junction");
      else {
        process.stderr.write("Its dependencies are others: installing them (npm ci) ...\n");
        await run(process.platform === "win32" ? "npm.cmd" : "npm", ["ci", "--no-audit", "--no-fund"], tree);
      }
      // Not `npm run build`, which would look at the dates of the link's dependencies and install them anew.
      await run(process.execPath, [join(tree, "node_modules", "typescript", "bin", "tsc"), "-p", tree], tree);
      readFileSync(join(tree, "dist", "index.js"));
    } catch (error) {
      this.#signal.throwIfAborted();
      throw new Error(`${this.sha.slice(0, 12)} does not build: ${messageOf(error)}`, { cause: error });
    }
  }

  async remove(): Promise<void> {
    await remove(this.path, this.#root);
  }
}
