import { type Call, call, type Plan, spread } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import type { View } from "../gpu/view.js";

export interface LayerNormShape {
  rows: number;
  /** Elements that count; the padding behind them is written as zero. */
  width: number;
  /** Whether scale and shift are applied here, rather than folded into what follows. */
  affine: boolean;
  result: "f32" | "elem";
}

/** Plans LayerNorm over [rows, width]: kernels/layer_norm.wgsl. */
export function planLayerNorm(shape: LayerNormShape, profile: Profile): Plan {
  // A CPU adapter pays for barriers and not for idle lanes; 4 lanes are one of its vectors.
  const lanes = profile.software ? 4 : 32;
  const rows = profile.software ? 16 : 4;
  return {
    variant: {
      kernel: "layer_norm",
      entryPoint: "normalize_rows",
      constants: {},
      result: shape.result,
      overrides: { LANES: lanes, ROWS: rows, AFFINE: shape.affine ? 1 : 0 },
      parts: ["lane_sum"],
    },
    workgroups: spread(Math.ceil(shape.rows / rows), profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 4 * lanes * rows,
  };
}

export interface LayerNormOperands {
  /** [rows, stride] f32. */
  x: View;
  /** [rows, stride]; what lies behind `width` becomes zero. */
  y: View;
  /** Numbers of a row that count. */
  width: number;
  /** Scale and shift, f32 [width], where they are not folded into what follows. */
  affine?: { gamma: GPUBuffer; beta: GPUBuffer };
}

/** y = (x - mean) / √(variance + eps), by row. */
export function layerNorm(profile: Profile, { x, y, width, affine }: LayerNormOperands): Call {
  const shape = { rows: x.rows, width, affine: affine !== undefined, result: y.type };
  const { gamma, beta } = affine ?? { gamma: x.buffer, beta: x.buffer };
  return call(planLayerNorm(shape, profile), { input: x, gamma, beta, output: y }, { rows: x.rows, width });
}
