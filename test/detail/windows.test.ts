import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { guidedRadius } from "../../src/detail/guided.js";
import { blendWeights, windowOrigins, windowWeights } from "../../src/detail/windows.js";
import { goldenFolder } from "../support/fixtures.js";

const golden = goldenFolder("guided");

it.skipIf(!golden)(`origins, weights and radii are numpy's${golden ? "" : ": no golden case beside the checkout"}`, () => {
  const { origins, window, radius } = JSON.parse(readFileSync(join(golden!, "cases.json"), "utf8")) as {
    origins: { length: number; size: number; overlap: number; origins: number[] }[];
    window: { length: number; overlap: number; first: number[] };
    radius: { patch: number; radius: number }[];
  };
  expect(origins.length + window.first.length + radius.length).toBeGreaterThan(30);
  for (const { length, size, overlap, origins: expected } of origins)
    expect(windowOrigins(length, size, overlap)).toEqual(expected);
  const weights = windowWeights(window.length, window.overlap);
  for (const [at, expected] of window.first.entries()) expect(weights[at]).toBeCloseTo(expected, 10);
  for (const { patch, radius: expected } of radius) expect(guidedRadius(patch)).toBe(expected);
});

describe("windows", () => {
  it.each([
    [1, 16],
    [15, 16],
    [16, 16],
    [17, 16],
    [64, 16],
    [1000, 96],
    [12_345, 224],
  ])("of %i pixels, %i each, cover everything, overlap by a quarter, and their weights add up to 1", (length, size) => {
    const overlap = size / 4;
    const windows = blendWeights(length, size, overlap);
    const sums = new Float64Array(Math.max(length, size));
    for (const { origin, weights } of windows) for (const [at, weight] of weights.entries()) sums[origin + at]! += weight;
    expect(Math.max(...sums.map((sum) => Math.abs(sum - 1)))).toBeLessThan(1e-6);
    const origins = windows.map(({ origin }) => origin);
    expect(origins[0]).toBe(0);
    expect(origins.at(-1)).toBe(Math.max(0, length - size));
    for (const [at, origin] of origins.slice(1).entries()) {
      expect(origin).toBeGreaterThan(origins[at]!);
      expect(origins[at]! + size - origin).toBeGreaterThanOrEqual(overlap);
    }
  });
});
