import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { float16BitsToFloat32, float32ToFloat16Bits } from "../../src/hub/half.js";
import { type Epilogue, type LinearPlacement, linearCandidates, linearParameters, planLinear } from "../../src/ops/linear.js";
import { assertClose } from "../support/compare.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { Random } from "../support/random.js";
import { asFloats, runOp, sentinels } from "../support/run-op.js";
import { erf, gelu } from "./oracles.js";

/** What training asks of the linear kernels beyond a forward pass: windows of maps, slices, and derivatives behind the product. */
const gpu = gpuOfThisFile();

const element = (profile: Profile, values: Float32Array): Float32Array =>
  profile.elementBytes === 2 ? float16BitsToFloat32(float32ToFloat16Bits(values)) : values;
const packed = (profile: Profile, values: Float32Array): Float32Array | Uint32Array =>
  profile.elementBytes === 2 ? new Uint32Array(float32ToFloat16Bits(values).buffer) : values;

/** Φ(x) + x·φ(x). */
const geluDerivative = (x: number) => 0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI);

it("the oracle's derivative of GELU is that of its GELU", () => {
  for (const x of [-9, -3, -1.5, -0.7, -0.1, 0, 0.1, 0.5, 1, 2.5, 6]) {
    const h = 1e-5;
    expect(geluDerivative(x)).toBeCloseTo((gelu(x + h) - gelu(x - h)) / (2 * h), 8);
  }
});

interface MapCase {
  name: string;
  images: number;
  side: number;
  inputs: number;
  outputs: number;
  epilogue: Epilogue;
  /** Pixels in front of the first. */
  firstPixel?: number;
  rows?: number;
}

const maps: MapCase[] = [
  { name: "one pixel", images: 1, side: 1, inputs: 4, outputs: 4, epilogue: "none" },
  { name: "several maps of one pixel", images: 5, side: 1, inputs: 16, outputs: 32, epilogue: "relu" },
  { name: "an odd side", images: 2, side: 7, inputs: 8, outputs: 12, epilogue: "relu" },
  { name: "pictures in", images: 2, side: 10, inputs: 4, outputs: 64, epilogue: "relu" },
  { name: "as many channels as matrix units want", images: 2, side: 6, inputs: 64, outputs: 64, epilogue: "relu" },
  { name: "backward, behind ReLU", images: 2, side: 6, inputs: 64, outputs: 32, epilogue: "relu_derivative" },
  { name: "backward to pictures", images: 3, side: 5, inputs: 64, outputs: 4, epilogue: "none" },
  { name: "a band of pixels", images: 3, side: 5, inputs: 32, outputs: 8, epilogue: "relu", firstPixel: 17, rows: 41 },
];

/** [images, side + 2, side + 2, channels] with a border of zeros, from a function of the place. */
function bordered(images: number, side: number, channels: number, at: (i: number, y: number, x: number, c: number) => number) {
  const values = new Float32Array(images * (side + 2) ** 2 * channels);
  for (let i = 0; i < images; i++)
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++)
        for (let c = 0; c < channels; c++)
          values[((i * (side + 2) + y + 1) * (side + 2) + x + 1) * channels + c] = at(i, y, x, c);
  return values;
}

