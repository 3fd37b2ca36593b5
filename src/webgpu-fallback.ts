/**
 * The part of WebGPU that computing takes, for programs whose libraries have none of it. All of it is in `DOM` and in
 * `@webgpu/types` too, as a test holds, and those have the rest.
 */

export interface Labelled {
  label: string;
}

export interface Device extends Labelled {
  readonly features: ReadonlySet<string>;
  readonly limits: {
    readonly maxBufferSize: number;
    readonly maxStorageBufferBindingSize: number;
    readonly maxComputeWorkgroupStorageSize: number;
    readonly maxComputeInvocationsPerWorkgroup: number;
    readonly maxComputeWorkgroupSizeX: number;
    readonly maxComputeWorkgroupSizeY: number;
    readonly maxComputeWorkgroupSizeZ: number;
    readonly maxComputeWorkgroupsPerDimension: number;
  };
  readonly queue: GPUQueue;
  readonly lost: Promise<{ readonly reason: "unknown" | "destroyed"; readonly message: string }>;
  createBuffer(descriptor: { label?: string; size: number; usage: number; mappedAtCreation?: boolean }): GPUBuffer;
  createShaderModule(descriptor: { label?: string; code: string }): GPUShaderModule;
  createBindGroupLayout(descriptor: {
    label?: string;
    entries: Iterable<{
      binding: number;
      visibility: number;
      buffer?: {
        type?: "uniform" | "storage" | "read-only-storage";
        hasDynamicOffset?: boolean;
        minBindingSize?: number;
      };
    }>;
  }): GPUBindGroupLayout;
  createPipelineLayout(descriptor: { label?: string; bindGroupLayouts: Iterable<GPUBindGroupLayout> }): GPUPipelineLayout;
  createBindGroup(descriptor: {
    label?: string;
    layout: GPUBindGroupLayout;
    entries: Iterable<{ binding: number; resource: { buffer: GPUBuffer; offset?: number; size?: number } }>;
  }): GPUBindGroup;
  createComputePipeline(descriptor: ComputePipelineDescriptor): GPUComputePipeline;
  createComputePipelineAsync(descriptor: ComputePipelineDescriptor): Promise<GPUComputePipeline>;
  createCommandEncoder(descriptor?: { label?: string }): GPUCommandEncoder;
  pushErrorScope(filter: "validation" | "out-of-memory" | "internal"): void;
  popErrorScope(): Promise<{ readonly message: string } | null>;
  destroy(): void;
}

export interface ComputePipelineDescriptor {
  label?: string;
  layout: GPUPipelineLayout | "auto";
  compute: { module: GPUShaderModule; entryPoint?: string; constants?: Record<string, number> };
}

export interface Queue extends Labelled {
  submit(commands: Iterable<GPUCommandBuffer>): void;
  onSubmittedWorkDone(): Promise<unknown>;
  writeBuffer(buffer: GPUBuffer, offset: number, data: ArrayBuffer | ArrayBufferView, dataOffset?: number, size?: number): void;
}

export interface DeviceBuffer extends Labelled {
  readonly size: number;
  readonly usage: number;
  readonly mapState: "unmapped" | "pending" | "mapped";
  mapAsync(mode: number, offset?: number, size?: number): Promise<unknown>;
  getMappedRange(offset?: number, size?: number): ArrayBuffer;
  unmap(): void;
  destroy(): void;
}

export interface CommandEncoder extends Labelled {
  beginComputePass(descriptor?: { label?: string }): GPUComputePassEncoder;
  copyBufferToBuffer(from: GPUBuffer, fromOffset: number, to: GPUBuffer, toOffset: number, size: number): void;
  clearBuffer(buffer: GPUBuffer, offset?: number, size?: number): void;
  finish(descriptor?: { label?: string }): GPUCommandBuffer;
}

export interface ComputePassEncoder extends Labelled {
  setPipeline(pipeline: GPUComputePipeline): void;
  setBindGroup(index: number, group: GPUBindGroup | null, dynamicOffsets?: Iterable<number>): void;
  dispatchWorkgroups(x: number, y?: number, z?: number): void;
  end(): void;
}

export interface ComputePipeline extends Labelled {
  getBindGroupLayout(index: number): GPUBindGroupLayout;
}

export interface Signal {
  readonly aborted: boolean;
  // biome-ignore lint/suspicious/noExplicitAny: as every library declares it.
  readonly reason: any;
  throwIfAborted(): void;
}
