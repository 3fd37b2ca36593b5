import type { Profile } from "../../src/gpu/profile.js";
import { view } from "../../src/gpu/view.js";
import { type Epilogue, type LinearOperands, linear } from "../../src/ops/linear.js";
import { kept, roundedSlack } from "../support/elements.js";
import {
  Contents,
  fill,
  inUnits,
  inWords,
  memo,
  type Op,
  type OpCase,
  randomOf,
  rowAndColumn,
  sentinels,
} from "../support/op.js";
import { geluDerivative, geluOracle } from "./gelu.case.js";
import { published } from "./published.js";

export interface LinearCase extends OpCase {
  rows: number;
  depth: number;
  cols: number;
  epilogue: Epilogue;
  /** f32 where it is left out. */
  result?: "f32" | "elem";
  /** Columns in front of and behind those used, in elements; gaps hold NaN. */
  inputOffset?: number;
  inputGap?: number;
  weightColumn?: number;
  weightGap?: number;
  outputOffset?: number;
  outputGap?: number;
  /** Where the residual rows lie, if not in the output's place. */
  residualOffset?: number;
  /** Rows of the table. */
  period?: number;
  /** Numbers in front of the table, or of what the derivative is of. */
  tableOffset?: number;
  /** `equal`: all rows alike. `large`: inputs around 1000 whose products cancel. `gelu`: sums that sweep GELU's whole range. */
  data?: "normal" | "equal" | "large" | "gelu";
}

export const linearCases: readonly LinearCase[] = [
  { name: "the smallest", rows: 1, depth: 4, cols: 4, epilogue: "none" },
  { name: "one row, deep", rows: 1, depth: 3072, cols: 96, epilogue: "none" },
  { name: "one row, wide", rows: 1, depth: 4, cols: 3072, epilogue: "gelu" },
  { name: "one column vector", rows: 197, depth: 192, cols: 4, epilogue: "none" },
  { name: "odd sizes", rows: 13, depth: 20, cols: 28, epilogue: "none" },
  { name: "one row short of a tile", rows: 31, depth: 60, cols: 92, epilogue: "residual" },
  { name: "whole tiles", rows: 32, depth: 64, cols: 96, epilogue: "gelu" },
  { name: "one past every tile", rows: 33, depth: 68, cols: 100, epilogue: "table", period: 5 },
  { name: "four rows a lane", rows: 16_333, depth: 4, cols: 4, epilogue: "none" },
  { name: "eight rows a lane", rows: 32_701, depth: 8, cols: 4, epilogue: "residual" },
  { name: "a sequence to queries, keys and values", rows: 197, depth: 192, cols: 576, epilogue: "none" },
  { name: "MLP in", rows: 50, depth: 96, cols: 384, epilogue: "gelu" },
  { name: "MLP out", rows: 50, depth: 384, cols: 96, epilogue: "residual" },
  { name: "embedding with its table", rows: 51, depth: 192, cols: 96, epilogue: "table", period: 17 },
  { name: "a table longer than the rows", rows: 9, depth: 48, cols: 52, epilogue: "table", period: 197 },
  {
    name: "keys and values beside queries",
    rows: 21,
    depth: 24,
    cols: 48,
    epilogue: "none",
    weightColumn: 24,
    outputOffset: 24,
    outputGap: 24,
  },
  { name: "queries before keys and values", rows: 21, depth: 24, cols: 24, epilogue: "gelu", weightGap: 48, outputGap: 48 },
  {
    name: "offsets and gaps everywhere",
    rows: 37,
    depth: 44,
    cols: 36,
    epilogue: "residual",
    inputOffset: 88,
    inputGap: 12,
    weightColumn: 8,
    weightGap: 4,
    outputOffset: 120,
    outputGap: 20,
  },
  { name: "residual rows behind the output", rows: 18, depth: 32, cols: 64, epilogue: "residual", residualOffset: 18 * 64 + 128 },
  {
    name: "residual rows before the output",
    rows: 18,
    depth: 32,
    cols: 64,
    epilogue: "residual",
    outputOffset: 18 * 64 + 64,
    residualOffset: 0,
  },
  { name: "all rows equal", rows: 34, depth: 256, cols: 32, epilogue: "none", data: "equal" },
  { name: "large inputs", rows: 20, depth: 768, cols: 48, epilogue: "none", data: "large" },
  { name: "all of GELU", rows: 64, depth: 4, cols: 64, epilogue: "gelu", data: "gelu" },
  { name: "a table that begins anywhere", rows: 9, depth: 8, cols: 12, epilogue: "table", period: 9, tableOffset: 20 },
  ...published(({ bench, title, batch, tokens, width, heads, head, hidden, bottleneck, patch }): LinearCase[] => {
    const rows = batch * tokens;
    const attention = heads * head;
    const of = (what: string, streams: number, depth: number, cols: number, epilogue: Epilogue): LinearCase => ({
      name: `${title}: ${what}`,
      bench,
      rows: streams * rows,
      depth,
      cols,
      epilogue,
      result: epilogue === "none" || epilogue === "gelu" ? "elem" : "f32",
      ...(epilogue === "table" ? { period: tokens } : {}),
    });
    return [
      of("embedding", 1, patch, width, "table"),
      of("query, key, value", 2, width, 3 * attention, "none"),
      of("out", 3, attention, width, "residual"),
      of("fc1", 3, width, hidden, "gelu"),
      of("fc2", 3, hidden, width, "residual"),
      of("bottleneck fc1", 1, width, bottleneck, "gelu"),
      of("bottleneck fc2", 1, bottleneck, width, "none"),
    ];
  }),
];

