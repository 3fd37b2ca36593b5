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
}

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

/** The generated lines in front of a kernel: the element types of the tier and the sizes of private arrays. */
export function prologue(variant: Variant, elementBytes: 2 | 4): string {
  const elem = elementBytes === 2 ? "f16" : "f32";
  const result = variant.result === "f32" ? "f32" : elem;
  const constants = Object.entries(variant.constants).map(([name, value]) => `const ${name} = ${value}u;`);
  return [
    elementBytes === 2 ? "enable f16;" : "",
    variant.subgroups ? "enable subgroups;" : "",
    `alias elem = ${elem}; alias elem4 = vec4<${elem}>; alias result = ${result}; alias result4 = vec4<${result}>;`,
    constants.join(" "),
  ]
    .filter((line) => line !== "")
    .join("\n");
}

/** A readable name that tells variants apart; also the key of the cache and the label in GPU tools. */
export function variantLabel(variant: Variant, elementBytes: 2 | 4): string {
  const settings = { ...variant.constants, ...variant.overrides };
  const values = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
  const elem = elementBytes === 2 ? "f16" : "f32";
  return `${variant.kernel}.${variant.entryPoint}<${elem}, ${variant.result === "f32" ? "f32" : elem}>(${values.join(", ")})`;
}

/** Compiles each variant once, also when several callers ask for it at the same time. */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #elementBytes: 2 | 4;
  readonly #pipelines = new Map<string, Promise<Pipeline>>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  readonly uniformLayout: GPUBindGroupLayout;

  constructor(device: GPUDevice, profile: Pick<Profile, "elementBytes">) {
    this.#device = device;
    this.#elementBytes = profile.elementBytes;
    this.uniformLayout = device.createBindGroupLayout({
      label: "uniforms",
      entries: [{ binding: 0, visibility: COMPUTE_STAGE, buffer: { type: "uniform", hasDynamicOffset: true } }],
    });
  }

  get(variant: Variant): Promise<Pipeline> {
    const label = variantLabel(variant, this.#elementBytes);
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
    const front = `${prologue(variant, this.#elementBytes)}\n`;
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
