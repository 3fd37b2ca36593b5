import { bucket, type Call, type Candidate, type Plan, pick } from "../gpu/call.js";
import type { Profile } from "../gpu/profile.js";
import { isAligned8, rowsOf, type View } from "../gpu/view.js";

/**
 * Fused behind the GEMM and its bias. `residual` adds the output's own rows, `table` rows of another buffer that repeat;
 * `gelu_derivative` and `relu_derivative` are those of backward passes: they multiply with the derivative of the activation in
 * front of what is differentiated.
 */
export type Epilogue = "none" | "gelu" | "relu" | "residual" | "table" | "gelu_derivative" | "relu_derivative";

/** What decides the kernel and the grid. All sizes are padded ones, multiples of 4. */
export interface LinearShape {
  rows: number;
  depth: number;
  cols: number;
  epilogue: Epilogue;
  /** `f32` for the residual stream, `elem` for an activation of the tier. */
  result: "f32" | "elem";
  /** Whether every offset and stride of the placement is a multiple of 8, as matrix units need; true where it is left out. */
  aligned8?: boolean;
  /** GEMMs of one shape side by side, as in split-K; each has its own operands and output, and none a bias. */
  slices?: number;
  /** Rows are 3 × 3 windows of feature maps with so many channels (a multiple of 4), and depth is 9 times that. */
  windowChannels?: number;
}

/** Files in front of a linear kernel: where rows lie, and what happens behind the GEMM. */
function partsOf({ epilogue, windowChannels }: LinearShape): string[] {
  const backward = epilogue === "gelu_derivative" || epilogue === "relu_derivative";
  return [
    "linear_parameters",
    windowChannels === undefined ? "linear_rows" : "linear_windows",
    "gelu",
    ...(backward ? ["gelu_derivative", "linear_backward_epilogue"] : ["linear_epilogue"]),
  ];
}

/** Invocations of the quad kernel's workgroup: whole quads, 8 columns each. 96 divides every width of the published models. */
const QUAD_WIDTHS = [12, 24, 4];

/** Rows an invocation and vec4s of depth a step of the tiled kernel: each is a pipeline to compile where a tuner measures them. */
const TILED_SIZES = [
  [8, 4],
  [8, 8],
  [8, 2],
  [4, 4],
  [4, 8],
  [2, 4],
] as const;

/** Workgroups that give every core of a large GPU something to do. */
const ENOUGH_WORKGROUPS = 256;

/**
 * Tiles of the matrix kernel: subgroups down and across, fragments of each, steps of depth a panel, and what share of a large
 * tile's speed a full grid of them is taken to reach: a guess that orders the candidates until a tuner has measured them.
 */
const MATRIX_TILES = [
  { subM: 2, subN: 2, fm: 4, fn: 4, depth: 32, share: 1 },
  { subM: 2, subN: 2, fm: 4, fn: 4, depth: 16, share: 0.95 },
  { subM: 2, subN: 4, fm: 4, fn: 4, depth: 32, share: 0.95 },
  { subM: 4, subN: 2, fm: 2, fn: 4, depth: 32, share: 0.9 },
  { subM: 2, subN: 2, fm: 4, fn: 2, depth: 32, share: 0.85 },
  { subM: 2, subN: 2, fm: 2, fn: 2, depth: 32, share: 0.6 },
] as const;
/** Workgroups that a large GPU takes at once, at one or two a core; fewer leave cores idle. */
const MATRIX_WORKGROUPS = 132;

function multipleOf4(value: number, what: string): number {
  if (value % 4 !== 0) throw new RangeError(`linear: ${what} is ${value}, not a multiple of 4`);
  return value;
}

function quadCandidates(shape: LinearShape): Candidate[] {
  const pairs = Math.ceil(shape.cols / 8);
  return QUAD_WIDTHS.map((width) => ({
    name: `quad ${width}`,
    plan: {
      variant: {
        kernel: "linear_quad",
        entryPoint: "quad",
        constants: {},
        result: shape.result,
        overrides: { WIDTH: width },
        parts: partsOf(shape),
      },
      workgroups: [Math.ceil(pairs / width), Math.ceil(shape.rows / 16), shape.slices ?? 1],
      workgroupBytes: 0,
    },
  }));
}

