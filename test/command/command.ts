import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, extname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import sharp from "sharp";
import { afterAll, expect, vi } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import { runProgram } from "../../src/command/program.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { type TensorToWrite, writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { root, shared } from "../support/fixtures.js";

/** The command as it is published: compiled. */
export const MAIN = join(root, "dist", "command", "main.js");

/** Arguments that paint `content` in `style`. */
export const stylize = (content: readonly string[], style: readonly string[], out: string, ...rest: string[]) => [
  "stylize",
  "--content",
  ...content,
  "--style",
  ...style,
  "--out",
  out,
  ...rest,
];

/** A process that takes longer than this has hung: the slowest here needs a quarter of it. */
const LONGEST = 60_000;

/** Compiles `src/` where `dist/` is older. Test files run at once, and only one of them may write `dist/`. */
export async function build(): Promise<void> {
  const sources = readdirSync(join(root, "src"), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const newest = Math.max(...sources.map((entry) => statSync(join(entry.parentPath, entry.name)).mtimeMs));
  const stale = () => !existsSync(MAIN) || statSync(MAIN).mtimeMs < newest;
  if (!stale()) return;
  const lock = join(root, "node_modules", ".build-for-tests");
  for (const start = Date.now(); ; await delay(100)) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      // Left behind by a run that was killed.
      if (Date.now() - start > 60_000) rmSync(lock, { recursive: true, force: true });
    }
  }
  try {
    if (stale()) execFileSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", root], { stdio: "pipe" });
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string | undefined>;
  /** Instead of the compiled command of this checkout. */
  main?: string;
  /** Milliseconds after which it has hung. */
  longest?: number;
  /** Runs as another user, which root alone can do. */
  uid?: number;
  /** In this process, which spares half a second and cannot be asked for at once: for what ends before it paints. */
  here?: boolean;
}

/** Of runs in this process. */
export const HERE: RunOptions = { here: true };

/** Nothing of the caller's own settings, no network, and a CPU, so that results are the same on every machine. */
export function environment(extra: Record<string, string | undefined> = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(HF_|VK_|STYLIZING_VIT_|NODE_OPTIONS|VITEST|_$)|_proxy$/i.test(name),
  );
  const own = { STYLIZING_VIT_ADAPTER: "software", HF_ENDPOINT: "http://127.0.0.1:9" };
  return { ...Object.fromEntries(kept), ...own, ...extra };
}

/** Starts a program; `finished` rejects where it does not end by itself. */
export function startProgram(
  program: string,
  args: readonly string[],
  { cwd, env, uid, longest = LONGEST }: RunOptions = {},
): { child: ChildProcess; finished: Promise<Finished> } {
  const user = uid === undefined ? {} : { uid, gid: uid };
  const child = spawn(program, args, { cwd, env: environment(env), stdio: ["ignore", "pipe", "pipe"], ...user });
  const finished = new Promise<Finished>((resolve, reject) => {
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const hung = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`${program} ${args.join(" ")} did not end within ${longest / 1000} s.\n${stderr}`));
    }, longest);
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(hung);
      resolve({ code, signal, stdout, stderr });
    });
  });
  return { child, finished };
}

export function start(args: readonly string[], options: RunOptions = {}) {
  return startProgram(process.execPath, [options.main ?? MAIN, ...args], options);
}

export function run(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return options.here ? runHere(args, options) : start(args, options).finished;
}

/** In place: drivers read the process's own, which no other object is. */
function setEnvironment(wanted: NodeJS.ProcessEnv): void {
  for (const name of Object.keys(process.env)) if (wanted[name] === undefined) delete process.env[name];
  for (const [name, value] of Object.entries(wanted)) if (value !== undefined) process.env[name] = value;
}

let running = false;
async function runHere(args: readonly string[], { env }: RunOptions): Promise<Finished> {
  if (running) throw new Error("What this process prints belongs to one run at a time.");
  running = true;
  const before = { env: { ...process.env }, code: process.exitCode };
  const printed = { stdout: "", stderr: "" };
  const spies = (["stdout", "stderr"] as const).map((stream) =>
    vi.spyOn(process[stream], "write").mockImplementation((text) => {
      printed[stream] += String(text);
      return true;
    }),
  );
  setEnvironment(environment(env));
  process.exitCode = undefined;
  try {
    await runProgram(args);
    return { ...printed, code: Number(process.exitCode ?? 0), signal: null };
  } finally {
    running = false;
    setEnvironment(before.env);
    process.exitCode = before.code;
    for (const spy of spies) spy.mockRestore();
  }
}

/** What was printed on stdout, which is one JSON document and nothing else. */
export function json<T>({ stdout, stderr }: Finished): T {
  expect(stdout, stderr).toMatch(/^\{\n[\s\S]*\n\}\n$/);
  return JSON.parse(stdout) as T;
}