async function checkMaps(on: Gpu, profile: Profile, one: MapCase, choice?: string) {
  const { images, side, inputs, outputs, epilogue, firstPixel = 0 } = one;
  const random = new Random(one.name);
  const input = element(
    profile,
    bordered(images, side, inputs, () => random.normal()),
  );
  const weight = element(profile, random.normals(9 * inputs * outputs, 1 / Math.sqrt(9 * inputs)));
  const bias = random.normals(outputs);
  const activations = element(
    profile,
    bordered(images, side, outputs, () => Math.max(0, random.normal())),
  );
  const backward = epilogue === "relu_derivative";
  const rows = one.rows ?? images * side * side;
  const at = (i: number, y: number, x: number) => (i * (side + 2) + y + 1) * (side + 2) + x + 1;

  const expected = new Float64Array(rows * outputs);
  const places: number[] = [];
  for (let row = 0; row < rows; row++) {
    const pixel = firstPixel + row;
    const [i, y, x] = [Math.floor(pixel / side ** 2), Math.floor(pixel / side) % side, pixel % side];
    places.push(at(i, y, x));
    for (let o = 0; o < outputs; o++) {
      let sum = backward ? 0 : bias[o]!;
      for (let tap = 0; tap < 9; tap++) {
        const from = at(i, y + Math.floor(tap / 3) - 1, x + (tap % 3) - 1);
        for (let c = 0; c < inputs; c++) sum += input[from * inputs + c]! * weight[(tap * inputs + c) * outputs + o]!;
      }
      if (epilogue === "relu") sum = Math.max(0, sum);
      if (backward && activations[at(i, y, x) * outputs + o]! <= 0) sum = 0;
      expected[row * outputs + o] = sum;
    }
  }

  const shape = { rows, depth: 9 * inputs, cols: outputs, epilogue, result: "f32" as const, windowChannels: inputs };
  const placement: LinearPlacement = {
    inputStride: inputs,
    weightStride: outputs,
    outputStride: outputs,
    side,
    firstPixel,
    bias: !backward,
  };
  const words = images * (side + 2) ** 2 * outputs;
  const region = { offset: 0, stride: words, rows: 1, cols: words };
  const plan = planLinear(shape, profile, choice);
  const before = sentinels(region);
  const after = await runOp(on, {
    plan,
    parameters: linearParameters(shape, placement),
    inputs: [packed(profile, input), packed(profile, weight), bias, backward ? packed(profile, activations) : bias],
    before,
    region,
  });
  // Nothing but the pixels may change: the border, and what is in front of the band and behind it.
  const written = new Set(places);
  for (let place = 0; place < words / outputs; place++) {
    if (written.has(place)) continue;
    for (let o = 0; o < outputs; o++) expect(after[place * outputs + o]).toBe(before[place * outputs + o]);
  }
  const numbers = asFloats(after);
  const result = Float32Array.from({ length: rows * outputs }, (_, index) => {
    return numbers[places[Math.floor(index / outputs)]! * outputs + (index % outputs)]!;
  });
  assertClose(result, expected, `${plan.variant.kernel}, ${one.name}`);
  return plan.variant.kernel;
}

describe.each(FAMILIES)("3 × 3 convolutions as products of windows, kernels for %s", (_family, of) => {
  it.each(maps.map((one) => [one.name, one] as const))("%s", async (_, one) => {
    await checkMaps(gpu(), of(gpu().profile), one);
    const half = inTier(gpu(), "f16");
    await checkMaps(half, of(half.profile), one);
  });
});

describe("3 × 3 convolutions on matrix units", () => {
  it.each(maps.map((one) => [one.name, one] as const))("%s", async (_, one) => {
    const matrix = inTier(gpu(), "matrix");
    const kernel = await checkMaps(matrix, matrix.profile, one);
    // A panel of depth must lie in one tap.
    expect(kernel).toBe(one.inputs % 16 === 0 && one.outputs % 8 === 0 ? "linear_matrix" : "linear_quad");
  });

  it("every tile gives the same", async () => {
    const matrix = inTier(gpu(), "matrix");
    const one = maps.find(({ name }) => name.startsWith("as many"))!;
    const shape = { rows: 72, depth: 576, cols: 64, epilogue: one.epilogue, result: "f32" as const, windowChannels: 64 };
    for (const { name } of linearCandidates(shape, matrix.profile)) await checkMaps(matrix, matrix.profile, one, name);
  });
});

