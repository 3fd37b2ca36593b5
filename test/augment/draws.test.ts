import { describe, expect, it } from "vitest";
import { decide, drawsOf, parseMethods } from "../../src/augment/draws.js";
import type { Draw, Method, Params } from "../../src/restyle/types.js";

const method = (name: string): Method => ({
  ...{ name, summary: "", source: "", parameters: [], needsStyle: () => true, takesStyle: () => true, check: () => {} },
  settle: (params: Params, draw: Draw) => ({ gain: draw(0), ...params }),
});
const methods = [
  { method: method("one"), weight: 3, params: {} },
  { method: method("other"), weight: 1, params: { gain: 2 } },
];
const chances = { seed: 7, methods, p: 0.8, strength: [0.25, 0.75], styleCrop: true } as const;
const keys = Array.from({ length: 4000 }, (_, index) => `class/tile ${index}`);

describe("what becomes of a sample", () => {
  it("is a pure function of seed, epoch and key", () => {
    const shown = (seed: number, epoch: number) =>
      JSON.stringify(keys.slice(0, 50).map((key) => decide({ ...chances, seed }, key, epoch)));
    expect(shown(7, 1)).toBe(shown(7, 1));
    expect(shown(8, 1)).not.toBe(shown(7, 1));
    expect(shown(7, 2)).not.toBe(shown(7, 1));
    // In whatever order they are asked for.
    const backwards = [...keys].reverse().map((key) => decide(chances, key, 1)?.strength);
    expect(backwards.reverse()).toEqual(keys.map((key) => decide(chances, key, 1)?.strength));
  });

  it("is as likely as was asked for", () => {
    const all = keys.map((key) => decide(chances, key, 1));
    const restyled = all.filter((one) => one !== undefined);
    expect(Math.abs(restyled.length / keys.length - 0.8)).toBeLessThan(0.02);
    const ones = restyled.filter(({ method: { name } }) => name === "one");
    expect(Math.abs(ones.length / restyled.length - 0.75)).toBeLessThan(0.02);
    const strengths = restyled.map(({ strength }) => strength);
    expect(Math.min(...strengths)).toBeGreaterThanOrEqual(0.25);
    expect(Math.max(...strengths)).toBeLessThan(0.75);
    expect(Math.abs(strengths.reduce((a, b) => a + b) / strengths.length - 0.5)).toBeLessThan(0.01);
    // What one operation draws says nothing of what another does.
    const mean = (list: readonly number[]) => list.reduce((a, b) => a + b, 0) / list.length;
    const [high, low] = [true, false].map((above) =>
      mean(ones.filter(({ strength }) => strength > 0.5 === above).map(({ params }) => params.gain as number)),
    );
    expect(Math.abs(high! - low!)).toBeLessThan(0.04);
  });

  it("takes what is given as it is", () => {
    const others = keys.map((key) => decide(chances, key, 1)).filter((one) => one?.method.name === "other");
    expect(new Set(others.map((one) => one!.params.gain))).toEqual(new Set([2]));
  });

  it("never restyles with p 0, and always with p 1", () => {
    expect(keys.some((key) => decide({ ...chances, p: 0 }, key, 1))).toBe(false);
    expect(keys.every((key) => decide({ ...chances, p: 1 }, key, 1))).toBe(true);
  });

  it("crops a square of the style that lies in it", () => {
    const style = { data: new Uint8Array(3 * 40 * 25), width: 40, height: 25, channels: 3 } as const;
    const places = keys.flatMap((key) => decide(chances, key, 1)?.crop?.(style) ?? []);
    for (const { left, top, width, height } of places) {
      expect(width).toBe(height);
      expect(width).toBeGreaterThanOrEqual(13);
      expect(Math.min(left, top)).toBeGreaterThanOrEqual(0);
      expect(left + width).toBeLessThanOrEqual(40);
      expect(top + height).toBeLessThanOrEqual(25);
    }
    expect(places.some(({ left, width }) => left + width === 40)).toBe(true);
  });

  it("draws the numbers that docs/augment.md has", () => {
    // Computed by the Python there.
    expect(drawsOf(7, 1, "class/tile 0", "apply")(0)).toBe(0.8470781261567026);
  });
});

describe("methods by name and weight", () => {
  const named = (name: string) => {
    if (["one", "other"].includes(name)) return method(name);
    throw new Error(`no ${name}`);
  };
  it("reads them, and numbers for one or by name", () => {
    const weights = (text: string, params = {}) =>
      parseMethods(text, params, named).map(({ method: { name }, weight, params: own }) => [name, weight, own]);
    expect(weights("one")).toEqual([["one", 1, {}]]);
    expect(weights("one", { gain: 1 })).toEqual([["one", 1, { gain: 1 }]]);
    expect(weights("one", { one: { gain: 1 } })).toEqual([["one", 1, { gain: 1 }]]);
    expect(weights("one:2, other:.5", { other: { gain: 1 } })).toEqual([
      ["one", 2, {}],
      ["other", 0.5, { gain: 1 }],
    ]);
  });
  it.each(["one:0", "one:x", "one:1:2", "one:", "one,one", "two"])("refuses %s", (text) => {
    expect(() => parseMethods(text, {}, named)).toThrow();
  });
  it("refuses numbers of a method that is not among several", () => {
    expect(() => parseMethods("one,other", { gain: 1 } as never, named)).toThrow(/none of one, other/);
  });
});
