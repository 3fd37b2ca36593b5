import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Call, Plan } from "../../src/gpu/call.js";
import type { Gpu } from "../../src/gpu/gpu.js";
import { composeKernel, interfaceOf, kernelSource, variantLabel } from "../../src/gpu/kernel.js";
import { type Pipeline, PipelineCache } from "../../src/gpu/pipelines.js";
import type { Profile } from "../../src/gpu/profile.js";
import { float16BitsToFloat32 } from "../../src/hub/float16.js";
import { attentionOp } from "../../test/ops/attention.case.js";
import { linearOp } from "../../test/ops/linear.case.js";
import type { Setup } from "../../test/support/op.js";
import { placed } from "../../test/support/run-op.js";
import { type Bound, outsideKernels, pipelineOf, runOnce } from "../device-clock.js";
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

/** The profile that a step's kernel is made for. Without matrix units they are emulated in plain WGSL: for tests. */
function profileOf<Size>({ storage, needs }: Step<Size>, profile: Profile): Profile {
  if (needs.includes("matrix")) return { ...profile, tier: "matrix", elementBytes: 2, matrix: profile.matrix ?? "emulation" };
  if (storage === "float16") return { ...profile, tier: "f16", elementBytes: 2, matrix: undefined };
  return { ...profile, tier: "f32", elementBytes: 4, matrix: undefined };
}

/** A step's dispatch: its own of the table, or the library's. */
export function planOf<Size>(step: Step<Size>, size: Size, profile: Profile): Plan {
  if (step.library) return step.library(size, profileOf(step, profile));
  return {
    variant: {
      kernel: outsideKernels(step.file),
      entryPoint: step.entryPoint,
      constants: {},
      result: "elem",
      overrides: step.overrides,
      ...(step.needs.includes("matrix") ? { matrix: true } : {}),
    },
    workgroups: step.workgroups(size),
    workgroupBytes: 0,
  };
}

/** A step's whole text: its file as it is, or behind the matrix functions of its profile. */
function textOf<Size>(step: Step<Size>, { variant }: Plan, profile: Profile, root: string): string {
  const own = kernelSource(variant.kernel);
  if (!variant.matrix) return own;
  const kind = profile.matrix === "units" ? "units" : "emulation";
  const part = step.part ? readFileSync(join(root, "bench", "ladder", "parts", `${step.part}_${kind}.wgsl`), "utf8") : "";
  return composeKernel(variant, profile, `${part}\n${own}`).code;
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
      : pipelineOf(gpu, plan, textOf(step, plan, profile, root)));
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

type Operand = "f32" | "float16";

/** The profile that operands are made for: float16 numbers are those that both storages can hold. */
const inFloat16 = (profile: Profile): Profile => ({ ...profile, tier: "f16", elementBytes: 2 });

/**
 * `setup` is the library's own op, whose operands steps take as they are or as floats. `names` says what a step calls them, and
 * how many numbers a buffer has room for where that is more than the operand has.
 */
