import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { adapterKey, cacheFile, readEntries, writeEntry } from "./adapter-cache.js";
import { type Call, type Plan, pick } from "./call.js";
import type { Gpu } from "./gpu.js";
import { type Program, ProgramBuilder } from "./program.js";
import { timeDispatches } from "./timing.js";

/**
 * `auto` uses what was measured before, and on a GPU measures what was not; `off` takes the defaults, whatever was measured,
 * so that results are bit-exact from run to run; `fixed` moreover one kernel whatever the number of rows, so that an image's result
 * is bit-exact whatever is beside it in its batch; `measure` measures everything anew.
 */
export type TuneMode = "auto" | "off" | "fixed" | "measure";
export const TUNE_MODES: readonly TuneMode[] = ["auto", "off", "fixed", "measure"];

/** Whether nothing is measured, read or remembered. */
const isOff = (mode: TuneMode): boolean => mode === "off" || mode === "fixed";

/** What was measured of one op and shape. */
export interface Choice {
  /** The candidate's name. */
  name: string;
  /** The fastest of the rounds of the chosen candidate and of the default: what else the machine does only ever slows them. */
  milliseconds: number;
  defaultMilliseconds: number;
  candidates: number;
}

/** How much faster a candidate must be than the default: less may be noise, and a default never loses by noise. */
const MARGIN = 0.03;
/** Rounds of one dispatch a candidate; the first warms up and is not counted. */
const ROUNDS = 6;
/** Milliseconds that one op's measuring may take, roughly; slow adapters get fewer rounds, and two at least. */
const BUDGET = 400;

function isChoice(value: unknown): value is Choice {
  const { name, milliseconds, defaultMilliseconds, candidates } = (value ?? {}) as Partial<Choice>;
  return typeof name === "string" && [milliseconds, defaultMilliseconds, candidates].every((x) => Number.isFinite(x));
}

let kernelsHash: string | undefined;

/** Changes with any kernel: what was measured of another text says nothing. */
function hashOfKernels(): string {
  if (!kernelsHash) {
    const hash = createHash("sha256");
    const folder = fileURLToPath(new URL("../../kernels/", import.meta.url));
    for (const name of readdirSync(folder, { recursive: true }).map(String).sort()) {
      if (name.endsWith(".wgsl")) hash.update(readFileSync(join(folder, name)));
    }
    kernelsHash = hash.digest("hex").slice(0, 16);
  }
  return kernelsHash;
}

/** Chooses between candidates of an op by measuring them on its own buffers, and remembers what it found by adapter and driver. */
export class Tuner {
  #mode: TuneMode;
  #measures: boolean;
  readonly #file: string | undefined;
  /** Of its entry in the file; empty where it is off, since then nothing is read or written. */
  readonly #key: string;
  readonly #gpu: Gpu;
  readonly #choices = new Map<string, Choice>();
  /** Called before the first op is measured, since that takes a while. */
  onFirstMeasure: (() => void) | undefined;
  /** Measured by this object: not to be measured again in `measure`. */
  readonly #fresh = new Set<string>();
  #saved = true;