/** Of the GEMMs that only a backward pass has. */
export const linearBackwardCases: readonly LinearCase[] = [
  { name: "GELU's derivative", rows: 37, depth: 20, cols: 28, epilogue: "gelu_derivative", tableOffset: 8 },
  ...published(({ bench, title, batch, tokens, width, hidden }): LinearCase[] => [
    {
      name: `${title}: fc2's gradient`,
      bench,
      rows: 3 * batch * tokens,
      depth: width,
      cols: hidden,
      epilogue: "gelu_derivative",
      result: "elem",
    },
  ]),
];

type Numbers = ArrayLike<number>;

/** One row of a GEMM: input [depth], weight [depth, cols], bias [cols] where there is one. */
export function linearRow(cols: number, input: Numbers, weight: Numbers, bias?: Numbers): Float64Array {
  const sums = Float64Array.from({ length: cols }, (_, n) => bias?.[n] ?? 0);
  for (let k = 0; k < input.length; k++) {
    const x = input[k]!;
    for (let n = 0; n < cols; n++) sums[n]! += x * weight[k * cols + n]!;
  }
  return sums;
}

/** What is done with a sum: `other` is the residual's, the table's, or what the derivative is of. */
export const EPILOGUES: Record<Epilogue, (sum: number, other: number) => number> = {
  none: (sum) => sum,
  gelu: geluOracle,
  relu: (sum) => Math.max(0, sum),
  residual: (sum, other) => sum + other,
  table: (sum, other) => sum + other,
  gelu_derivative: (sum, other) => sum * geluDerivative(other),
  relu_derivative: (sum, other) => (other > 0 ? sum : 0),
};

function operandsOf(one: LinearCase, profile: Profile) {
  const { rows, depth, cols, epilogue, period = 1, data = "normal" } = one;
  const random = randomOf(one);
  let input = kept(profile, random.normals(rows * depth, 1, data === "large" ? 1000 : 0));
  let weight = kept(profile, random.normals(depth * cols, 1 / Math.sqrt(depth)));
  let bias = random.normals(cols);
  if (data === "equal") input = input.map((_, at) => input[at % depth]!);
  if (data === "gelu") {
    const sweep = input.map((_, at) => (at % depth === 0 ? (20 * Math.floor(at / depth)) / rows - 10 : 0));
    input = kept(profile, sweep);
    weight = weight.map((_, at) => (at < cols ? 1 : 0));
    bias = bias.map((_, col) => (20 * col) / (rows * cols));
  }
  const other =
    epilogue === "table"
      ? random.normals(period * cols)
      : epilogue === "residual"
        ? random.normals(rows * cols)
        : epilogue === "gelu_derivative"
          ? kept(profile, random.normals(rows * cols, 2))
          : undefined;
  return { input, weight, bias, other };
}

export const linearOp: Op<LinearCase> = {
  name: "linear",
  cases: [...linearCases, ...linearBackwardCases],
  setup(one, profile) {
    const { rows, depth, cols, epilogue, result = "f32", period = 1, tableOffset = 0 } = one;
    const { inputOffset = 0, weightColumn = 0, weightGap = 0, outputOffset = 0, outputGap = 0 } = one;
    const operands = memo(() => operandsOf(one, profile));
    const other = () => operands().other!;
    const contents = new Contents();
    const x = contents.matrix(profile, "elem", rows, depth, () => operands().input, {
      first: inputOffset,
      stride: depth + (one.inputGap ?? 0),
    });
    const w = contents.matrix(profile, "elem", depth, cols, () => operands().weight, {
      first: weightColumn,
      stride: weightColumn + cols + weightGap,
    });
    const bias = contents.matrix(profile, "f32", 1, cols, () => operands().bias, {
      first: weightColumn,
      stride: cols + weightGap,
    }).buffer;

    const region = { offset: outputOffset, stride: cols + outputGap, rows, cols };
    const residualRegion = { ...region, offset: one.residualOffset ?? outputOffset };
    const output = contents.add(() => {
      const before = sentinels(inWords(profile, region, result), residualRegion);
      if (epilogue === "residual") fill(before, residualRegion, other());
      return before;
    });
    const y = view(output, result, rows, cols, { first: outputOffset, stride: region.stride });
    const call: LinearOperands = { x, w, y };
    if (epilogue === "gelu") call.activation = "gelu";
    if (epilogue === "residual") call.residual = { ...y, first: residualRegion.offset };
    if (epilogue === "table") call.table = contents.matrix(profile, "f32", period, cols, other, { first: tableOffset });
    const backward = epilogue === "gelu_derivative";
    if (backward)
      call.derivative = { of: "gelu", at: contents.matrix(profile, "elem", rows, cols, other, { first: tableOffset }) };
    else call.bias = bias;

    const values = inUnits(cols, (row) => {
      const { input, weight, bias, other } = operands();
      const sums = linearRow(cols, input.subarray(row * depth, (row + 1) * depth), weight, backward ? undefined : bias);
      const from = epilogue === "table" ? row % period : row;
      return sums.map((sum, col) => EPILOGUES[epilogue](sum, other?.[from * cols + col] ?? 0));
    });
    const made = linear(profile, call);
    return {
      call: made,
      contents,
      outputs: [{ buffer: output, kind: result, region: inWords(profile, region, result), adds: epilogue === "residual" }],
      results: [{ size: rows * cols, expected: values, tolerance: roundedSlack(profile, result), place: rowAndColumn(cols) }],
      flops: made.flops,
      shape: `${rows} × ${depth} × ${cols}${epilogue === "none" ? "" : ` ${epilogue}`}`,
    };
  },
};
