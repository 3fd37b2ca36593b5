import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Plan, u32, type Word } from "../../src/gpu/dispatch.js";
import type { Gpu } from "../../src/gpu/gpu.js";
import { type Pipeline, PipelineCache, prologue, variantLabel } from "../../src/gpu/pipelines.js";
import type { Profile } from "../../src/gpu/profile.js";
import { float16BitsToFloat32 } from "../../src/hub/half.js";
import { type Bound, pipelineOf, runOnce } from "../device-clock.js";
import { type OpSetup, setUpAttention, setUpLinear } from "../op-setups.js";
import { type AttentionSize, HEAD_SIZE, type LinearSize, type Step } from "./ladder.js";

/** NaN as a 32-bit float and as two 16-bit ones: what stands in the output before a step runs. */
const POISON = 0x7fff7fff;
/** Words behind the output that must stay poisoned. */
const TAIL = 256;
/** Rows of zeros behind the input up to a multiple of this, for steps that load whole tiles. */
const ROW_TILE = 128;

/** The operands of one ladder on the device, the same for all of its steps: every number is one that 16 bits can hold. */
export interface Problem<Size> {
  size: Size;
  shape: string;
  flops: number;
  /** Values of the result. */
  count: number;
  /** The true result at an index, in float64. */
  expected(at: number): number;
  bind(step: Step<Size>): Promise<Bound>;
  dispose(): void;
}

/** The profile that a step's kernel is made for. Without matrix units plain WGSL stands in for them: for tests. */
function profileOf<Size>({ storage, needs }: Step<Size>, profile: Profile): Profile {
  if (needs.includes("matrix")) return { ...profile, tier: "matrix", elementBytes: 2, matrix: profile.matrix ?? "stand-in" };
  if (storage === "halves") return { ...profile, tier: "f16", elementBytes: 2, matrix: undefined };
  return { ...profile, tier: "f32", elementBytes: 4, matrix: undefined };
}

/** A step's dispatch: its own of the table, or the library's. */
export function planOf<Size>(step: Step<Size>, size: Size, profile: Profile): Plan {
  if (step.library) return step.library(size, profileOf(step, profile));
  return {
    variant: {
      kernel: step.file,
      entryPoint: step.entryPoint,
      constants: {},
      result: "elem",
      overrides: step.overrides,
      bindings: [...step.bindings, "write"],
      ...(step.needs.includes("matrix") ? { matrix: true } : {}),
    },
    workgroups: step.workgroups(size),
    workgroupBytes: 0,
  };
}

/** What goes in front of a step's file: nothing, or the matrix functions of its profile. */
function front<Size>(step: Step<Size>, plan: Plan, profile: Profile, root: string): string {
  if (!plan.variant.matrix) return "";
  const kind = profile.matrix === "units" ? "units" : "stand_in";
  const part = step.part ? readFileSync(join(root, "bench", "ladder", "parts", `${step.part}_${kind}.wgsl`), "utf8") : "";
  return `${prologue(plan.variant, profile)}\n${part}`;
}

/** Pipelines by device and step: a CPU adapter takes seconds to compile some. */
const compiled = new WeakMap<Gpu, Map<string, Promise<Pipeline>>>();

/** @throws where the step's shader does not compile. */
export function pipelineOfStep<Size>(gpu: Gpu, root: string, step: Step<Size>, size: Size): Promise<Pipeline> {
  const plan = planOf(step, size, gpu.profile);
  const profile = profileOf(step, gpu.profile);
  const known = compiled.get(gpu) ?? new Map<string, Promise<Pipeline>>();
  compiled.set(gpu, known);
  const key = `${step.name} ${variantLabel(plan.variant, profile)}`;
  const pipeline =
    known.get(key) ??
    (step.library
      ? new PipelineCache(gpu.device, profile).get(plan.variant)
      : pipelineOf(gpu, join(root, step.file), plan, front(step, plan, profile, root)));
  known.set(key, pipeline);
  return pipeline;
}

/** Buffers by name, made when they are first asked for. */
class Buffers {
  readonly #gpu: Gpu;
  readonly #made = new Map<string, GPUBuffer>();

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  get(name: string, bytes: number, data?: () => Float32Array | Uint16Array | Uint32Array): GPUBuffer {
    let buffer = this.#made.get(name);
    if (!buffer) {
      buffer = this.#gpu.storage(name, bytes);
      this.#made.set(name, buffer);
      const array = data?.();
      if (array) this.#gpu.device.queue.writeBuffer(buffer, 0, array.buffer as ArrayBuffer, array.byteOffset, array.byteLength);
    }
    return buffer;
  }