describe.each([...FAMILIES, ["matrix", (profile: Profile) => profile] as const])("slices, kernels for %s", (family, of) => {
  it.each([
    { slices: 1, rows: 12, depth: 32, cols: 20, accumulate: true },
    { slices: 3, rows: 12, depth: 32, cols: 24, accumulate: false },
    { slices: 5, rows: 33, depth: 64, cols: 40, accumulate: true },
  ])("$slices of $rows × $depth × $cols", async ({ slices, rows, depth, cols, accumulate }) => {
    const on = family === "matrix" ? inTier(gpu(), "matrix") : gpu();
    const profile = of(on.profile);
    const random = new Random(`slices ${slices}`);
    // As the gradient of a weight has it: the left side's rows hold the depth of all slices, the right side's rows are the depth.
    const input = element(profile, random.normals(rows * slices * depth));
    const weight = element(profile, random.normals(slices * depth * cols));
    const region = { offset: 8, stride: slices * rows * cols, rows: 1, cols: slices * rows * cols };
    const before = sentinels(region);
    const old = random.normals(region.cols);
    if (accumulate) before.set(new Uint32Array(old.buffer), region.offset);
    const shape = {
      rows,
      depth,
      cols,
      epilogue: accumulate ? ("residual" as const) : ("none" as const),
      result: "f32" as const,
      slices,
    };
    const words = await runOp(on, {
      plan: planLinear(shape, profile),
      parameters: linearParameters(shape, {
        inputStride: slices * depth,
        weightStride: cols,
        outputOffset: region.offset,
        outputStride: cols,
        bias: false,
        inputSlice: depth,
        weightSlice: depth * cols,
        outputSlice: rows * cols,
      }),
      inputs: [packed(profile, input), packed(profile, weight), new Float32Array(4).fill(Number.NaN), new Float32Array(8)],
      before,
      region,
    });
    const expected = new Float64Array(region.cols);
    for (let z = 0; z < slices; z++)
      for (let m = 0; m < rows; m++)
        for (let n = 0; n < cols; n++) {
          let sum = accumulate ? old[(z * rows + m) * cols + n]! : 0;
          for (let k = 0; k < depth; k++) sum += input[m * slices * depth + z * depth + k]! * weight[(z * depth + k) * cols + n]!;
          expected[(z * rows + m) * cols + n] = sum;
        }
    assertClose(asFloats(words), expected, `${slices} slices, ${family}`);
  });
});

describe.each(FAMILIES)("a product times the derivative of GELU, kernels for %s", (_family, of) => {
  it.each(["f32", "f16"] as const)("in %s", async (tier) => {
    const on = inTier(gpu(), tier);
    const profile = of(on.profile);
    const [rows, depth, cols] = [37, 20, 28];
    const random = new Random("derivative");
    const input = element(profile, random.normals(rows * depth));
    const weight = element(profile, random.normals(depth * cols, 0.3));
    const arguments_ = element(profile, random.normals(rows * cols, 2));
    const region = { offset: 0, stride: cols, rows, cols };
    const shape = { rows, depth, cols, epilogue: "gelu_derivative" as const, result: "f32" as const };
    const table = new Float32Array(8 + rows * cols).fill(Number.NaN);
    table.set(arguments_, 8);
    const words = await runOp(on, {
      plan: planLinear(shape, profile),
      parameters: linearParameters(shape, {
        inputStride: depth,
        weightStride: cols,
        outputStride: cols,
        tableOffset: 8,
        bias: false,
      }),
      inputs: [packed(profile, input), packed(profile, weight), new Float32Array(4), packed(profile, table)],
      before: sentinels(region),
      region,
    });
    const expected = Float64Array.from({ length: rows * cols }, (_, at) => {
      let sum = 0;
      for (let k = 0; k < depth; k++) sum += input[Math.floor(at / cols) * depth + k]! * weight[k * cols + (at % cols)]!;
      return sum * geluDerivative(arguments_[at]!);
    });
    assertClose(asFloats(words), expected, "GELU's derivative");
  });
});

it("a table may begin anywhere", async () => {
  const [rows, depth, cols] = [9, 8, 12];
  const random = new Random("table");
  const [input, weight, bias, table] = [rows * depth, depth * cols, cols, 20 + rows * cols].map((count) => random.normals(count));
  const region = { offset: 0, stride: cols, rows, cols };
  const shape = { rows, depth, cols, epilogue: "table" as const, result: "f32" as const };
  const words = await runOp(gpu(), {
    plan: planLinear(shape, gpu().profile),
    parameters: linearParameters(shape, {
      inputStride: depth,
      weightStride: cols,
      outputStride: cols,
      tableOffset: 20,
      period: rows,
    }),
    inputs: [input!, weight!, bias!, table!],
    before: sentinels(region),
    region,
  });
  const expected = Float64Array.from({ length: rows * cols }, (_, at) => {
    let sum = bias![at % cols]! + table![20 + at]!;
    for (let k = 0; k < depth; k++) sum += input![Math.floor(at / cols) * depth + k]! * weight![k * cols + (at % cols)]!;
    return sum;
  });
  assertClose(asFloats(words), expected, "table");
});
