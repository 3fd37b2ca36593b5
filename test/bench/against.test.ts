import { describe, expect, it } from "vitest";
import { difference, isDecided, judge } from "../../bench/against.js";
import { type Options, parseOptions, UsageError } from "../../bench/options.js";
import { medianInterval } from "../../bench/statistics.js";

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

describe("the interval of a median", () => {
  it("is that of the tables of the sign test", () => {
    // Conover, Practical Nonparametric Statistics: the k-th from either end.
    const table = { 6: 1, 8: 1, 9: 2, 12: 3, 15: 4, 20: 6, 25: 8, 48: 17 };
    for (const [n, k] of Object.entries(table)) expect(medianInterval(upTo(+n), 0.95), n).toEqual([k, +n + 1 - k]);
    expect(medianInterval(upTo(8), 0.99)).toEqual([1, 8]);
    expect(medianInterval(upTo(12), 0.99)).toEqual([2, 11]);
  });

  it("is none of too few samples", () => {
    for (const n of [0, 1, 2, 5]) expect(medianInterval(upTo(n), 0.95)).toBeUndefined();
    expect(medianInterval(upTo(7), 0.99)).toBeUndefined();
  });

  it("sorts, and one outlier does not move it far", () => {
    expect(medianInterval([5, 1, 4, 2, 1e9, 3, 7, 6, 9, 8, 11, 10], 0.95)).toEqual([3, 10]);
  });

  it("holds the true median in 95 of 100 draws or more, of a skewed distribution too", () => {
    let state = 7;
    const random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state >>> 8) / 2 ** 24;
    };
    let held = 0;
    for (let draw = 0; draw < 2000; draw++) {
      const [low, high] = medianInterval(
        Array.from({ length: 12 }, () => -Math.log(1 - random())),
        0.95,
      )!;
      if (low <= Math.LN2 && Math.LN2 <= high) held++;
    }
    // Exactly 96.1 % of draws, for twelve samples.
    expect(held / 2000).toBeGreaterThan(0.95);
    expect(held / 2000).toBeLessThan(0.975);
  });
});

describe("the verdict", () => {
  const rounds = (...ratios: number[]) =>
    ratios.map((ratio, i) => ({ commit: ratio * (10 + i), here: 10 + i, first: "commit" as const }));
  const around = (ratio: number, spread: number) => rounds(...upTo(12).map((i) => ratio + spread * (i - 6.5)));

  it("is of the median of the rounds' ratios, whatever they took", () => {
    expect(judge(rounds(1, 2, 3), undefined)).toMatchObject({ ratio: 2, interval: null, verdict: "too few rounds to tell" });
    expect(judge(around(1.1, 0.001), undefined).verdict).toBe("here is faster");
    expect(judge(around(0.9, 0.001), undefined).verdict).toBe("here is slower");
    expect(judge(around(1.01, 0.01), undefined).verdict).toBe("no difference shown");
  });

  it("holds the ratio against the bound and says where that is a guess", () => {
    expect(judge(around(0.9, 0.001), 0.98)).toMatchObject({ failed: true, verdict: "FAILED: below 0.98" });
    expect(judge(around(1, 0.001), 0.98)).toMatchObject({ failed: false, verdict: "not below 0.98" });
    expect(judge(around(0.97, 0.02), 0.98)).toMatchObject({
      failed: true,
      verdict: "FAILED: below 0.98, but too wide to tell",
    });
    expect(judge(around(0.99, 0.02), 0.98)).toMatchObject({ failed: false, verdict: "not below 0.98, but too wide to tell" });
    expect(judge(rounds(1, 1), 2)).toMatchObject({ failed: true, verdict: "FAILED: below 2, but too few rounds to tell" });
  });

  it("is final where the interval lies on one side, or is narrow", () => {
    const ratios = (ratio: number, spread: number) => upTo(12).map((i) => ratio + spread * (i - 6.5));
    expect(isDecided(ratios(1, 0.001), undefined)).toBe(true);
    expect(isDecided(ratios(1, 0.01), undefined)).toBe(false);
    expect(isDecided(ratios(1.1, 0.01), undefined)).toBe(true);
    expect(isDecided(ratios(1, 0.01), 0.98)).toBe(false);
    expect(isDecided(ratios(1.05, 0.01), 0.98)).toBe(true);
    expect(isDecided(ratios(0.9, 0.01), 0.98)).toBe(true);
    expect(isDecided([1, 1, 1], 0.98)).toBe(false);
  });
});

it("a difference of images is in levels and in how many values have one", () => {
  expect(difference(Uint8Array.of(1, 2, 3, 4), Uint8Array.of(1, 2, 5, 3))).toEqual({ levels: 2, share: 0.5 });
  expect(difference(Uint8Array.of(1), Uint8Array.of(1, 2)).levels).toBe(255);
});

describe("--against", () => {
  const parse = (...args: string[]) => parseOptions(["--against", "HEAD~2", ...args]) as Options;

  it("takes models with or without a batch", () => {
    const cases = (...args: string[]) => parse(...args).against!.cases.map(({ model, batch }) => `${model}:${batch}`);
    expect(cases()).toEqual(["demo:4", "tiny:1"]);
    expect(cases("--batch", "2")).toEqual(["demo:2", "tiny:2"]);
    expect(cases("--model", "base:64,demo")).toEqual(["base:64", "demo:4"]);
    expect(cases("--model", "demo:3,tiny", "--batch", "1,8")).toEqual(["demo:3", "tiny:1", "tiny:8"]);
    expect(cases("--model")).toEqual(["demo:4", "tiny:1"]);
  });

  it("takes a bound and rounds, and is not there where it is not asked for", () => {
    expect(parse("--fail-below", ".98", "--rounds", "5").against).toMatchObject({
      commit: "HEAD~2",
      failBelow: 0.98,
      rounds: 5,
    });
    expect(parse().against).toMatchObject({ failBelow: undefined, rounds: undefined });
    expect((parseOptions(["--model", "demo"]) as Options).against).toBeUndefined();
  });

  it.each([
    [["--against"], /against/],
    [["--fail-below", ".98"], /belongs to --against/],
    [["--rounds", "4"], /belongs to --against/],
    [["--against", "HEAD", "--fail-below", "much"], /give a ratio/],
    [["--against", "HEAD", "--fail-below", "0"], /give a ratio/],
    [["--against", "HEAD", "--rounds", "0"], /positive whole number/],
    [["--against", "HEAD", "--model", "demo:0"], /NAME:BATCH/],
    [["--against", "HEAD", "--model", "demo:1:2"], /NAME:BATCH/],
    [["--against", "HEAD", "--model", "huge:1"], /choose from/],
    [["--against", "HEAD", "--op", "linear"], /measures nothing else/],
    [["--against", "HEAD", "--cold"], /measures nothing else/],
    [["--against", "HEAD", "--svg", "a.svg"], /measures nothing else/],
  ])("%j is wrong usage", (args, message) => {
    expect(() => parseOptions(args)).toThrow(UsageError);
    expect(() => parseOptions(args)).toThrow(message);
  });
});
