import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";

/** What a rival lacks or what became of it; the message is the reason why it cannot be measured. */
export class RivalFailure extends Error {}

interface Hello {
  name: string;
  device: string;
  cuda?: boolean;
}

/**
 * Another program that runs the model, in a process of its own. It is asked one thing at a time: a line of JSON goes in, a
 * line comes back, `{ ok }`, `{ skip: reason }` or `{ error }`. Where the process dies or says nothing for too long, that
 * is the answer.
 */
export class Rival implements Disposable {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;
  readonly #ended: Promise<string>;
  #errors = "";
  hello!: Hello;

  private constructor(program: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.#child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], env });
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.#errors = (this.#errors + text).slice(-2000);
    });
    // A request to a process that is gone: `ended` says so.
    this.#child.stdin!.on("error", () => {});
    this.#reader = createInterface({ input: this.#child.stdout! });
    this.#lines = this.#reader[Symbol.asyncIterator]();
    this.#ended = new Promise((resolve) => {
      this.#child.once("error", (error) => resolve(error.message));
      this.#child.once("close", (code, signal) => {
        const last = this.#errors.trim().split("\n").at(-1);
        resolve(`its process ended with ${signal ?? code}${last ? `: ${last.slice(0, 200)}` : ""}`);
      });
    });
  }

  /** @throws RivalFailure */
  static async start(program: string, args: readonly string[], timeout: number, env = process.env): Promise<Rival> {
    const rival = new Rival(program, args, env);
    try {
      const hello = (await rival.#line(timeout)) as Hello & { skip?: string };
      if (hello.skip) throw new RivalFailure(hello.skip);
      rival.hello = hello;
      return rival;
    } catch (error) {
      rival[Symbol.dispose]();
      throw error;
    }
  }

  async #line(timeout: number): Promise<unknown> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        // It may answer later, to a question that nobody remembers.
        this.#child.kill("SIGKILL");
        reject(new RivalFailure(`no answer within ${timeout / 1000} s`));
      }, timeout);
    });
    const gone = this.#ended.then((how) => Promise.reject(new RivalFailure(how)));
    gone.catch(() => {});
    try {
      const { value, done } = await Promise.race([this.#lines.next(), late, gone]);
      if (done) return await gone;
      return JSON.parse(value);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * @throws RivalFailure with what it lacks or reported, or when its process died or took too long.
   */
  async ask<T>(what: string, parameters: object, timeout: number): Promise<T> {
    this.#child.stdin!.write(`${JSON.stringify({ do: what, ...parameters })}\n`);
    const answer = (await this.#line(timeout)) as { ok?: T; skip?: string; error?: string };
    const failure = answer.skip ?? answer.error;
    if (failure !== undefined) throw new RivalFailure(failure);
    return answer.ok as T;
  }

  /** Ends its process and waits until it is gone, so that it takes nothing from what comes next. */
  async end(): Promise<void> {
    this[Symbol.dispose]();
    await this.#ended;
  }

  [Symbol.dispose](): void {
    this.#reader.close();
    this.#child.stdin!.destroy();
    this.#child.kill("SIGKILL");
  }
}

/** @throws RivalFailure where onnxruntime-node is not installed or does not load. */
export async function startOnnxruntime(root: string, provider: "cpu" | "webgpu", software: boolean): Promise<Rival> {
  const folder = join(root, "bench", "rivals");
  if (!existsSync(join(folder, "node_modules", "onnxruntime-node")))
    throw new RivalFailure("onnxruntime-node is not installed: npm ci in bench/rivals");
  return Rival.start(process.execPath, [join(folder, "ort_rival.mjs"), provider, ...(software ? ["software"] : [])], 30_000);
}

/** The first Python that has torch: `STYLIZING_VIT_PYTHON`, or else `python3` of the path, or the system's. @throws RivalFailure */
export async function startTorch(root: string): Promise<Rival> {
  const named = process.env.STYLIZING_VIT_PYTHON;
  const reasons: string[] = [];
  for (const python of named ? [named] : ["python3", "/usr/bin/python3"]) {
    try {
      // The first import of torch from a cold disk takes its time.
      return await Rival.start(python, [join(root, "bench", "rivals", "torch_rival.py")], 120_000);
    } catch (error) {
      reasons.push((error as Error).message);
    }
  }
  throw new RivalFailure(`${reasons.join("; ")} (STYLIZING_VIT_PYTHON names another Python)`);
}
