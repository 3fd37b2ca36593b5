import { type Plan, u32, type Word } from "../gpu/dispatch.js";
import type { Variant } from "../gpu/pipelines.js";
import type { Profile } from "../gpu/profile.js";

/** Fused behind the product and its bias. `residual` adds the output's own rows, `table` rows that repeat. */
export type Epilogue = "none" | "gelu" | "residual" | "table";

/** What decides the kernel and the grid. All sizes are padded ones, multiples of 4. */
export interface LinearShape {
  rows: number;
  depth: number;
  cols: number;
  epilogue: Epilogue;
  /** `f32` for the residual stream, `elem` for an activation of the tier. */
  result: "f32" | "elem";
}

/** Where the operands lie in their buffers, in elements; multiples of 4. */
export interface LinearPlacement {
  inputOffset?: number;
  inputStride: number;
  /** First column of the weight that is used; also the first element of the bias. */
  weightColumn?: number;
  weightStride: number;
  outputOffset?: number;
  outputStride: number;
  residualOffset?: number;
  /** Rows of the table, for the `table` epilogue. */
  period?: number;
}

const BINDINGS: Variant["bindings"] = ["read", "read", "read", "read", "write"];

/** Invocations of the quad kernel's workgroup: whole quads, 8 columns each. 96 divides every width of the published models. */
const QUAD_WIDTH = 12;

function multipleOf4(value: number, what: string): number {
  if (value % 4 !== 0) throw new RangeError(`linear: ${what} is ${value}, not a multiple of 4`);
  return value;
}

/**
 * Plans `output = epilogue(input · weight + bias)`, [rows, depth] × [depth, cols].
 *
 * Software adapters take the quad kernel (see kernels/linear_quad.wgsl). GPUs take the tiled one, with more rows an
 * invocation where that still gives every core of a large GPU (about 256 workgroups) something to do.
 */
export function planLinear(shape: LinearShape, profile: Profile): Plan {
  const cols4 = multipleOf4(shape.cols, "cols") / 4;
  multipleOf4(shape.depth, "depth");
  if (profile.software && profile.subgroups) {
    const pairs = Math.ceil(cols4 / 2);
    return {
      variant: {
        kernel: "linear_quad",
        entryPoint: "quad",
        constants: {},
        result: shape.result,
        overrides: { WIDTH: QUAD_WIDTH },
        bindings: BINDINGS,
        subgroups: true,
      },
      workgroups: [Math.ceil(pairs / QUAD_WIDTH), Math.ceil(shape.rows / 16), 1],
      workgroupBytes: 0,
    };
  }
  const width = 16;
  const height = 16;
  const depth4 = 4;
  const columns = Math.ceil(cols4 / width);
  const rowsEach = [8, 4, 2].find((rows) => columns * Math.ceil(shape.rows / (height * rows)) >= 256) ?? 2;
  return {
    variant: {
      kernel: "linear",
      entryPoint: "tiled",
      constants: { ROWS: rowsEach, DEPTH4: depth4 },
      result: shape.result,
      overrides: { WIDTH: width, HEIGHT: height },
      bindings: BINDINGS,
    },
    workgroups: [columns, Math.ceil(shape.rows / (height * rowsEach)), 1],
    workgroupBytes: 4 * profile.elementBytes * depth4 * (height * rowsEach + 4 * width),
  };
}

/** The kernel's parameter block; buffers bind as input, weight, bias, table (the bias again where there is none), output. */
export function linearParameters(shape: LinearShape, placement: LinearPlacement): Word[] {
  return [
    shape.rows,
    shape.cols / 4,
    shape.depth / 4,
    (placement.inputOffset ?? 0) / 4,
    placement.inputStride / 4,
    (placement.weightColumn ?? 0) / 4,
    placement.weightStride / 4,
    (placement.outputOffset ?? 0) / 4,
    placement.outputStride / 4,
    (placement.residualOffset ?? placement.outputOffset ?? 0) / 4,
    placement.period ?? 1,
    shape.epilogue === "gelu" ? 1 : 0,
    shape.epilogue === "residual" ? 1 : shape.epilogue === "table" ? 2 : 0,
  ].map(u32);
}

/** Floating-point operations of the product. */
export function linearFlops(shape: LinearShape): number {
  return 2 * shape.rows * shape.depth * shape.cols;
}
