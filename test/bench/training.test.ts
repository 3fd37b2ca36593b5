import { describe, expect, it } from "vitest";
import { lossError, normError } from "../../bench/training-check.js";

describe("errors", () => {
  it("of gradients are relative norms, infinite where something is not a number or missing", () => {
    expect(normError([3, 4.5], [3, 4])).toBeCloseTo(0.1, 12);
    expect(normError([Number.NaN, 4], [3, 4])).toBe(Number.POSITIVE_INFINITY);
    expect(normError([3], [3, 4])).toBe(Number.POSITIVE_INFINITY);
    expect(normError([3, 4, 5], [3, 4])).toBe(Number.POSITIVE_INFINITY);
  });

  it("of losses are the largest of the four", () => {
    const losses = { identity: 1, consistency: 2, anatomical: 4, style: 8 };
    expect(lossError({ ...losses, style: 10, identity: 1.1 }, losses)).toBeCloseTo(0.25, 12);
    expect(lossError({ ...losses, anatomical: Number.NaN }, losses)).toBe(Number.POSITIVE_INFINITY);
  });
});
