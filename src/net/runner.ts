import { setTimeout as delay } from "node:timers/promises";
import { StylizingError } from "../errors.js";
import { BufferUsage, MAP_READ } from "../gpu/dawn.js";
import type { Gpu } from "../gpu/gpu.js";
import type { Program, Tap } from "../gpu/program.js";
import { type DispatchTime, gemmRate, LONGEST_DISPATCH, timeDispatches } from "../gpu/timing.js";
import { type TuneMode, Tuner } from "../gpu/tuner.js";
import { Arena, type Needs } from "./arena.js";
import { sleepThrough } from "./patience.js";
import { type Description, Recorder } from "./recorder.js";
import { type Read, type Run, refusal } from "./run.js";
import { aligned, copyOut, StagingRing } from "./staging.js";

/** Runs on the device at the same time: enough for it to work while one is read. */
const RUNS_IN_FLIGHT = 2;
/** Programs kept bound; one that was not used lately is bound anew, in about a millisecond. */
const MOST_PROGRAMS = 12;
/** Bytes of the two timestamps that stand behind results. */
const STAMPS = 16;
/** Share of the time slept that is expected next, where it was too long. */
const OVERSLEPT = 0.9;
/** Milliseconds in which the loss of a device is told, once it has refused something. */
const LOSS_TOLD = 500;

/** A submission that the device may not have finished. */
interface Ticket {
  /** Waits for it and takes its results, once however often it is asked. */
  wait(): Promise<Uint8Array[]>;
  /** Whether somebody awaits its results, and so learns of its failure. */
  awaited: boolean;
}

interface Bound {
  program: Program;
  value: unknown;
}

/**
 * Runs programs on a device: one submission after another, a few at a time, read back through a ring of buffers. It keeps programs
 * bound, and their activations in one arena.
 */
export class Runner {
  readonly gpu: Gpu;
  readonly tuner: Tuner;
  readonly arena: Arena;
  readonly #programs = new Map<string, Bound>();
  readonly #staging: StagingRing;
  readonly #inFlight: Ticket[] = [];
  #lock: Promise<unknown> = Promise.resolve();
  #stamps: { set: GPUQuerySet; resolved: GPUBuffer } | undefined;
  /** Runs that were seen to end, by the last of their programs, and how long the next one should take, in milliseconds. */
  readonly #expected = new WeakMap<Program, { runs: number; milliseconds: number }>();
  /** When the host saw the run before done, and when the device's clock did, in nanoseconds. */
  #done: Promise<number> = Promise.resolve(Number.NEGATIVE_INFINITY);
  #lastStamp = 0n;

  /** @param rowsBehind see Arena */
  constructor(gpu: Gpu, tune: TuneMode = "off", rowsBehind = 0) {
    this.gpu = gpu;
    this.tuner = new Tuner(gpu, tune);
    this.arena = new Arena(gpu, rowsBehind);
    this.#staging = new StagingRing(gpu);
  }

  /** Runs `work` when all earlier work has been handed to the device. */
  exclusively<T>(work: () => T | Promise<T>): Promise<T> {
    const run = this.#lock.then(work);
    this.#lock = run.catch(() => {});
    return run;
  }

  /** Bytes that a description asks of the arena, by name. */
  measure(describe: Description): Needs {
    return new Recorder(this.gpu, this.arena, this.tuner).measure(describe);
  }

  /** Allocates what a program will ask for, so that a lack of memory shows now. @throws StylizingError `GPU` */
  async reserve(what: string, describe: Description): Promise<void> {
    const needs = this.measure(describe);
    if (this.arena.holds(needs)) return;
    await this.gpu.device.queue.onSubmittedWorkDone();
    this.drop();
    try {
      await this.gpu.checked(what, () => this.arena.grow(needs));
    } catch (error) {
      // Where memory ran out buffers exist and cannot be used.
      this.arena.dispose();
      throw error;
    }
  }

