/**
 * Names that the public types take from their surroundings. WebGPU's come from a browser's library (`DOM`), from `@webgpu/types`
 * or from nowhere, and a package that brings a full set along breaks whoever has another. Interfaces of one name merge, so each
 * name is declared here once more: with nothing in it where it is known already, else with what computing takes.
 * `AbortSignal` and `fetch` are the same, for programs without `DOM` and `@types/node`.
 */
import type * as fallback from "./webgpu-fallback.js";

// Classes have a value beside their interface; looking for that does not ask what the interface holds, which would go in circles.
type IfMissing<Name extends string, T> = typeof globalThis extends Record<Name, unknown> ? object : T;

type Device = IfMissing<"GPUDevice", fallback.Device>;
type Queue = IfMissing<"GPUQueue", fallback.Queue>;
type DeviceBuffer = IfMissing<"GPUBuffer", fallback.DeviceBuffer>;
type CommandEncoder = IfMissing<"GPUCommandEncoder", fallback.CommandEncoder>;
type ComputePassEncoder = IfMissing<"GPUComputePassEncoder", fallback.ComputePassEncoder>;
type ComputePipeline = IfMissing<"GPUComputePipeline", fallback.ComputePipeline>;
type Labelled<Name extends string> = IfMissing<Name, fallback.Labelled>;
type Signal = IfMissing<"AbortSignal", fallback.Signal>;

declare global {
  interface GPUDevice extends Device {}
  interface GPUQueue extends Queue {}
  interface GPUBuffer extends DeviceBuffer {}
  interface GPUCommandEncoder extends CommandEncoder {}
  interface GPUComputePassEncoder extends ComputePassEncoder {}
  interface GPUComputePipeline extends ComputePipeline {}
  interface GPUBindGroup extends Labelled<"GPUBindGroup"> {}
  interface GPUBindGroupLayout extends Labelled<"GPUBindGroupLayout"> {}
  interface GPUCommandBuffer extends Labelled<"GPUCommandBuffer"> {}
  interface GPUPipelineLayout extends Labelled<"GPUPipelineLayout"> {}
  interface GPUShaderModule extends Labelled<"GPUShaderModule"> {}
  interface AbortSignal extends Signal {}
}

/** The type of `fetch`. */
export type Fetch = typeof globalThis extends { fetch: infer F } ? F : (url: string, init?: object) => Promise<object>;
