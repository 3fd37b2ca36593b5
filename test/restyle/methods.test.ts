import { describe, expect, it } from "vitest";
import { fraction } from "../../src/random.js";
import { METHODS, methodNamed } from "../../src/restyle/methods.js";
import type { Params } from "../../src/restyle/types.js";

const TABLE = { avg_mean: [1, 2, 3], avg_std: [0.1, 0.2, 0.3], std_mean: [4, 5, 6], std_std: [7, 8, 9] };
/** Draws that say which they are. */
const numbered = (index: number) => (index + 1) / 100;

describe("methods", () => {
  it("are eleven, and one that is none is refused with the nearest", () => {
    expect(METHODS.length).toBe(11);
    expect(() => methodNamed("macenko-normalize")).toThrow(/Did you mean macenko-normalise\? There are colorist, reinhard,/);
    expect(() => methodNamed("x")).toThrow(/There is no method "x"\. There are colorist/);
  });

  it.each(METHODS.map((method) => [method.name, method] as const))(
    "%s takes what it settles, and settles it no further",
    (_, method) => {
      const given: Params = method.name === "randstainna" ? { table: TABLE } : {};
      method.check(given);
      const settled = method.settle(given, numbered);
      method.check(settled);
      expect(
        method.settle(settled, () => {
          throw new Error("drawn again");
        }),
      ).toEqual(settled);
      expect(method.parameters.map(({ name }) => name)).toEqual(expect.arrayContaining(Object.keys(settled)));
      expect(() => method.check({ strenght: 1 })).toThrow(/has no parameter strenght/);
    },
  );

  it("draw their numbers from fixed places", () => {
    expect(methodNamed("macenko-augment").settle({}, numbered)).toEqual({
      ...{ scale: [0.8 + 0.4 * 0.01, 0.8 + 0.4 * 0.02].map(near), shift: [-0.2 + 0.4 * 0.03, -0.2 + 0.4 * 0.04].map(near) },
      tissueOnly: false,
    });
    expect(methodNamed("hed-jitter").settle({ theta: 0.1 }, numbered)).toEqual({
      scale: [0.9 + 0.2 * 0.01, 0.9 + 0.2 * 0.02, 0.9 + 0.2 * 0.03].map(near),
      shift: [-0.1 + 0.2 * 0.04, -0.1 + 0.2 * 0.05, -0.1 + 0.2 * 0.06].map(near),
    });
    expect(methodNamed("hed-jitter").settle({ scale: [1, 1, 1] }, numbered).scale).toEqual([1, 1, 1]);
    expect(methodNamed("he-stain").settle({}, () => 0.5)).toMatchObject({
      preset: "h_heavy",
      scale: [1, 1].map(near),
      shift: [0, 0].map(near),
    });
    expect(
      methodNamed("he-stain").settle(
        {
          stains: [
            [1, 0, 0],
            [0, 1, 0],
          ],
        },
        numbered,
      ),
    ).not.toHaveProperty("preset");
  });

  it("draw RandStainNA's template by its distribution", () => {
    const settle = (params: Params) => methodNamed("randstainna").settle({ table: TABLE, ...params }, numbered);
    const [u, v] = [numbered(2), numbered(3)];
    const normal = settle({ stdHyper: -0.3 });
    const z = (normal.zMean as number[])[1]!;
    expect(z).toBeCloseTo(Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * v), 12);
    expect((normal.targetMean as number[])[1]).toBeCloseTo(2 + 0.2 * 0.7 * z, 12);
    const laplace = settle({ distribution: "laplace" });
    expect((laplace.zMean as number[])[1]).toBeCloseTo(Math.log(2 * u), 12);
    const uniform = settle({ distribution: "uniform", stdHyper: 5 });
    expect((uniform.zMean as number[])[1]).toBeCloseTo(2 * u - 1, 12);
    expect((uniform.targetMean as number[])[1]).toBeCloseTo(2 + 0.2 * 3 * (2 * u - 1), 12);
    // Deviations of the template stay above 0, where the published ones turn an image into its negative.
    expect(settle({ zDeviation: [-9, -9, -9] }).targetDeviation).toEqual([1e-4, 1e-4, 1e-4]);
  });

  it("of standard draws have the moments of their distributions", () => {
    for (const [distribution, variance] of [
      ["normal", 1],
      ["laplace", 2],
      ["uniform", 1 / 3],
    ] as const) {
      const all = Array.from({ length: 4000 }, (_, seed) => {
        const settled = methodNamed("randstainna").settle({ distribution }, (index) => fraction(3, seed, index));
        return [...(settled.zMean as number[]), ...(settled.zDeviation as number[])];
      }).flat();
      const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
      expect(Math.abs(mean)).toBeLessThan(4 * Math.sqrt(variance / all.length));
      expect(all.reduce((sum, value) => sum + (value - mean) ** 2, 0) / all.length / variance).toBeCloseTo(1, 1);
    }
  });

  it("need a style, or the numbers that stand for it", () => {
    const needs = (name: string, params: Params = {}) => methodNamed(name).needsStyle(params);
    const both = { targetMean: [1, 2, 3], targetDeviation: [1, 2, 3] };
    expect(METHODS.filter(({ needsStyle }) => needsStyle({})).map(({ name }) => name)).toEqual([
      ...["colorist", "reinhard", "reinhard-modified", "randstainna", "fda", "histogram-match", "stylizing-vit"],
    ]);
    for (const name of ["colorist", "reinhard", "reinhard-modified", "randstainna"]) {
      expect(needs(name, both)).toBe(false);
      expect(needs(name, { targetMean: [1, 2, 3] })).toBe(true);
    }
    expect(needs("randstainna", { table: TABLE })).toBe(false);
    expect(needs("fda", { beta: 0.1 })).toBe(true);
  });

  it.each<[string, Params, RegExp]>([
    ["reinhard", { space: "hsv" }, /space is "hsv", and takes lab or opponent/],
    ["reinhard", { tissueOnly: 1 }, /tissueOnly is 1, and takes true or false/],
    ["reinhard", { targetMean: [1, 2] }, /targetMean is \[1,2\], and takes 3 numbers/],
    ["reinhard", { targetDeviation: [1, -2, 3] }, /targetDeviation/],
    ["hed-jitter", { shift: [0, Number.NaN, 0] }, /shift/],
    ["hed-jitter", { theta: 2 }, /theta is 2/],
    ["he-stain", { preset: "bright" }, /preset is "bright", and takes ruifrok, macenko,/],
    [
      "he-stain",
      {
        stains: [
          [1, 2, 3],
          [2, 4, 6],
        ],
      },
      /stains/,
    ],
    ["macenko-normalise", { targetMost: [1, 0] }, /targetMost is \[1,0\]/],
    ["macenko-normalise", { targetStains: [[1, 2, 3]] }, /targetStains/],
    ["macenko-normalise", { targetStain: [[1, 2, 3]] }, /Did you mean targetStains\?/],
    ["randstainna", { table: { avg_mean: [1, 2, 3] } }, /table is .*, and takes avg_mean, avg_std, std_mean, std_std/],
    ["randstainna", { table: { ...TABLE, std: [1, 2, 3] } }, /table/],
    ["randstainna", { stdHyper: -1 }, /stdHyper is -1/],
    ["fda", { beta: 0.6 }, /beta is 0\.6/],
    ["histogram-match", { blend: -0.1 }, /blend is -0\.1/],
    ["stylizing-vit", { scale: "half" }, /scale is "half"/],
  ])("%s refuses %j", (name, params, problem) => {
    expect(() => methodNamed(name).check(params)).toThrow(problem);
  });
});

/** A number but for rounding. */
function near(value: number): number {
  return expect.closeTo(value, 12) as number;
}