function tiledCandidates(shape: LinearShape, profile: Profile): Candidate[] {
  const width = 16;
  const height = 16;
  const columns = Math.ceil(shape.cols / 4 / width);
  const of = (rowsEach: number, depth4: number): Candidate => ({
    name: `tiled ${rowsEach}x${depth4}`,
    plan: {
      variant: {
        kernel: "linear",
        entryPoint: "tiled",
        constants: { ROWS: rowsEach, DEPTH4: depth4 },
        result: shape.result,
        overrides: { WIDTH: width, HEIGHT: height },
        parts: partsOf(shape),
      },
      workgroups: [columns, Math.ceil(shape.rows / (height * rowsEach)), shape.slices ?? 1],
      workgroupBytes: 4 * profile.elementBytes * depth4 * (height * rowsEach + 4 * width),
    },
  });
  const first =
    [8, 4, 2].find((rows) => columns * Math.ceil(shape.rows / (height * rows)) * (shape.slices ?? 1) >= ENOUGH_WORKGROUPS) ?? 2;
  const others = TILED_SIZES.filter(([rows, depth4]) => rows !== first || depth4 !== 4);
  return [of(first, 4), ...others.map(([rows, depth4]) => of(rows, depth4))].filter(
    ({ plan }) => plan.workgroupBytes <= profile.limits.maxComputeWorkgroupStorageSize,
  );
}

/** Bytes of workgroup memory of a matrix tile: panels of both operands, or the sums on their way out. */
function matrixBytes({ subM, subN, fm, fn, depth }: (typeof MATRIX_TILES)[number]): number {
  const panels = 16 * fm * subM * (depth / 8 + 1) + depth * (2 * fn * subN + 1);
  return 16 * Math.max(panels, subM * subN * 16 * (4 * fn + 1));
}

function matrixCandidates(shape: LinearShape, profile: Profile): Candidate[] {
  const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } = profile.limits;
  const grid = (tile: (typeof MATRIX_TILES)[number]): [number, number, number] => [
    Math.ceil(shape.cols / (16 * tile.fn * tile.subN)),
    Math.ceil(shape.rows / (16 * tile.fm * tile.subM)),
    shape.slices ?? 1,
  ];
  /** Time, in arbitrary units: the padded GEMM over the tile's share of speed, in whole rounds of workgroups. */
  const cost = (tile: (typeof MATRIX_TILES)[number]) => {
    const [x, y, z] = grid(tile);
    const each = tile.fm * tile.subM * tile.fn * tile.subN;
    return (Math.max(x * y * z, MATRIX_WORKGROUPS) * each) / tile.share;
  };
  return MATRIX_TILES.filter(
    (tile) =>
      shape.depth % tile.depth === 0 &&
      (shape.windowChannels ?? tile.depth) % tile.depth === 0 &&
      matrixBytes(tile) <= maxComputeWorkgroupStorageSize &&
      32 * tile.subM * tile.subN <= maxComputeInvocationsPerWorkgroup,
  )
    .sort((a, b) => cost(a) - cost(b))
    .map((tile) => {
      const { subM, subN, fm, fn, depth } = tile;
      return {
        name: `matrix ${16 * fm * subM}x${16 * fn * subN}x${depth} by ${subM}x${subN}`,
        plan: {
          variant: {
            kernel: "linear_matrix",
            entryPoint: "matrix",
            constants: { SUB_M: subM, SUB_N: subN, FM: fm, FN: fn, DEPTH: depth },
            result: shape.result,
            overrides: {},
            parts: partsOf(shape),
            matrix: true,
          },
          workgroups: grid(tile),
          workgroupBytes: matrixBytes(tile),
        },
      };
    });
}

/**
 * The ways to compute `output = epilogue(input · weight + bias)`, [rows, depth] × [depth, cols]; the first is the default.
 *
 * Software adapters take the quad kernel (see kernels/linear_quad.wgsl). GPUs take matrix units where the profile has them
 * and the shape suits (kernels/linear_matrix.wgsl), else the tiled kernel, with more rows an invocation where that still
 * gives every core of a large GPU something to do.
 */
export function linearCandidates(shape: LinearShape, profile: Profile): Candidate[] {
  multipleOf4(shape.cols, "cols");
  multipleOf4(shape.depth, "depth");
  const inEights = shape.aligned8 !== false && shape.cols % 8 === 0;
  if (profile.matrix && inEights) {
    const candidates = matrixCandidates(shape, profile);
    if (candidates.length > 0) return candidates;
  }
  return profile.software && profile.subgroups ? quadCandidates(shape) : tiledCandidates(shape, profile);
}

/** The candidate called `choice`, or the default. */
export function planLinear(shape: LinearShape, profile: Profile, choice?: string): Plan {
  return pick(linearCandidates(shape, profile), choice);
}

