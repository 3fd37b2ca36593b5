import { type Plan, spread, u32, type Word } from "../gpu/dispatch.js";
import type { Profile } from "../gpu/profile.js";

export interface LayerNormBackwardShape {
  rows: number;
  /** Elements that count. */
  width: number;
}

/** Offsets and strides of the rows, in elements; multiples of 4. */
export interface LayerNormBackwardPlacement {
  inputOffset?: number;
  inputStride: number;
  upstreamOffset?: number;
  upstreamStride: number;
  gradientOffset?: number;
  /** All of a row's stride is the op's: what lies behind `width` becomes zero where it does not accumulate. */
  gradientStride: number;
  /** Whether the gradient is added to what is there. */
  accumulate?: boolean;
}

/** Plans the gradient of LayerNorm without scale and shift over [rows, width]: kernels/layer_norm_backward.wgsl. */
export function planLayerNormBackward(shape: LayerNormBackwardShape, profile: Profile): Plan {
  // As in layer norm: 4 lanes are one vector of a CPU, which pays for barriers and not for idle lanes.
  const lanes = profile.software ? 4 : 32;
  const rows = profile.software ? 16 : 4;
  return {
    variant: {
      kernel: "layer_norm_backward",
      entryPoint: "differentiate_rows",
      constants: {},
      result: "f32",
      overrides: { LANES: lanes, ROWS: rows },
      bindings: ["read", "read", "write"],
    },
    workgroups: spread(Math.ceil(shape.rows / rows), profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 8 * lanes * rows,
  };
}

/** The parameter block; buffers bind as input (f32), upstream (dL/dx̂, elem), gradient (dL/dx, f32). */
export function layerNormBackwardParameters(shape: LayerNormBackwardShape, placement: LayerNormBackwardPlacement): Word[] {
  return [
    shape.rows,
    shape.width,
    (placement.inputOffset ?? 0) / 4,
    placement.inputStride / 4,
    (placement.upstreamOffset ?? 0) / 4,
    placement.upstreamStride / 4,
    (placement.gradientOffset ?? 0) / 4,
    placement.gradientStride / 4,
    placement.accumulate ? 1 : 0,
  ].map(u32);
}