function problem<Size>(
  gpu: Gpu,
  root: string,
  size: Size,
  { call, contents, outputs, results, flops, shape }: Setup,
  names: Readonly<Record<string, { token: GPUBuffer; type: "elem" | "f32"; room?: number }>>,
  values: Call["values"],
  scratch: Readonly<Record<string, number>> = {},
): Problem<Size> {
  const buffers = new Buffers(gpu);
  const [{ size: count, expected }] = results as [Setup["results"][number]];
  const [{ buffer: written }] = outputs as [Setup["outputs"][number]];
  const output = buffers.get("output", 4 * (count + TAIL));
  const rooms = new Map(Object.values(names).map(({ token, room = 0 }) => [token, room]));
  const elements = new Set(Object.values(names).flatMap(({ token, type }) => (type === "elem" ? [token] : [])));
  /** What a token stands for, in the storage that a step wants. */
  const data = (token: GPUBuffer, storage: Operand): GPUBuffer => {
    if (token === written) return output;
    const words = contents.get(token);
    const name = `operand ${contents.tokens.indexOf(token)}`;
    if (!elements.has(token)) return buffers.get(name, words.byteLength, () => words);
    const float16 = new Uint16Array(words.buffer, words.byteOffset, words.byteLength / 2);
    const bytes = (storage === "float16" ? 2 : 4) * Math.max(rooms.get(token)!, float16.length);
    return buffers.get(`${name}, ${storage}`, bytes, () => (storage === "float16" ? float16 : float16BitsToFloat32(float16)));
  };
  /** Of the names that a step's own kernel declares. */
  const operandsOf = (step: Step<Size>, { variant }: Plan): Call["operands"] =>
    Object.fromEntries(
      interfaceOf(variant).bindings.map(({ names: [name = ""] }) => {
        if (name === "output") return [name, output];
        const operand = names[name];
        return [name, operand ? data(operand.token, step.storage) : buffers.get(name, 4 * scratch[name]!)];
      }),
    );
  return {
    size,
    shape,
    flops,
    count,
    expected,
    async bind(step) {
      const plan = planOf(step, size, gpu.profile);
      const tokens = new Map(contents.tokens.map((token) => [token, data(token, step.storage)]));
      return {
        gpu,
        plan,
        pipeline: await pipelineOfStep(gpu, root, step, size),
        call: step.library ? placed(call, tokens) : { operands: operandsOf(step, plan), values },
        outputs: [output],
        dispose() {},
      };
    },
    dispose: () => buffers.dispose(),
  };
}

const tokenOf = ({ call }: Setup, name: string): GPUBuffer => {
  const operand = call.operands[name]!;
  return "buffer" in operand ? operand.buffer : operand;
};

export function linearProblem(gpu: Gpu, root: string, size: LinearSize): Problem<LinearSize> {
  const { rows, depth, cols } = size;
  const one = { name: "ladder", bench: { batch: 1 }, ...size, epilogue: "none", result: "elem" } as const;
  const setup = linearOp.setup(one, inFloat16(gpu.profile));
  return problem(
    gpu,
    root,
    size,
    setup,
    {
      input: { token: tokenOf(setup, "input"), type: "elem", room: Math.ceil(rows / ROW_TILE) * ROW_TILE * depth },
      weight: { token: tokenOf(setup, "weight"), type: "elem" },
      bias: { token: tokenOf(setup, "bias"), type: "f32" },
    },
    { rows, depth, cols },
  );
}

export function attentionProblem(gpu: Gpu, root: string, size: AttentionSize): Problem<AttentionSize> {
  const { sequences, tokens, heads } = size;
  const one = { name: "ladder", bench: { batch: 1 }, ...size, headSize: HEAD_SIZE, kind: "self", alone: true } as const;
  const setup = attentionOp.setup(one, inFloat16(gpu.profile));
  return problem(
    gpu,
    root,
    size,
    setup,
    { qkv: { token: tokenOf(setup, "query"), type: "elem" } },
    { tokens, heads },
    { scores: sequences * heads * tokens ** 2 },
  );
}

/**
 * Poisons the output, runs a step once and gives back its result.
 * @throws where it wrote behind the result.
 */
export async function resultOf<Size>(problem: Problem<Size>, step: Step<Size>, bound: Bound): Promise<Float32Array> {
  const output = bound.outputs[0]!;
  const poison = new Uint32Array(Math.min(output.size / 4, 2 ** 20)).fill(POISON);
  for (let at = 0; at < output.size; at += poison.byteLength)
    bound.gpu.device.queue.writeBuffer(output, at, poison, 0, Math.min(poison.length, (output.size - at) / 4));
  const [bytes] = (await runOnce(bound)) as [ArrayBuffer];
  const written = problem.count * (step.storage === "float16" ? 2 : 4);
  const behind = new Uint16Array(bytes, written, 2 * TAIL);
  if (behind.some((bits) => bits !== 0x7fff)) throw new Error("it wrote behind its result");
  return step.storage === "float16"
    ? float16BitsToFloat32(new Uint16Array(bytes, 0, problem.count))
    : new Float32Array(bytes, 0, problem.count);
}

/** Allowed error, of the largest value. Operands are exact in both; a float16 result is rounded, and so may be a float16 weight of a softmax. */
export const BOUNDS = { f32: 2e-5, float16: 2 * 2 ** -11 } as const;
