import { describe, expect, it } from "vitest";
import { difference } from "../support/compare.js";
import { Random } from "../support/random.js";
import * as oracle from "./feature-oracles.js";
import { convolution, patchProduct } from "./oracles.js";

/** Central differences of `value` at every number of `at`. */
function slopes(at: Float64Array, value: (x: Float64Array) => number, step: number): Float64Array {
  return at.map((x, index) => {
    const moved = (by: number) => value(at.map((other, i) => (i === index ? x + by : other)));
    return (moved(step) - moved(-step)) / (2 * step);
  });
}

/** Error of a central difference: rounding of the value over the step, and the step squared. */
function expectGradient(gradient: Float64Array, numeric: Float64Array, bound = 1e-6): void {
  const { error, scale } = difference(gradient, numeric);
  expect(scale).toBeGreaterThan(0);
  expect(error / scale).toBeLessThan(bound);
}

const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
const dot = (a: Float64Array, b: ArrayLike<number>) => a.reduce((total, x, at) => total + x * b[at]!, 0);
const normals = (seed: string, count: number, scale = 1, mean = 0) =>
  Float64Array.from(new Random(seed).normals(count, scale, mean));

const shape: oracle.Maps = { images: 2, side: 5, channels: 3 };
const count = shape.images * shape.side ** 2 * shape.channels;
const counts = [2, 1];

/** Maps whose last channel hardly varies: its deviation is the clamp's. */
function maps(seed: string): Float64Array {
  return normals(seed, count, 1, 0.5).map((x, at) => (at % 3 === 2 ? 0.3 + 1e-3 * x : x));
}

function targets(): oracle.Targets {
  const g = maps("targets");
  return { g, statistics: oracle.statistics(shape, g), styles: [1, 0] };
}

const weights = { anatomical: 7, style: 10 };
const total = (f: Float64Array): number => {
  const { anatomical, style } = oracle.stylized(shape, 3, f, targets());
  return weights.anatomical * sum(anatomical) + weights.style * sum(style);
};

describe("gradients of the oracles are the slopes of their losses", () => {
  it("consistency", () => {
    const [f, g] = [maps("f"), maps("g")];
    const gradient = oracle.consistencyGradient(shape, 3, f, g, counts);
    expectGradient(
      gradient,
      slopes(f, (x) => sum(oracle.consistency(shape, 3, x, g, counts)), 1e-4),
    );
  });

  it("anatomical and style, also where the deviation is clamped", () => {
    const f = maps("f");
    const gradient = oracle.stylizedGradient(shape, 3, f, targets(), weights);
    const numeric = slopes(f, total, 1e-6);
    // By channel, so that the steep one does not hide the others.
    for (let c = 0; c < 3; c++) {
      const of = (values: Float64Array) => values.filter((_, at) => at % 3 === c);
      expectGradient(of(gradient), of(numeric), 1e-5);
    }
    const variance = (c: number) => oracle.statistics(shape, f)[3 + c]! ** 2;
    expect(variance(2)).toBeCloseTo(oracle.EPSILON, 12);
    expect(variance(0)).toBeGreaterThan(0.1);
  });

  it("maps of one pixel", () => {
    const one = { images: 2, side: 1, channels: 3 };
    const [f, g] = [normals("f", 6), normals("g", 6)];
    const held = { g, statistics: oracle.statistics(one, g), styles: [1, 0] };
    const gradient = oracle.stylizedGradient(one, 2, f, held, weights);
    const value = (x: Float64Array) => {
      const { anatomical, style } = oracle.stylized(one, 2, x, held);
      return weights.anatomical * sum(anatomical) + weights.style * sum(style);
    };
    expectGradient(gradient, slopes(f, value, 1e-5));
  });

  it("ReLU, tap and pooling together", () => {
    const before = normals("before the ReLU", count, 1, 0.2);
    const next = normals("next", shape.images * 4 * shape.channels);
    const relu = (x: Float64Array) => x.map((value) => Math.max(0, value));
    const value = (x: Float64Array) => total(relu(x)) + dot(oracle.maxPool(shape, relu(x)), next);
    const f = relu(before);
    const tap = oracle.stylizedGradient(shape, 3, f, targets(), weights);
    const gradient = oracle.featureBackward(shape, f, tap, true, next);
    expectGradient(gradient, slopes(before, value, 1e-6), 1e-5);
    // An odd last row and column are in no window.
    expect(gradient.some((d, at) => d !== 0 && Math.floor(at / 3) % 5 === 4)).toBe(true);
  });

  it("the tap alone, of maps that are not masked", () => {
    const f = maps("f");
    const tap = oracle.stylizedGradient(shape, 3, f, targets(), weights);
    expect(oracle.featureBackward(shape, f, tap, false)).toEqual(tap);
  });

  it("the first of equal maxima takes the gradient", () => {
    const window = { images: 1, side: 2, channels: 1 };
    const gradient = (f: number[]) => [...oracle.featureBackward(window, f, [0, 0, 0, 0], true, [3])];
    expect(gradient([1, 1, 1, 1])).toEqual([3, 0, 0, 0]);
    expect(gradient([0, 2, 2, 1])).toEqual([0, 3, 0, 0]);
    expect(gradient([0, 0, 2, 2])).toEqual([0, 0, 3, 0]);
    expect(gradient([0, 0, 0, 0])).toEqual([0, 0, 0, 0]);
  });

  it.each([1, 3, 5])("convolution, kernels of %d", (kernelSize) => {
    const of = { images: 2, side: 4, channels: 2, kernelSize };
    const [input, weight] = [normals("input", 2 * 2 * 16), normals("weight", 4 * kernelSize ** 2)];
    const d = normals("d", input.length);
    const value = (x: Float64Array, w: Float64Array) => dot(convolution({ ...of, imageSize: 4 }, x, w), d);
    expectGradient(
      oracle.convolutionInputGradient(of, d, weight),
      slopes(input, (x) => value(x, weight), 1e-3),
    );
    expectGradient(
      oracle.convolutionWeightGradient(of, d, input),
      slopes(weight, (w) => value(input, w), 1e-3),
    );
  });

  it("the patch product, CLS included", () => {
    const of = { images: 2, side: 6, channels: 2, patchSize: 3, rank: 2 };
    const tokens = normals("tokens", 2 * 5 * 2 * 2 * 3 * 2);
    const d = normals("d", 2 * 2 * 36);
    const gradient = oracle.patchProductGradient(of, d, tokens);
    expectGradient(
      gradient,
      slopes(tokens, (x) => dot(patchProduct({ ...of, imageSize: 6 }, x), d), 1e-3),
    );
    expect([...gradient.subarray(0, 24)]).toEqual(new Array(24).fill(0));
  });
});
