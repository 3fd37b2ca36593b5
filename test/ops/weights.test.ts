import { describe, expect, it } from "vitest";
import { float16BitsToFloat32, float32ToFloat16Bits } from "../../src/hub/half.js";
import {
  adamWParameters,
  finishStepParameters,
  NORM_PARTIALS,
  planAdamW,
  planFinishStep,
  planSumSquares,
  STATE_WORDS,
  stepSettings,
  sumSquaresParameters,
} from "../../src/ops/optimizer.js";
import { narrowParameters, planNarrow } from "../../src/ops/rows.js";
import {
  foldBiasParameters,
  foldMatrixParameters,
  planFoldBias,
  planFoldMatrix,
  planPositionTable,
  planUnfold,
  positionTableParameters,
  unfoldParameters,
} from "../../src/ops/weights.js";
import { assertClose } from "../support/compare.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { Random } from "../support/random.js";
import { runOps } from "../support/run-ops.js";

const gpu = gpuOfThisFile();

/** A flat array of weights: a matrix [rows, cols] at 64, its bias behind it, then gamma and beta, NaN around all of them. */
function flat(rows: number, cols: number, seed: string) {
  const random = new Random(seed);
  const weight = 64;
  const bias = weight + rows * cols + 4;
  const gamma = bias + rows + 8;
  const beta = gamma + cols + 4;
  const values = new Float32Array(beta + cols + 12).fill(Number.NaN);
  values.set(random.normals(rows * cols), weight);
  values.set(random.normals(rows), bias);
  values.set(random.normals(cols, 0.3, 1), gamma);
  values.set(random.normals(cols), beta);
  return { values, place: { weight, bias, norm: { gamma, beta } } };
}

const SIZES = [
  [4, 4],
  [36, 20],
  [64, 32],
  [100, 132],
] as const;

describe.each(FAMILIES)("folding, kernels for %s", (_family, of) => {
  it.each(SIZES)("%d × %d", async (rows, cols) => {
    const { values, place } = flat(rows, cols, "fold");
    const at = (o: number, i: number) => values[place.weight + o * cols + i]!;
    const [column, stride, factor] = [8, rows + 12, 0.125];
    for (const tier of ["f32", "f16"] as const) {
      const on = inTier(gpu(), tier);
      for (const norm of [place.norm, undefined]) {
        const { forward, backward, folded } = await runOps(
          on,
          { values, forward: cols * stride, backward: (column + rows) * cols, folded: rows + 8 },
          [
            [
              planFoldMatrix({ rows, cols }),
              ["values", "forward", "backward"],
              foldMatrixParameters({ rows, cols }, { ...place, norm }, { factor, column, stride }),
            ],
            [
              planFoldBias({ rows, cols }, of(on.profile)),
              ["values", "folded"],
              foldBiasParameters({ rows, cols }, { ...place, norm }, { factor, first: 8 }),
            ],
          ],
        );
        const gamma = (i: number) => (norm ? values[norm.gamma + i]! : 1);
        const numbers = (words: Float32Array, count: number) =>
          tier === "f16" ? float16BitsToFloat32(new Uint16Array(words.buffer, 0, count)) : words;
        const bound = tier === "f16" ? 2 ** -11 : 1e-6;
        const inForward = numbers(forward!, cols * stride);
        const inBackward = numbers(backward!, (column + rows) * cols);
        assertClose(
          Float32Array.from({ length: rows * cols }, (_, k) => inForward[Math.floor(k / rows) * stride + column + (k % rows)]!),
          Float64Array.from(
            { length: rows * cols },
            (_, k) => factor * gamma(Math.floor(k / rows)) * at(k % rows, Math.floor(k / rows)),
          ),
          "forward",
          { bound },
        );
        assertClose(
          inBackward.slice(column * cols),
          Float64Array.from({ length: rows * cols }, (_, k) => gamma(k % cols) * at(Math.floor(k / cols), k % cols)),
          "backward",
          { bound },
        );
        // What stands beside it is left alone.
        expect(Math.max(...inForward.slice(0, column).map(Math.abs), ...inBackward.slice(0, column * cols).map(Math.abs))).toBe(
          0,
        );
        assertClose(
          folded!.slice(8),
          Float64Array.from({ length: rows }, (_, o) => {
            let sum = values[place.bias + o]!;
            if (norm) for (let i = 0; i < cols; i++) sum += at(o, i) * values[norm.beta + i]!;
            return factor * sum;
          }),
          "bias",
        );
      }
    }
  });

  /** L = Σ A[o, i]·V[o, i] + Σ a[o]·c[o]: a loss whose gradients to V and c are A and a, so that unfold must give those of L to the rest. */
  it.each(SIZES)("unfolding %d × %d is its derivative", async (rows, cols) => {
    const { values, place } = flat(rows, cols, "fold");
    const upstream = flat(rows, cols, "unfold").values;
    const { gamma, beta } = place.norm;
    const before = upstream.slice();
    const { gradients } = await runOps(gpu(), { values, gradients: upstream }, [
      [planUnfold({ rows, cols }, of(gpu().profile)), ["values", "gradients"], unfoldParameters({ rows, cols }, place)],
    ]);
    const loss = (w: Float64Array) => {
      let sum = 0;
      for (let o = 0; o < rows; o++) {
        let c = w[place.bias + o]!;
        for (let i = 0; i < cols; i++) {
          sum += before[place.weight + o * cols + i]! * w[gamma + i]! * w[place.weight + o * cols + i]!;
          c += w[place.weight + o * cols + i]! * w[beta + i]!;
        }
        sum += before[place.bias + o]! * c;
      }
      return sum;
    };
    // L is linear in every single number, so central differences are exact but for rounding.
    const point = Float64Array.from(values);
    const derivative = (at: number) => {
      const [up, down] = [point.slice(), point.slice()];
      up[at]! += 0.5;
      down[at]! -= 0.5;
      return loss(up) - loss(down);
    };
    const range = (first: number, count: number, added: boolean) => {
      // At most a few hundred numbers of a matrix, spread over it.
      const indices = Array.from({ length: count }, (_, k) => first + k).filter((_, k) => k % Math.ceil(count / 200) === 0);
      return [indices.map((at) => gradients![at]! - (added ? before[at]! : 0)), indices.map((at) => derivative(at))] as const;
    };
    assertClose(...range(place.weight, rows * cols, false), "weight");
    // What stood there before is added to: a scale belongs to more than one matrix.
    assertClose(...range(gamma, cols, true), "gamma");
    assertClose(...range(beta, cols, true), "beta");
    assertClose(...range(place.bias, rows, false), "bias");
  });
});