  /**
   * The program of a description, bound before or now; what the arena held may be lost then. Call it within `exclusively`.
   * @param key tells descriptions apart
   * @param describe emits the steps; what it returns is kept with the program, and not to be relied on where it is measured
   * @throws StylizingError `GPU`; its `cause` is `"out-of-memory"` where a smaller batch may fit
   */
  async program<T>(
    key: string,
    what: string,
    describe: (r: Recorder) => T,
    mayMeasure = true,
  ): Promise<{ program: Program; value: T }> {
    const known = this.#programs.get(key);
    if (known) {
      // Least recently used first.
      this.#programs.delete(key);
      this.#programs.set(key, known);
      return known as { program: Program; value: T };
    }
    await this.reserve(what, describe);
    while (this.#programs.size >= MOST_PROGRAMS) {
      const [oldest] = this.#programs.keys();
      await this.gpu.device.queue.onSubmittedWorkDone();
      this.drop((one) => one === oldest);
    }
    const bound = await this.gpu.checked(what, async () => {
      const recorder = new Recorder(this.gpu, this.arena, this.tuner);
      try {
        const value = describe(recorder);
        return { program: await recorder.finish(what, mayMeasure), value };
      } catch (error) {
        recorder.abandon();
        throw error;
      }
    });
    this.#programs.set(key, bound);
    return bound;
  }

  /** Drops programs by their keys; nothing may be in flight that uses them. */
  drop(matches: (key: string) => boolean = () => true): void {
    for (const [key, { program }] of [...this.#programs]) {
      if (!matches(key)) continue;
      this.#programs.delete(key);
      program.dispose();
    }
  }

  /** Drops programs by their keys once nothing in flight uses them. */
  forget(matches?: (key: string) => boolean): Promise<void> {
    return this.exclusively(async () => {
      await this.gpu.device.queue.onSubmittedWorkDone();
      this.drop(matches);
    });
  }

  /**
   * Submits a run in the order of the calls, and waits for its results, in the order of its reads.
   * @param prepare makes the run when its turn has come
   * @throws StylizingError `GPU`, `DEVICE_LOST`
   */
  async run(prepare: () => Run | Promise<Run>): Promise<Uint8Array[]> {
    const ticket = await this.#turn(prepare);
    ticket.awaited = true;
    return ticket.wait();
  }

  /** As `run`, without waiting for more than room on the device: a failure shows in a later call. */
  async start(prepare: () => Run | Promise<Run>): Promise<void> {
    await this.#turn(prepare);
  }

  /** Submits commands of the caller's own behind what was submitted before, and waits for nothing. */
  submit(label: string, work: (encoder: GPUCommandEncoder) => void): Promise<void> {
    return this.exclusively(() => {
      this.assertAlive();
      const encoder = this.gpu.device.createCommandEncoder({ label });
      work(encoder);
      this.gpu.device.queue.submit([encoder.finish()]);
    });
  }

  #turn(prepare: () => Run | Promise<Run>): Promise<Ticket> {
    return this.exclusively(async () => {
      const run = await prepare();
      while (this.#inFlight.length >= RUNS_IN_FLIGHT) await this.#settle(this.#inFlight[0]!);
      return this.#submit(run);
    });
  }

  async #settle(ticket: Ticket): Promise<void> {
    try {
      await ticket.wait();
    } catch (error) {
      if (!ticket.awaited) throw error;
    }
  }

