import { describe, expect, it } from "vitest";
import { Random } from "../support/random.js";
import { attendBackward, geluDerivative, layerNormBackward } from "./backward-oracles.js";
import { attend, gelu, layerNorm } from "./oracles.js";

// The oracles of the backward ops against finite differences of the forward ones, all in float64: a gradient that is wrong here
// would only be found together with a kernel that is wrong in the same way.

/** Central difference of `f` around 0: the error is of order step², here near 1e-10 beside rounding of 1e-16 / step. */
const slope = (f: (step: number) => number, step = 1e-5): number => (f(step) - f(-step)) / (2 * step);

describe("GELU's derivative", () => {
  it("is the slope of GELU", () => {
    for (let x = -8; x <= 8; x += 0.173) {
      expect(Math.abs(geluDerivative(x) - slope((step) => gelu(x + step)))).toBeLessThan(1e-9);
    }
  });
});

/** The largest difference between `gradient` and slopes of `loss` along every number of `at`, relative to the largest slope. */
function gradientError(at: Float64Array, gradient: ArrayLike<number>, loss: () => number): number {
  let error = 0;
  let largest = 0;
  for (let i = 0; i < at.length; i++) {
    const value = at[i]!;
    const expected = slope((step) => {
      at[i] = value + step;
      const result = loss();
      at[i] = value;
      return result;
    });
    error = Math.max(error, Math.abs(gradient[i]! - expected));
    largest = Math.max(largest, Math.abs(expected));
  }
  return error / largest;
}

const normals = (random: Random, count: number, scale = 1): Float64Array => Float64Array.from(random.normals(count, scale));
const dot = (a: ArrayLike<number>, b: Float64Array): number => b.reduce((sum, value, at) => sum + value * a[at]!, 0);

describe("the gradient of layer norm", () => {
  it.each([
    [1, 2, 1],
    [2, 7, 1],
    [3, 12, 5],
    [2, 5, 0.01],
  ])("%i rows of %i with a deviation of %d", (rows, width, deviation) => {
    const random = new Random(`${rows} ${width}`);
    const x = normals(random, rows * width, deviation);
    const d = normals(random, rows * width);
    const gradient = layerNormBackward(rows, width, x, d);
    expect(gradientError(x, gradient, () => dot(d, layerNorm(rows, width, x)))).toBeLessThan(1e-5);
  });
});

describe("the gradients of attention", () => {
  it.each([
    [1, 4],
    [5, 3],
    [7, 8],
  ])("%i tokens, heads of %i", (tokens, size) => {
    const random = new Random(`${tokens} ${size}`);
    const [q, k, v, d] = [0, 1, 2, 3].map(() => normals(random, tokens * size)) as [
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    const loss = () => dot(d, attend(tokens, size, q, k, v));
    const { query, key, value, product } = attendBackward(tokens, size, q, k, v, attend(tokens, size, q, k, v), d);
    expect(gradientError(v, value, loss)).toBeLessThan(1e-7);
    if (tokens === 1) {
      // A single key takes all weight: nothing depends on the scores.
      for (const x of [...query, ...key]) expect(Math.abs(x)).toBeLessThan(1e-14);
      expect(product[0]).toBeCloseTo(dot(d, v), 12);
    } else {
      expect(gradientError(q, query, loss)).toBeLessThan(1e-7);
      expect(gradientError(k, key, loss)).toBeLessThan(1e-7);
    }
  });

  it("of keys and values that two sequences read are sums", () => {
    const [tokens, size] = [6, 4];
    const random = new Random("two readers");
    const [q1, q2, k, v, d1, d2] = [0, 1, 2, 3, 4, 5].map(() => normals(random, tokens * size)) as Float64Array[];
    const loss = () => dot(d1!, attend(tokens, size, q1!, k!, v!)) + dot(d2!, attend(tokens, size, q2!, k!, v!));
    const first = attendBackward(tokens, size, q1!, k!, v!, attend(tokens, size, q1!, k!, v!), d1!);
    const second = attendBackward(tokens, size, q2!, k!, v!, attend(tokens, size, q2!, k!, v!), d2!);
    expect(
      gradientError(
        k!,
        first.key.map((x, at) => x + second.key[at]!),
        loss,
      ),
    ).toBeLessThan(1e-7);
    expect(
      gradientError(
        v!,
        first.value.map((x, at) => x + second.value[at]!),
        loss,
      ),
    ).toBeLessThan(1e-7);
  });
});