  constructor(gpu: Gpu, mode: TuneMode, file?: string) {
    const { facts, profile } = gpu;
    this.#gpu = gpu;
    this.#mode = mode;
    // Compiling every candidate takes a software adapter seconds: there it is done on request only.
    this.#measures = mode === "measure" || (mode === "auto" && !profile.software);
    this.#file = isOff(mode) ? undefined : (file ?? cacheFile("tuning.json"));
    this.#key = isOff(mode) ? "" : [adapterKey(facts), profile.tier, profile.matrix ?? "", hashOfKernels()].join("|");
    if (isOff(mode)) return;
    const known = readEntries(this.#file)[this.#key];
    if (known && typeof known === "object") {
      for (const [op, choice] of Object.entries(known)) if (isChoice(choice)) this.#choices.set(op, choice);
    }
  }

  /** What is known, by op and shape. */
  get choices(): ReadonlyMap<string, Choice> {
    return this.#choices;
  }

  /**
   * The plan to use for a call. Measuring runs it on its own buffers, whose contents are lost; nothing may be waiting to read them.
   */
  async pick(call: Call, mayMeasure = true): Promise<Plan> {
    const { key, candidates } = call;
    if (this.#mode === "fixed") return pick(candidates, call.fixed?.());
    const first = candidates[0]!;
    if (this.#mode === "off" || candidates.length === 1) return first.plan;
    const stale = this.#mode === "measure" && !this.#fresh.has(key);
    const known = stale ? undefined : this.#choices.get(key);
    const chosen = candidates.find(({ name }) => name === known?.name);
    if (chosen) return chosen.plan;
    if (!this.#measures || !mayMeasure) return first.plan;
    this.onFirstMeasure?.();
    this.onFirstMeasure = undefined;
    const choice = await measure(this.#gpu, call);
    this.#choices.set(key, choice);
    this.#fresh.add(key);
    this.#saved = false;
    return candidates.find(({ name }) => name === choice.name)!.plan;
  }

  /** Writes what was measured since the last time. */
  save(): void {
    if (this.#saved) return;
    this.#saved = true;
    // Another process may have measured other shapes meanwhile.
    const others = readEntries(this.#file)[this.#key];
    writeEntry(this.#file, this.#key, {
      ...(others && typeof others === "object" ? others : {}),
      ...Object.fromEntries(this.#choices),
    });
  }

  /** Measures what is met during `work` on a software adapter too; where the tuner is off it stays so. */
  async onRequest<T>(work: () => Promise<T>): Promise<T> {
    const usual = this.#measures;
    this.#measures = !isOff(this.#mode);
    try {
      return await work();
    } finally {
      this.#measures = usual;
    }
  }

  /** Forgets everything about this adapter and tier, on disk as well, and is off from then on: what was chosen computes wrongly. */
  forget(): void {
    if (isOff(this.#mode)) return;
    this.#mode = "off";
    this.#choices.clear();
    this.#fresh.clear();
    this.#saved = true;
    writeEntry(this.#file, this.#key, {});
  }
}

/** The fastest of several rounds in which all candidates take turns. One that does not compile here is left out. */
async function measure(gpu: Gpu, call: Call): Promise<Choice> {
  const { candidates } = call;
  const compiled = await Promise.allSettled(candidates.map(({ plan }) => gpu.pipelines.get(plan.variant)));
  const usable = candidates.flatMap((candidate, index) => {
    const result = compiled[index]!;
    return result.status === "fulfilled" ? [{ ...candidate, pipeline: result.value }] : [];
  });
  const [first] = candidates;
  if (usable[0]?.name !== first!.name) {
    // The default itself does not compile: the program's own compiling says so.
    return { name: first!.name, milliseconds: 0, defaultMilliseconds: 0, candidates: candidates.length };
  }
  const race = async (runners: typeof usable): Promise<number[]> => {
    const builder = new ProgramBuilder(gpu);
    for (const { plan, pipeline } of runners) builder.add(call, plan, pipeline);
    const program = builder.finish("tuning");
    try {
      let fastest = runners.map(() => Number.POSITIVE_INFINITY);
      let rounds = ROUNDS;
      for (let round = 0; round < rounds; round++) {
        const took = await timeEach(gpu, program);
        if (round === 0) rounds = Math.max(2, Math.min(ROUNDS, Math.floor(BUDGET / took.reduce((a, b) => a + b, 0))));
        else fastest = fastest.map((time, index) => Math.min(time, took[index]!));
      }
      return fastest;
    } finally {
      program.dispose();
    }
  };
  const heats = await race(usable);
  const best = heats.indexOf(Math.min(...heats));
  const stay = { name: first!.name, milliseconds: heats[0]!, defaultMilliseconds: heats[0]!, candidates: usable.length };
  if (!(heats[best]! < (1 - MARGIN) * heats[0]!)) return stay;
  // What won among many may have been lucky: it has to beat the default once more, alone.
  const [base, milliseconds] = await race([usable[0]!, usable[best]!]);
  if (!(milliseconds! < (1 - MARGIN) * base!)) return stay;
  return { name: usable[best]!.name, milliseconds: milliseconds!, defaultMilliseconds: base!, candidates: usable.length };
}

/** Milliseconds of every dispatch: the device's where it tells, else by the host's clock, one submission each. */
async function timeEach(gpu: Gpu, program: Program): Promise<number[]> {
  const times = await timeDispatches(gpu, program);
  if (times?.every(({ milliseconds }) => Number.isFinite(milliseconds))) return times.map(({ milliseconds }) => milliseconds);
  const took: number[] = [];
  for (let index = 0; index < program.dispatches.length; index++) {
    const start = performance.now();
    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    program.encode(pass, index, index + 1);
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    await gpu.device.queue.onSubmittedWorkDone();
    took.push(performance.now() - start);
  }
  return took;
}
