import type { Call } from "../gpu/call.js";
import { BufferUsage } from "../gpu/dawn.js";
import type { Gpu } from "../gpu/gpu.js";
import type { Profile } from "../gpu/profile.js";
import { type Program, ProgramBuilder, type Tap } from "../gpu/program.js";
import type { Tuner } from "../gpu/tuner.js";
import { type View, view } from "../gpu/view.js";
import type { Arena, Needs } from "./arena.js";

/** An operation of ops/: a call of a kernel, planned for a device. */
export type Op<Operands> = (profile: Profile, operands: Operands) => Call;

/** Describes a program: emits its steps, in order. */
export type Description = (recorder: Recorder) => void;

interface Step {
  call: Call;
  share: string;
}

/** The only place where steps are collected, cut into bands, tuned, compiled and bound. */
export class Recorder {
  readonly gpu: Gpu;
  readonly #arena: Arena;
  readonly #tuner: Tuner;
  readonly #steps: Step[] = [];
  readonly #taps: Tap[] = [];
  readonly #buffers: GPUBuffer[] = [];
  #share = "rest";
  /** Bytes asked for by name while a description is measured; nothing is recorded then. */
  #needs: Map<string, number> | undefined;

  constructor(gpu: Gpu, arena: Arena, tuner: Tuner) {
    this.gpu = gpu;
    this.#arena = arena;
    this.#tuner = tuner;
  }

  /** What a description asks of the arena. */
  measure(describe: Description): Needs {
    const needs = new Map<string, number>();
    this.#needs = needs;
    try {
      describe(this);
    } finally {
      this.#needs = undefined;
    }
    return needs;
  }

  get profile(): Profile {
    return this.gpu.profile;
  }

  /** Adds a call of a kernel, in bands where it would run for too long. */
  emit<Operands>(op: Op<Operands>, operands: Operands): void {
    if (this.#needs) return;
    const call = op(this.profile, operands);
    const { bands } = call;
    const most = this.gpu.flopsPerDispatch;
    if (!bands || bands.count * bands.flops <= most) {
      this.#steps.push({ call, share: this.#share });
      return;
    }
    const band = bands.unit * Math.max(1, Math.floor(most / bands.flops / bands.unit));
    for (let first = 0; first < bands.count; first += band)
      this.#steps.push({ call: bands.of(first, Math.min(band, bands.count - first)), share: this.#share });
  }

  /** A named matrix of the arena; the same name is the same buffer, whoever asks and for whatever shape. */
  scratch(name: string, rows: number, cols: number, type: View["type"]): View {
    if (!this.#needs) return this.#arena.take(name, rows, cols, type);
    this.#needs.set(name, Math.max(this.#needs.get(name) ?? 0, this.#arena.bytesOf(rows, cols, type)));
    return view(undefined as unknown as GPUBuffer, type, rows, cols);
  }

  /** A small buffer of the program's own. */
  constant(label: string, values: Uint32Array | Float32Array): GPUBuffer {
    if (this.#needs) return undefined as unknown as GPUBuffer;
    const buffer = this.gpu.buffer(label, values.byteLength, BufferUsage.STORAGE | BufferUsage.COPY_DST);
    this.gpu.device.queue.writeBuffer(buffer, 0, values as Uint32Array<ArrayBuffer>);
    this.#buffers.push(buffer);
    return buffer;
  }

  /** Which rows belong together: a constant of whole numbers. */
  index(rows: readonly (readonly number[])[]): GPUBuffer {
    return this.constant("index", new Uint32Array(rows.flat()));
  }

  /** What `body` emits counts to `share` in reports of where the time goes. */
  section<T>(share: string, body: () => T): T {
    const outer = this.#share;
    this.#share = share;
    try {
      return body();
    } finally {
      this.#share = outer;
    }
  }

  /** Marks what a matrix holds at this point of the program, for whoever wants to look or to keep it. */
  tap(name: string, matrix: View): void {
    if (!this.#needs) this.#taps.push({ name, view: matrix, at: this.#steps.length });
  }

  /**
   * Chooses plans, compiles what is not compiled yet, all at once, and binds everything. Nothing is compiled or allocated when the
   * program runs.
   * @param mayMeasure whether what the buffers hold may be lost to a tuner that measures
   */
  async finish(label: string, mayMeasure = true): Promise<Program> {
    const plans = [];
    for (const { call } of this.#steps) plans.push(await this.#tuner.pick(call, mayMeasure));
    this.#tuner.save();
    const pipelines = await Promise.all(plans.map(({ variant }) => this.gpu.pipelines.get(variant)));
    const builder = new ProgramBuilder(this.gpu);
    for (const [index, { call, share }] of this.#steps.entries()) builder.add(call, plans[index]!, pipelines[index]!, share);
    return builder.finish(label, this.#buffers, this.#taps);
  }

  /** Frees what was made for a program that was not finished. */
  abandon(): void {
    this.gpu.release(...this.#buffers);
  }
}