  async #submit(run: Run): Promise<Ticket> {
    this.assertAlive();
    const { reads = [], timing } = run;
    const stamps = timing && this.#timestamps();
    const down = reads.reduce((sum, { bytes }) => sum + aligned(bytes), 0);
    // Without results a run still has a buffer of its own: mapping it waits for this run and no later one.
    const staging = await this.#staging.take(Math.max(down + (stamps ? STAMPS : 0), STAMPS));
    let sent: { result: number; refused: Promise<string | undefined> };
    try {
      sent = this.gpu.watched(() => this.#send(run, staging, down, stamps));
    } catch (error) {
      this.gpu.release(staging);
      throw error;
    }
    const { result: submitted, refused } = sent;
    let previous = this.#inFlight.at(-1);
    const before = this.#done;
    let seen!: (at: number) => void;
    this.#done = new Promise((resolve) => {
      seen = resolve;
    });
    let waiting: Promise<Uint8Array[]> | undefined;
    const ticket: Ticket = {
      awaited: false,
      wait: () => {
        waiting ??= (async () => {
          try {
            // Perhaps nobody else waits for the run before; let go of it then, or every run would hold all before it.
            if (previous) await this.#settle(previous);
            previous = undefined;
            const begun = Math.max(submitted, await before);
            await this.#mapped(staging, run.programs?.at(-1), begun);
            // There by now: the device looks at commands before it runs them.
            const words = await refused;
            if (words !== undefined) throw refusal(run, words);
            const ended = performance.now();
            seen(ended);
            const results = copyOut(staging, reads);
            if (timing) {
              timing.compute += (stamps && this.#passTime(staging, down)) ?? ended - begun;
              timing.done = Math.max(timing.done, ended);
              timing.download += performance.now() - ended;
            }
            this.#staging.giveBack(staging);
            return results;
          } catch (error) {
            this.gpu.release(staging);
            return await this.#failed(error);
          } finally {
            seen(performance.now());
            this.#inFlight.splice(this.#inFlight.indexOf(ticket), 1);
          }
        })();
        return waiting;
      },
    };
    this.#inFlight.push(ticket);
    return ticket;
  }

  /** Uploads, encodes and submits a run, all at once and without waiting. @returns when it was submitted. */
  #send(run: Run, staging: GPUBuffer, down: number, stamps: { set: GPUQuerySet; resolved: GPUBuffer } | undefined): number {
    const { device } = this.gpu;
    const { programs = [], reads = [], timing } = run;
    const start = performance.now();
    const encoder = device.createCommandEncoder({ label: run.label });
    run.upload?.(encoder);
    const uploaded = performance.now();
    this.#encode(encoder, programs, run.atTap, stamps?.set);
    run.after?.(encoder);
    let at = 0;
    for (const { buffer, offset = 0, bytes } of reads) {
      encoder.copyBufferToBuffer(buffer, offset, staging, at, Math.ceil(bytes / 4) * 4);
      at += aligned(bytes);
    }
    if (stamps) {
      encoder.resolveQuerySet(stamps.set, 0, 2, stamps.resolved, 0);
      encoder.copyBufferToBuffer(stamps.resolved, 0, staging, down, STAMPS);
    } else if (down === 0) {
      encoder.clearBuffer(staging, 0, STAMPS);
    }
    device.queue.submit([encoder.finish()]);
    const submitted = performance.now();
    if (timing) {
      timing.upload += uploaded - start;
      timing.host += submitted - uploaded;
      timing.submitted = Math.min(timing.submitted, submitted);
    }
    return submitted;
  }

  /** Encodes programs, in one pass but for the taps that are asked for; the first and the last pass write the timestamps. */
  #encode(encoder: GPUCommandEncoder, programs: readonly Program[], atTap: Run["atTap"], querySet?: GPUQuerySet): void {
    const passes: { parts: { program: Program; from: number; to: number }[]; taps: Tap[] }[] = [];
    const add = (program: Program, from: number, to: number) => {
      if (from === to) return;
      if (passes.length === 0 || passes.at(-1)!.taps.length > 0) passes.push({ parts: [], taps: [] });
      passes.at(-1)!.parts.push({ program, from, to });
    };
    for (const program of programs) {
      let done = 0;
      for (const tap of atTap ? program.taps : []) {
        add(program, done, tap.at);
        passes.at(-1)?.taps.push(tap);
        done = tap.at;
      }
      add(program, done, program.dispatches.length);
    }
    for (const [index, { parts, taps }] of passes.entries()) {
      const ends = {
        ...(index === 0 ? { beginningOfPassWriteIndex: 0 } : {}),
        ...(index === passes.length - 1 ? { endOfPassWriteIndex: 1 } : {}),
      };
      const writes = querySet && Object.keys(ends).length > 0 ? { timestampWrites: { querySet, ...ends } } : undefined;
      const pass = encoder.beginComputePass(writes);
      for (const { program, from, to } of parts) program.encode(pass, from, to);
      pass.end();
      for (const tap of taps) atTap!(encoder, tap);
    }
  }

  /** Maps a result once it is there, and sleeps for most of the time that it should take. */
  async #mapped(staging: GPUBuffer, program: Program | undefined, begun: number): Promise<void> {
    const known = (program && this.#expected.get(program)) ?? { runs: 0, milliseconds: 0 };
    const slept = known.runs > 1 && (await sleepThrough(begun, known.milliseconds));
    const woken = performance.now();
    await staging.mapAsync(MAP_READ);
    const now = performance.now();
    // Ready as soon as it was asked for: it may have been ready long before. On a CPU that is the rule after a run that was
    // waited for wide awake, which took a core from the work itself.
    const overslept = slept && now - woken < 1;
    const milliseconds = overslept ? OVERSLEPT * (woken - begun) : now - begun;
    // The first run of a program may have compiled on the way.
    if (program) this.#expected.set(program, { runs: known.runs + 1, milliseconds });
  }

  /**
   * Device time between the two stamps behind mapped results, in milliseconds, without what the run before took of it; undefined
   * where they run backwards, as some drivers give them.
   */
  #passTime(staging: GPUBuffer, offset: number): number | undefined {
    const [begin, end] = new BigUint64Array(staging.getMappedRange(offset, STAMPS)) as unknown as [bigint, bigint];
    const from = begin > this.#lastStamp ? begin : this.#lastStamp;
    this.#lastStamp = end;
    return end > from ? Number(end - from) / 1e6 : undefined;
  }

  #timestamps() {
    if (!this.gpu.profile.timestamps) return undefined;
    this.#stamps ??= {
      set: this.gpu.device.createQuerySet({ type: "timestamp", count: 2 }),
      resolved: this.gpu.buffer("timestamps", STAMPS, BufferUsage.QUERY_RESOLVE | BufferUsage.COPY_SRC),
    };
    return this.#stamps;
  }

  /** Reads parts of buffers, once everything before is done. */
  read(reads: readonly Read[]): Promise<Uint8Array[]> {
    return this.run(() => ({ label: "read", reads }));
  }

  /** Refuses to go on with a lost device. @throws StylizingError `DEVICE_LOST` */
  assertAlive(): void {
    if (this.gpu.isLost)
      throw new StylizingError("DEVICE_LOST", "The device was lost.", "Try again; if it happens again, use a smaller batch.");
  }

  /** What the device's refusal of a promise means: that of a lost one comes before the news of its loss. */
  async #failed(error: unknown): Promise<never> {
    await Promise.race([this.gpu.device.lost, delay(LOSS_TOLD)]);
    // The news goes to others first.
    await delay(0);
    this.assertAlive();
    throw error;
  }

  /** Measures how long GEMMs take, and has those bound from now on cut so that no dispatch runs for long. */
  async limitDispatches(program: Program): Promise<void> {
    this.gpu.flopsPerDispatch = LONGEST_DISPATCH * (await gemmRate(this.gpu, program));
  }

  /** Device time of every dispatch of a program; undefined where the device has no timestamps. Call it within `exclusively`. */
  time(program: Program): Promise<DispatchTime[] | undefined> {
    return timeDispatches(this.gpu, program);
  }

  /** Frees programs, activations and buffers; the device stays. */
  dispose(): void {
    this.drop();
    this.arena.dispose();
    this.#stamps?.set.destroy();
    if (this.#stamps) this.gpu.release(this.#stamps.resolved);
    this.#stamps = undefined;
    this.#staging.dispose();
  }
}
