import { readFileSync } from "node:fs";
import { StylizingError } from "../errors.js";
import { COMPUTE_STAGE } from "./dawn.js";
import type { Profile } from "./profile.js";

/** One variant of a kernel: everything that decides its pipeline. */
export interface Variant {
  /** File in `kernels/`, without `.wgsl`. */
  kernel: string;
  entryPoint: string;
  /** Types and array sizes that overrides cannot set: `name = value` pairs become `const`s after the element aliases. */
  constants: Readonly<Record<string, number>>;
  /** `f32` where the result goes to the residual stream, `elem` where it is an activation of the tier. */
  result: "f32" | "elem";
  overrides: Readonly<Record<string, number>>;
  /** Access of the storage buffers of group 0, in order. */
  bindings: readonly ("read" | "write")[];
  /** Needs `enable subgroups`. */
  subgroups?: boolean;
  /** Files of `kernels/parts/` that belong in front of the kernel. */
  parts?: readonly string[];
  /** Calls the matrix functions: the profile says whether units or their stand-in go in front. */
  matrix?: boolean;
}

/** What of a profile decides a kernel's text. */
export type TextProfile = Pick<Profile, "elementBytes" | "matrix">;

export interface Pipeline {
  readonly label: string;
  readonly pipeline: GPUComputePipeline;
  readonly storageLayout: GPUBindGroupLayout;
}

/** Bytes of one slot of uniforms: WebGPU's default alignment of dynamic offsets. */
export const UNIFORM_SLOT = 256;

const sources = new Map<string, string>();

/** The text of a kernel, read once a process. */
export function kernelSource(name: string): string {
  let source = sources.get(name);
  if (source === undefined) {
    source = readFileSync(new URL(`../../kernels/${name}.wgsl`, import.meta.url), "utf8");
    sources.set(name, source);
  }
  return source;
}

/** The generated lines in front of a kernel: the element types of the tier, the sizes of private arrays, and what belongs to it. */
export function prologue(variant: Variant, profile: TextProfile): string {
  const units = variant.matrix === true && profile.matrix === "units";
  const halves = profile.elementBytes === 2;
  const halfResult = halves && variant.result === "elem";
  const constants = Object.entries(variant.constants).map(([name, value]) => `const ${name} = ${value}u;`);
  if (variant.matrix) constants.push(`const HALF_RESULT = ${halfResult};`);
  const parts = [...(variant.parts ?? []), ...(variant.matrix ? [units ? "matrix_units" : "matrix_stand_in"] : [])];
  return [
    units ? "enable f16; enable subgroups; enable chromium_experimental_subgroup_matrix;" : "",
    // Whether control flow is uniform over a subgroup cannot be proved from an invocation's index, which is where it comes from.
    units ? "diagnostic(off, chromium.subgroup_matrix_uniformity);" : "",
    variant.subgroups ? "enable subgroups;" : "",
    halves ? HALF_ELEMENTS : FLOAT_ELEMENTS,
    halfResult ? HALF_RESULTS : FLOAT_RESULTS,
    constants.join(" "),
    ...parts.map((name) => kernelSource(`parts/${name}`)),
  ]
    .filter((line) => line !== "")
    .join("\n");
}

// Halves are kept two to a word and widened by WGSL's own unpacking, which every adapter has: the 16-bit tier needs no
// `shader-f16`, and a software adapter can be tested in it.
const HALF_ELEMENTS =
  "alias elem4 = vec2u; fn widen(x: elem4) -> vec4f { return vec4f(unpack2x16float(x.x), unpack2x16float(x.y)); }";
const FLOAT_ELEMENTS = "alias elem4 = vec4f; fn widen(x: elem4) -> vec4f { return x; }";
const HALF_RESULTS =
  "alias result4 = vec2u; fn to_result(x: vec4f) -> result4 { return vec2u(pack2x16float(x.xy), pack2x16float(x.zw)); } " +
  "fn of_result(x: result4) -> vec4f { return vec4f(unpack2x16float(x.x), unpack2x16float(x.y)); }";
const FLOAT_RESULTS =
  "alias result4 = vec4f; fn to_result(x: vec4f) -> result4 { return x; } fn of_result(x: result4) -> vec4f { return x; }";

/** A readable name that tells variants apart; also the key of the cache and the label in GPU tools. */
export function variantLabel(variant: Variant, profile: TextProfile): string {
  const settings = { ...variant.constants, ...variant.overrides };
  const values = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
  const elem = profile.elementBytes === 2 ? "f16" : "f32";
  const parts = (variant.parts ?? []).map((name) => ` + ${name}`).join("");
  return `${variant.kernel}.${variant.entryPoint}<${elem}, ${variant.result === "f32" ? "f32" : elem}>(${values.join(", ")})${parts}`;
}

/** Compiles each variant once, also when several callers ask for it at the same time. */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #profile: TextProfile;
  readonly #pipelines = new Map<string, Promise<Pipeline>>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  readonly uniformLayout: GPUBindGroupLayout;

  constructor(device: GPUDevice, profile: TextProfile) {
    this.#device = device;
    this.#profile = profile;
    this.uniformLayout = device.createBindGroupLayout({
      label: "uniforms",
      entries: [{ binding: 0, visibility: COMPUTE_STAGE, buffer: { type: "uniform", hasDynamicOffset: true } }],
    });
  }

  get(variant: Variant): Promise<Pipeline> {
    const label = variantLabel(variant, this.#profile);
    let pipeline = this.#pipelines.get(label);
    if (!pipeline) {
      pipeline = this.#compile(variant, label);
      this.#pipelines.set(label, pipeline);
      pipeline.catch(() => this.#pipelines.delete(label));
    }
    return pipeline;
  }

  #storageLayout(bindings: Variant["bindings"]): GPUBindGroupLayout {
    const key = bindings.join();
    let layout = this.#layouts.get(key);
    if (!layout) {
      layout = this.#device.createBindGroupLayout({
        label: key,
        entries: bindings.map((access, binding) => ({
          binding,
          visibility: COMPUTE_STAGE,
          buffer: { type: access === "read" ? "read-only-storage" : "storage" },
        })),
      });
      this.#layouts.set(key, layout);
    }
    return layout;
  }

  async #compile(variant: Variant, label: string): Promise<Pipeline> {
    const front = `${prologue(variant, this.#profile)}\n`;
    const code = front + kernelSource(variant.kernel);
    const generated = front.split("\n").length - 1;
    const module = this.#device.createShaderModule({ label, code });
    const errors = (await module.getCompilationInfo()).messages.filter((message) => message.type === "error");
    if (errors.length > 0) {
      const text = errors.map((error) => `${error.lineNum - generated}:${error.linePos} ${error.message}`).join("\n");
      throw new StylizingError(
        "GPU",
        `The kernel ${label} does not compile:\n${text}\n`,
        "Please report this with the output of `stylizing-vit doctor`.",
      );
    }
    const storageLayout = this.#storageLayout(variant.bindings);
    try {
      const pipeline = await this.#device.createComputePipelineAsync({
        label,
        layout: this.#device.createPipelineLayout({ label, bindGroupLayouts: [storageLayout, this.uniformLayout] }),
        compute: { module, entryPoint: variant.entryPoint, constants: variant.overrides as Record<string, number> },
      });
      return { label, pipeline, storageLayout };
    } catch (cause) {
      throw new StylizingError(
        "GPU",
        `No pipeline for ${label}: ${cause instanceof Error ? cause.message : cause}.`,
        "Please report this with the output of `stylizing-vit doctor`.",
        { cause },
      );
    }
  }
}
