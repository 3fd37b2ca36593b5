import { describe, expect, it } from "vitest";
import { drawFigure } from "../../bench/figure.js";
import { climb, type LadderRow } from "../../bench/ladder/bench.js";
import { ATTENTION_STEPS, LINEAR_STEPS, type LinearSize, type Step } from "../../bench/ladder/ladder.js";
import { attentionProblem, linearProblem, planOf, resultOf } from "../../bench/ladder/problem.js";
import { type Options, parseOptions } from "../../bench/options.js";
import { Report } from "../../bench/report.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { ATTENTION_SIZES, compare, LINEAR_SIZES, root } from "./ladder.js";

const gpu = gpuOfThisFile();

describe("every step gives the right numbers", () => {
  // Those of whole tiles and of one past them are in ladder.slow.test.ts.
  it.each(LINEAR_SIZES.slice(0, 2))("linear, $rows × $depth × $cols", async (size) => {
    await compare(LINEAR_STEPS, linearProblem(gpu(), root, size));
  });

  it.each(ATTENTION_SIZES.slice(0, 1))("attention, $sequences × $tokens × $heads", async (size) => {
    await compare(ATTENTION_STEPS, attentionProblem(gpu(), root, size));
  });

  it("every step was among them", () => {
    for (const step of LINEAR_STEPS) expect(LINEAR_SIZES.filter((size) => !step.refuses(size)).length).toBeGreaterThan(1);
    for (const step of ATTENTION_STEPS) expect(ATTENTION_SIZES.every((size) => !step.refuses(size))).toBe(true);
  });

  it("linear takes a shape of odd numbers where loads are narrow, and says what it takes where they are not", async () => {
    const size = { rows: 3, depth: 5, cols: 7 };
    const problem = linearProblem(gpu(), root, { ...size, depth: 8, cols: 8 });
    problem.dispose();
    expect(LINEAR_STEPS.filter((step) => !step.refuses(size)).map(({ name }) => name)).toEqual(["01 naive"]);
    expect(LINEAR_STEPS[1]!.refuses(size)).toMatch(/multiple of 4/);
    expect(LINEAR_STEPS.at(-2)!.refuses({ rows: 3, depth: 24, cols: 8 })).toMatch(/multiple of 16/);
  });
});

describe("the check", () => {
  const size = { rows: 20, depth: 16, cols: 16 };

  it("gives a wrong step no time, times the others and says why a step is left out", async () => {
    const problem = linearProblem(gpu(), root, size);
    let printed = "";
    const report = new Report((text) => {
      printed += text;
    });
    const [naive, vectors] = LINEAR_STEPS;
    const lazy: Step<LinearSize> = { ...naive!, name: "lazy", workgroups: () => [1, 1, 1] };
    const withUnits: Step<LinearSize> = { ...naive!, name: "with units", needs: ["matrix"] };
    try {
      // 64 places of 320, the last of them always, and 64 results are never written.
      const effort = { budget: 1, fewest: 1, most: 1 };
      await climb("linear", [naive!, lazy, withUnits, vectors!], problem, gpu(), 1, effort, report);
    } finally {
      problem.dispose();
    }
    const rows = report.document.ladder as LadderRow[];
    expect(rows.map(({ milliseconds }) => milliseconds !== undefined)).toEqual([true, false, false, true]);
    expect(report.failures).toEqual([expect.stringMatching(/^linear lazy: off by/)]);
    expect(rows[2]!.skipped).toBe("no matrix units");
    expect(rows[0]!.timesFirst).toBe(1);
    expect(rows[3]!.timesBefore).toBe(rows[3]!.timesFirst);
    expect(printed).toMatch(/with units +not run: no matrix units/);
    const figure = drawFigure(report.document);
    for (const text of ["01 naive", "failed", "not run: no matrix units", "02 vectors"]) expect(figure).toContain(text);
  });

  it("finds a step that leaves part of its result unwritten", async () => {
    const problem = linearProblem(gpu(), root, size);
    try {
      const lazy: Step<LinearSize> = { ...LINEAR_STEPS[0]!, workgroups: () => [1, 1, 1] };
      const result = await resultOf(problem, lazy, await problem.bind(lazy));
      expect(result[0]).toBeCloseTo(problem.expected(0), 5);
      expect(result.subarray(16 * 16).every(Number.isNaN)).toBe(true);
    } finally {
      problem.dispose();
    }
  });

  it("finds a step that writes behind its result", async () => {
    const problem = linearProblem(gpu(), root, size);
    try {
      const step = LINEAR_STEPS[0]!;
      const bound = await problem.bind(step);
      await expect(resultOf({ ...problem, count: problem.count - 8 }, step, bound)).rejects.toThrow(/behind its result/);
    } finally {
      problem.dispose();
    }
  });
});

describe("--ladder", () => {
  const parse = (...args: string[]) => parseOptions(args) as Options;

  it("stands alone for both, or names one", () => {
    expect(parse("--ladder")).toMatchObject({ sections: ["ladder"], ladders: ["linear", "attention"] });
    expect(parse("--ladder", "attention", "--quick")).toMatchObject({ sections: ["ladder"], ladders: ["attention"] });
    expect(parse().sections).not.toContain("ladder");
  });

  it("refuses other names", () => {
    expect(() => parse("--ladder", "linear,rope")).toThrow(/--ladder rope: choose from linear, attention/);
  });
});

it("planned grids stay within a GPU's limits", () => {
  const { profile } = gpu();
  for (const step of LINEAR_STEPS)
    expect(Math.max(...planOf(step, { rows: 37_824, depth: 768, cols: 3072 }, profile).workgroups)).toBeLessThanOrEqual(65_535);
  for (const step of ATTENTION_STEPS)
    expect(Math.max(...planOf(step, { sequences: 64, tokens: 197, heads: 12 }, profile).workgroups)).toBeLessThanOrEqual(65_535);
});
