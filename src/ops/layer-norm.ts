import { type Plan, spread, u32, type Word } from "../gpu/dispatch.js";
import type { Profile } from "../gpu/profile.js";

export interface LayerNormShape {
  rows: number;
  /** Elements that count; the padding behind them is written as zero. */
  width: number;
  /** Whether scale and shift are applied here, rather than folded into what follows. */
  affine: boolean;
  result: "f32" | "elem";
}

export interface LayerNormPlacement {
  inputOffset?: number;
  inputStride: number;
  outputOffset?: number;
  outputStride: number;
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
      bindings: ["read", "read", "read", "write"],
    },
    workgroups: spread(Math.ceil(shape.rows / rows), profile.limits.maxComputeWorkgroupsPerDimension),
    workgroupBytes: 4 * lanes * rows,
  };
}

/** The parameter block; buffers bind as input, gamma, beta (the input again where not affine), output. */
export function layerNormParameters(shape: LayerNormShape, placement: LayerNormPlacement): Word[] {
  return [
    shape.rows,
    shape.width,
    placement.inputStride / 4,
    (placement.inputOffset ?? 0) / 4,
    (placement.outputOffset ?? 0) / 4,
    placement.outputStride / 4,
  ].map(u32);
}