/** What a tuner knows a GEMM by. */
export function linearKey({ rows, depth, cols, epilogue, result, slices = 1, windowChannels }: LinearShape): string {
  const kind = `${epilogue} ${result}${slices > 1 ? ` by ${slices}` : ""}${windowChannels === undefined ? "" : " windows"}`;
  return `linear ${bucket(rows)}x${depth}x${cols} ${kind}`;
}

/** Floating-point operations of the GEMM. */
export function linearFlops(shape: LinearShape): number {
  return 2 * shape.rows * shape.depth * shape.cols * (shape.slices ?? 1);
}

/** Rows that a GEMM is taken to have where its kernel must not depend on them: as many as fill a large GPU. */
const NOMINAL_ROWS = 2 ** 14;

/** Rows of the smallest tile: what is cut into bands is cut between tiles. */
const SMALLEST_TILE = 16;

export interface LinearOperands {
  /** [rows, depth] elem; where rows are windows, the maps that they look at. */
  x: View;
  /** [depth, cols] elem, or columns of a wider matrix. */
  w: View;
  /** [rows, cols]. */
  y: View;
  /** By the columns of the whole matrix that `w` is part of, f32. */
  bias?: GPUBuffer | undefined;
  /** Behind the bias. */
  activation?: "gelu" | "relu";
  /** The result is multiplied with the derivative of an activation at [rows, cols] elem: for backward passes. */
  derivative?: { of: "gelu" | "relu"; at: View } | undefined;
  /** Rows of y's own buffer that are added; they may be y's. */
  residual?: View | undefined;
  /** Rows of another buffer that are added, f32 [period, cols], again and again; not together with `residual`. */
  table?: View | undefined;
  /** GEMMs of one shape side by side, as in split-K, and how many numbers apart the operands of two of them lie. */
  slices?: { count: number; x: number; w: number; y: number };
  /** Implicit GEMM convolution: a row is the 3 × 3 window around a pixel of bordered maps. */
  windows?: { images: number; side: number; channels: number };
}

/** y = epilogue(x · w + bias). Rows are independent of one another, so a long one can be cut between them. */
export function linear(profile: Profile, operands: LinearOperands): Call {
  const { x, y, w, bias, derivative, residual, table, windows } = operands;
  const { count = 1, ...gaps } = operands.slices ?? { x: 0, w: 0, y: 0 };
  const activation = derivative?.of ?? operands.activation;
  const epilogue: Epilogue = derivative
    ? (`${derivative.of}_derivative` as const)
    : (operands.activation ?? (residual ? "residual" : table ? "table" : "none"));
  const size = {
    depth: windows ? 9 * windows.channels : x.cols,
    cols: y.cols,
    epilogue,
    result: y.type,
    slices: count,
    ...(windows ? { windowChannels: windows.channels } : {}),
    aligned8: isAligned8(x, w, y, residual ?? y) && Object.values(gaps).every((gap) => gap % 8 === 0),
  };
  const total = windows ? windows.images * windows.side ** 2 : x.rows;
  const repeats = table !== undefined && table.rows < total;
  const of = (first: number, rows: number): Call => {
    const shape = { ...size, rows };
    // Windows are found by their pixel, other rows by their offset.
    const from = <V extends View | undefined>(rows: V) => (rows && !windows && first > 0 ? rowsOf(rows, first) : rows);
    return {
      key: linearKey(shape),
      candidates: linearCandidates(shape, profile),
      fixed: () => linearCandidates({ ...shape, rows: NOMINAL_ROWS }, profile)[0]!.name,
      operands: {
        input: from(x),
        weight: w,
        // A buffer that is read anyway takes the place of one that there is no use for.
        bias: bias ?? w.buffer,
        table: derivative
          ? from(derivative.at)
          : table
            ? repeats
              ? table
              : from(table)
            : { ...w, buffer: bias ?? w.buffer, first: 0 },
        output: from(y),
        residual: from(residual ?? y),
      },
      values: {
        rows,
        cols: size.cols,
        depth: size.depth,
        period: table?.rows ?? 1,
        bias: bias !== undefined,
        activation: activation === "gelu" ? 1 : activation === "relu" ? 2 : 0,
        residual: residual ? 1 : table ? 2 : 0,
        input_slice: gaps.x,
        weight_slice: gaps.w,
        output_slice: gaps.y,
        side: windows?.side ?? 1,
        first_pixel: windows ? first : 0,
      },
      flops: linearFlops(shape),
    };
  };
  const bands = { count: total, unit: repeats ? table.rows : SMALLEST_TILE, flops: linearFlops({ ...size, rows: 1 }), of };
  return { ...of(0, total), bands };
}