it("the position table is CLS or bias, and position", async () => {
  const [tokens, width] = [5, 12];
  const random = new Random("table");
  const values = random.normals(200);
  const offsets = { position: 100, cls: 4, bias: 40 };
  const { table } = await runOps(gpu(), { values, table: tokens * width }, [
    [
      planPositionTable({ tokens, width }, gpu().profile),
      ["values", "table"],
      positionTableParameters({ tokens, width }, offsets),
    ],
  ]);
  for (let at = 0; at < tokens * width; at++)
    expect(table![at]).toBe(Math.fround(values[100 + at]! + values[(at < width ? 4 : 40) + (at % width)]!));
});

describe("a step of the optimiser", () => {
  const settings = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 };
  const random = new Random("adamw");
  const count = 4 * 5003;

  /** `torch.optim.AdamW` behind `clip_grad_norm_`, in float64. */
  function oracle(
    weights: Float64Array,
    moments: [Float64Array, Float64Array],
    gradients: ArrayLike<number>,
    step: number,
    rate: number,
    clip: number,
  ) {
    let squares = 0;
    for (let i = 0; i < count; i++) squares += gradients[i]! ** 2;
    const norm = Math.sqrt(squares);
    const coefficient = Math.min(1, clip / (norm + 1e-6));
    for (let i = 0; i < count; i++) {
      const g = coefficient * gradients[i]!;
      weights[i]! *= 1 - rate * settings.weightDecay;
      moments[0][i] = 0.9 * moments[0][i]! + 0.1 * g;
      moments[1][i] = 0.999 * moments[1][i]! + 0.001 * g * g;
      const denominator = Math.sqrt(moments[1][i]!) / Math.sqrt(1 - 0.999 ** step) + 1e-8;
      weights[i]! -= ((rate / (1 - 0.9 ** step)) * moments[0][i]!) / denominator;
    }
    return norm;
  }

  const steps = (clip: number) =>
    [
      [planSumSquares(), ["gradients", "partials"], sumSquaresParameters(count)],
      [planFinishStep(), ["partials", "losses", "settings", "state"], finishStepParameters(clip)],
      [
        planAdamW(count, gpu().profile),
        ["gradients", "settings", "state", "weights", "first", "second"],
        adamWParameters(count, settings),
      ],
    ] as const;

  it.each([
    ["clips", 1, 1],
    ["leaves small gradients alone", 1e6, 1],
    ["undoes the scaling of losses", 1, 1024],
  ])("%s", async (_, clip, scale) => {
    let buffers: Record<string, Float32Array> = {
      weights: random.normals(count),
      first: new Float32Array(count),
      second: new Float32Array(count),
      state: new Float32Array(STATE_WORDS),
    };
    const weights = Float64Array.from(buffers.weights!);
    const moments: [Float64Array, Float64Array] = [new Float64Array(count), new Float64Array(count)];
    for (let step = 1; step <= 3; step++) {
      const gradients = random.normals(count, 0.1 * step);
      const losses = Float32Array.of(step, 2 * step, 3 * step, 4 * step);
      const rate = 1e-3 / step;
      const norm = oracle(weights, moments, gradients, step, rate, clip);
      buffers = await runOps<string>(
        gpu(),
        {
          ...buffers,
          gradients: gradients.map((g) => g * scale),
          partials: NORM_PARTIALS,
          losses,
          settings: stepSettings(step, rate, settings, scale),
        },
        steps(clip),
      );
      const state = buffers.state!;
      const words = new Uint32Array(state.buffer);
      expect(Math.abs(state[0]! / norm - 1)).toBeLessThan(1e-6);
      expect([words[2], words[3]]).toEqual([0, step]);
      for (let past = 1; past <= step; past++)
        expect([...state.slice(4 * past, 4 * past + 4)]).toEqual([past, 2 * past, 3 * past, 4 * past]);
    }
    assertClose(buffers.weights!, weights, "weights", { bound: 1e-6 });
    assertClose(buffers.first!, moments[0], "first moments", { bound: 2e-6 });
    assertClose(buffers.second!, moments[1], "second moments", { bound: 2e-6 });
  });

  it.each([
    ["a gradient is NaN", Number.NaN, 1],
    ["a gradient is infinite", Number.POSITIVE_INFINITY, 1],
    ["the norm overflows", 3e38, 1],
    ["a loss is NaN", 0.1, Number.NaN],
  ])("leaves everything as it was where %s, and in every later step", async (_, gradient, loss) => {
    const start: Record<string, Float32Array> = {
      weights: random.normals(count),
      first: random.normals(count),
      second: random.normals(count).map(Math.abs),
    };
    let buffers: Record<string, Float32Array> = { ...start, state: new Float32Array(STATE_WORDS) };
    for (const step of [7, 8]) {
      const gradients = random.normals(count);
      if (step === 7) gradients[count - 5] = gradient;
      const losses = Float32Array.of(1, step === 7 ? loss : 1, 1, 1);
      buffers = await runOps<string>(
        gpu(),
        { ...buffers, gradients, partials: NORM_PARTIALS, losses, settings: stepSettings(step, 1e-3, settings) },
        steps(1),
      );
      expect(new Uint32Array(buffers.state!.buffer)[2]).toBe(7);
    }
    for (const name of ["weights", "first", "second"]) expect(buffers[name], name).toEqual(start[name]);
  });
});

it.each(["f32", "f16"] as const)("rows of a gradient become elements of the tier: %s", async (tier) => {
  const on = inTier(gpu(), tier);
  const random = new Random("narrow");
  const input = random.normals(4 * 70);
  const count = 4 * 65;
  const words = tier === "f16" ? count / 2 : count;
  const { output } = await runOps(on, { input, output: words + 4 }, [
    [planNarrow(count, on.profile), ["input", "output"], narrowParameters(count, 8)],
  ]);
  const wanted = input.slice(8, 8 + count);
  const numbers = tier === "f16" ? float16BitsToFloat32(new Uint16Array(output!.buffer, 0, count)) : output!.slice(0, count);
  const rounded = tier === "f16" ? float16BitsToFloat32(float32ToFloat16Bits(wanted)) : wanted;
  expect(numbers).toEqual(rounded);
  // Nothing behind the last one is touched.
  expect([...output!.slice(words)]).toEqual([0, 0, 0, 0]);
});