  dispose(): void {
    this.#gpu.release(...this.#made.values());
  }
}

type Operand = "f32" | "halves";

function problem<Size>(
  gpu: Gpu,
  root: string,
  size: Size,
  setup: OpSetup,
  operands: (
    step: Step<Size>,
    buffers: Buffers,
    data: (at: number, storage: Operand, padded?: number) => GPUBuffer,
  ) => GPUBuffer[],
  parameters: readonly Word[],
): Problem<Size> {
  const buffers = new Buffers(gpu);
  /** Operand `at` of the setup, which holds halves, in the storage that a step wants; with room for `padded` values. */
  const data = (at: number, storage: Operand, padded = 0) => {
    const halves = setup.inputs[at] as Uint16Array;
    const bytes = storage === "halves" ? 2 : 4;
    return buffers.get(`operand ${at}, ${storage}`, bytes * Math.max(padded, halves.length), () =>
      storage === "halves" ? halves : float16BitsToFloat32(halves),
    );
  };
  const output = buffers.get("output", 4 * (setup.size + TAIL));
  return {
    size,
    shape: setup.shape,
    flops: setup.flops,
    count: setup.size,
    expected: setup.expected,
    async bind(step) {
      return {
        gpu,
        plan: planOf(step, size, gpu.profile),
        pipeline: await pipelineOfStep(gpu, root, step, size),
        buffers: [...operands(step, buffers, data), output],
        parameters: step.library ? setup.parameters : parameters,
        output,
        dispose() {},
      };
    },
    dispose: () => buffers.dispose(),
  };
}

export function linearProblem(gpu: Gpu, root: string, size: LinearSize): Problem<LinearSize> {
  const { rows, depth, cols } = size;
  const setup = setUpLinear({ ...size, epilogue: "none", name: "ladder" }, { ...gpu.profile, tier: "f16", elementBytes: 2 });
  const bias = setup.inputs[2] as Float32Array;
  return problem(
    gpu,
    root,
    size,
    setup,
    (step, buffers, data) => {
      const input = data(0, step.storage, Math.ceil(rows / ROW_TILE) * ROW_TILE * depth);
      const biases = buffers.get("bias", bias.byteLength, () => bias);
      return [input, data(1, step.storage), biases, ...(step.library ? [biases] : [])];
    },
    [rows, depth, cols].map(u32),
  );
}

export function attentionProblem(gpu: Gpu, root: string, size: AttentionSize): Problem<AttentionSize> {
  const { sequences, tokens, heads } = size;
  const one = { ...size, headSize: HEAD_SIZE, kind: "self" as const, name: "ladder" };
  const setup = setUpAttention(one, { ...gpu.profile, tier: "f16", elementBytes: 2 });
  const index = setup.inputs[2] as Uint32Array;
  return problem(
    gpu,
    root,
    size,
    setup,
    (step, buffers, data) => {
      const qkv = data(0, step.storage);
      if (step.library) return [qkv, qkv, buffers.get("sequences", index.byteLength, () => index)];
      return step.bindings.length === 1 ? [qkv] : [qkv, buffers.get("scores", 4 * sequences * heads * tokens ** 2)];
    },
    [tokens, heads].map(u32),
  );
}

/**
 * Poisons the output, runs a step once and gives back its result.
 * @throws where it wrote behind the result.
 */
export async function resultOf<Size>(problem: Problem<Size>, step: Step<Size>, bound: Bound): Promise<Float32Array> {
  const poison = new Uint32Array(Math.min(bound.output.size / 4, 2 ** 20)).fill(POISON);
  for (let at = 0; at < bound.output.size; at += poison.byteLength)
    bound.gpu.device.queue.writeBuffer(bound.output, at, poison, 0, Math.min(poison.length, (bound.output.size - at) / 4));
  const bytes = await runOnce(bound);
  const written = problem.count * (step.storage === "halves" ? 2 : 4);
  const behind = new Uint16Array(bytes, written, 2 * TAIL);
  if (behind.some((half) => half !== 0x7fff)) throw new Error("it wrote behind its result");
  return step.storage === "halves"
    ? float16BitsToFloat32(new Uint16Array(bytes, 0, problem.count))
    : new Float32Array(bytes, 0, problem.count);
}

/** Allowed error, of the largest value. Operands are exact in both; a half result is rounded, and so may be a half weight of a softmax. */
export const BOUNDS = { f32: 2e-5, halves: 2 * 2 ** -11 } as const;
