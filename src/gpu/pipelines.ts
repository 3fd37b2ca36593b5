import { StylizingError } from "../errors.js";
import { COMPUTE_STAGE } from "./dawn.js";
import { composeKernel, interfaceOf, type TextProfile, type Variant, variantLabel } from "./kernel.js";

export interface Pipeline {
  readonly label: string;
  readonly pipeline: GPUComputePipeline;
  readonly storageLayout: GPUBindGroupLayout;
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

  #storageLayout(variant: Variant): GPUBindGroupLayout {
    const accesses = interfaceOf(variant).bindings.map(({ access }) => access);
    const key = accesses.join();
    let layout = this.#layouts.get(key);
    if (!layout) {
      layout = this.#device.createBindGroupLayout({
        label: key,
        entries: accesses.map((access, binding) => ({
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
    const { code, front } = composeKernel(variant, this.#profile);
    const module = this.#device.createShaderModule({ label, code });
    const errors = (await module.getCompilationInfo()).messages.filter((message) => message.type === "error");
    if (errors.length > 0) {
      const text = errors.map((error) => `${error.lineNum - front}:${error.linePos} ${error.message}`).join("\n");
      throw new StylizingError(
        "GPU",
        `The kernel ${label} does not compile:\n${text}\n`,
        "Please report this with the output of `stylizing-vit doctor`.",
      );
    }
    const storageLayout = this.#storageLayout(variant);
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
