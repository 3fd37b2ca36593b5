import { type Call, call, type Plan, spread } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import type { View } from "../gpu/view.js";

export interface LayerNormBackwardShape {
  rows: number;
  /** Elements that count. */
  width: number;
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
    },
    workgroups: spread(Math.ceil(shape.rows / rows), profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 8 * lanes * rows,
  };
}

export interface LayerNormBackwardOperands {
  /** Of the forward pass, f32. */
  x: View;
  /** dL/dy, elem. */
  dy: View;
  /** dL/dx, f32. All of a row's stride is written: what lies behind `width` becomes zero where it is not added to. */
  dx: View;
  width: number;
  /** Whether the gradient is added to what is there. */
  accumulate: boolean;
}

export function layerNormBackward(profile: Profile, { x, dy, dx, width, accumulate }: LayerNormBackwardOperands): Call {
  const shape = { rows: x.rows, width };
  return call(planLayerNormBackward(shape, profile), { input: x, upstream: dy, gradient: dx }, { ...shape, accumulate });
}
