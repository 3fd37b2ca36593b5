import { describe, expect, it } from "vitest";
import { adamW, finishStep, NORM_PARTIALS, stateWords, stepSettings, sumSquares } from "../../src/ops/optimizer.js";
import { assertClose } from "../support/compare.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { Contents } from "../support/op.js";
import { Random } from "../support/random.js";
import { runCalls } from "../support/run-op.js";
import { adamWOracle, DECAY } from "./adamw.case.js";
import { ADAMW } from "./finish-step.case.js";

const gpu = gpuOfThisFile();

describe("a whole step of the optimiser", () => {
  const random = new Random("adamw");
  const count = 4 * 5003;

  /** Clips by the norm as `clip_grad_norm_` does, in float64, and steps. @returns the norm */
  function step64(
    weights: Float64Array,
    [first, second]: [Float64Array, Float64Array],
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
      const next = adamWOracle(weights[i]!, first[i]!, second[i]!, coefficient * gradients[i]!, step, rate);
      [weights[i], first[i], second[i]] = [next.weight, next.first, next.second];
    }
    return norm;
  }

  const NAMES = ["gradients", "partials", "losses", "settings", "state", "weights", "first", "second"] as const;
  type Name = (typeof NAMES)[number];
  type Buffers = Record<Name, Float32Array>;

  /** Norm, clipping and update, one after another over these buffers. */
  async function run(buffers: Buffers, clip: number): Promise<Buffers> {
    const contents = new Contents();
    const tokens = Object.fromEntries(NAMES.map((name) => [name, contents.add(() => buffers[name])])) as Record<Name, GPUBuffer>;
    const { gradients, partials } = tokens;
    const decayed = contents.add(() => new Uint32Array(Math.ceil(count / 64 / 32)).fill(0xffffffff));
    const { profile } = gpu();
    const calls = [
      sumSquares(profile, { values: gradients, partials, count }),
      finishStep(profile, { ...tokens, clip, terms: 4 }),
      adamW(profile, { ...tokens, decayed, count, constants: { ...ADAMW, weightDecay: DECAY } }),
    ].map((call) => [call] as const);
    const after = await runCalls(gpu(), contents.tokens, (token) => contents.get(token), calls);
    return Object.fromEntries(NAMES.map((name) => [name, new Float32Array(after.get(tokens[name])!.buffer)])) as Buffers;
  }

  it.each([
    ["clips", 1, 1],
    ["leaves small gradients alone", 1e6, 1],
    ["undoes the scaling of losses", 1, 1024],
  ])("%s", async (_, clip, scale) => {
    let buffers: Omit<Buffers, "gradients" | "partials" | "losses" | "settings"> = {
      weights: random.normals(count),
      first: new Float32Array(count),
      second: new Float32Array(count),
      state: new Float32Array(stateWords(4)),
    };
    const weights = Float64Array.from(buffers.weights);
    const moments: [Float64Array, Float64Array] = [new Float64Array(count), new Float64Array(count)];
    for (let step = 1; step <= 3; step++) {
      const gradients = random.normals(count, 0.1 * step);
      const losses = Float32Array.of(step, 2 * step, 3 * step, 4 * step);
      const rate = 1e-3 / step;
      const norm = step64(weights, moments, gradients, step, rate, clip);
      buffers = await run(
        {
          ...buffers,
          gradients: gradients.map((g) => g * scale),
          partials: new Float32Array(NORM_PARTIALS),
          losses,
          settings: stepSettings(step, rate, ADAMW, scale),
        },
        clip,
      );
      const state = buffers.state;
      const words = new Uint32Array(state.buffer);
      expect(Math.abs(state[0]! / norm - 1)).toBeLessThan(1e-6);
      expect([words[2], words[3]]).toEqual([0, step]);
      for (let past = 1; past <= step; past++)
        expect([...state.slice(4 * past, 4 * past + 4)]).toEqual([past, 2 * past, 3 * past, 4 * past]);
    }
    assertClose(buffers.weights, weights, "weights", { bound: 1e-6 });
    assertClose(buffers.first, moments[0], "first moments", { bound: 2e-6 });
    assertClose(buffers.second, moments[1], "second moments", { bound: 2e-6 });
  });

  it.each([
    ["a gradient is NaN", Number.NaN, 1],
    ["a gradient is infinite", Number.POSITIVE_INFINITY, 1],
    ["the norm overflows", 3e38, 1],
    ["a loss is NaN", 0.1, Number.NaN],
  ])("leaves everything as it was where %s, and in every later step", async (_, gradient, loss) => {
    const start = {
      weights: random.normals(count),
      first: random.normals(count),
      second: random.normals(count).map(Math.abs),
    };
    let buffers: Pick<Buffers, "state" | keyof typeof start> = { ...start, state: new Float32Array(stateWords(4)) };
    for (const step of [7, 8]) {
      const gradients = random.normals(count);
      if (step === 7) gradients[count - 5] = gradient;
      const losses = Float32Array.of(1, step === 7 ? loss : 1, 1, 1);
      const partials = new Float32Array(NORM_PARTIALS);
      buffers = await run({ ...buffers, gradients, partials, losses, settings: stepSettings(step, 1e-3, ADAMW) }, 1);
      expect(new Uint32Array(buffers.state.buffer)[2]).toBe(7);
    }
    for (const name of ["weights", "first", "second"] as const) expect(buffers[name], name).toEqual(start[name]);
  });
});