/** Runs with `--json`, checks the exit code and returns the document. */
export async function runJson<T>(args: readonly string[], code = 0, options: RunOptions = {}): Promise<T & { stderr: string }> {
  const finished = await run([...args, "--json"], options);
  expect(finished.code, finished.stderr).toBe(code);
  return { ...json<T>(finished), stderr: finished.stderr };
}

/** The document of a run that failed as a whole. */
export interface Failure {
  error: { code: string; message: string; fix: string };
}

let made = 0;
let files: string | undefined;

/** A path in this test file's own folder, which goes when its tests are done; the folder above it exists. */
export function fresh(name = ""): string {
  if (files === undefined) {
    const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-command-"));
    afterAllRemove(folder);
    files = folder;
  }
  const path = join(files, String(++made), name);
  mkdirSync(name ? dirname(path) : path, { recursive: true });
  return path;
}

const toRemove: string[] = [];
function afterAllRemove(folder: string): void {
  toRemove.push(folder);
}
afterAll(() => {
  for (const folder of toRemove.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** All files below a folder, in order, hidden ones too. */
export function listFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

export interface Raw {
  data: Buffer;
  width: number;
  height: number;
}

/** Soft colours, others for every seed. */
export function colours(seed: number, width = 96, height = width): Raw {
  const data = Buffer.alloc(width * height * 3);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        const wave = Math.sin((x / width) * (3 + seed) + c) + Math.cos((y / height) * (2 + seed * 0.7) - c * seed);
        data[at++] = Math.round(128 + 55 * wave);
      }
    }
  }
  return { data, width, height };
}

export const encode = ({ data, width, height }: Raw) => sharp(data, { raw: { width, height, channels: 3 } });

/** Writes an image of soft colours, in the format of the name's ending, and returns its path. */
export async function imageFile(path: string, seed: number, width = 96, height = width): Promise<string> {
  mkdirSync(dirname(path), { recursive: true });
  const format = extname(path).slice(1).replace("jpg", "jpeg") as "png" | "jpeg" | "webp";
  await encode(colours(seed, width, height))
    .toFormat(format)
    .toFile(path);
  return path;
}

/** Several of them in a new folder, by name. */
export async function imageFiles(...names: string[]): Promise<string[]> {
  const folder = fresh();
  return Promise.all(names.map((name, index) => imageFile(join(folder, `${name}.png`), index + name.length)));
}

export async function pixels(path: string): Promise<Raw> {
  const { data, info } = await sharp(path).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height };
}

/** The largest difference between two image files, in levels of 255. */
export async function levelsApart(one: string, other: string): Promise<number> {
  const [a, b] = [await pixels(one), await pixels(other)];
  expect([a.width, a.height]).toEqual([b.width, b.height]);
  let most = 0;
  for (let i = 0; i < a.data.length; i++) most = Math.max(most, Math.abs(a.data[i]! - b.data[i]!));
  return most;
}

/** The small model that comes with the package. */
export const DEMO_MODEL = join(root, "weights", "demo");

/** A model that paints at once, for tests of all that is around it: noise for weights, 32-pixel images. */
export function micro(): string[] {
  const config = fresh("micro.json");
  const shape = { image_size: 32, patch_size: 8, embed_dim: 48, num_heads: 3, depth: 2 };
  writeFileSync(config, JSON.stringify({ ...shape, mean: [0.6, 0.5, 0.6], std: [0.2, 0.2, 0.2] }));
  return ["--model", "hashed:3", "--config", config];
}

/** The demo model's tensors, changed, beside its configuration. */
export async function spoiledModel(change: (tensors: Map<string, TensorToWrite>) => void): Promise<string> {
  const folder = fresh();
  const tensors = new Map<string, TensorToWrite>();
  await using file = await SafetensorsFile.open(join(DEMO_MODEL, "model.safetensors"));
  for (const [name, { shape }] of file.tensors) tensors.set(name, { shape, data: await file.read(name) });
  change(tensors);
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
  copyFileSync(join(DEMO_MODEL, "config.json"), join(folder, "config.json"));
  return folder;
}

/** Arguments that paint with a model that takes no time. */
export const paint = (...args: Parameters<typeof stylize>) => [...stylize(...args), ...micro()];

/** Content and style of each result, by the names of their files. */
export const couples = (report: StylizeReport) =>
  report.images.map(({ content, style }) => `${basename(content)} ${basename(style!)}`);

/** Waits until something is so, for as long as a slow machine may take. */
export async function until(condition: () => boolean): Promise<void> {
  for (let waited = 0; !condition() && waited < 30_000; waited += 10) await delay(10);
}

/** A reason to skip, which vitest prints. */
export const reason = { noGolden: `no golden case beside the checkout (${join(shared, "golden")})` };
