import { describe, expect, it } from "vitest";
import { Report } from "../../bench/report.js";
import { checkTraining } from "../../bench/training-check.js";
import { root } from "../support/fixtures.js";
import { gpuOfThisFile } from "../support/gpu.js";

describe("the check", () => {
  const gpu = gpuOfThisFile();

  it("finds losses and gradients of the golden case", async () => {
    let printed = "";
    const report = new Report((text) => {
      printed += text;
    });
    expect(await checkTraining(gpu(), report, root)).toBe(true);
    expect(report.failures).toEqual([]);
    expect(printed).toMatch(/^golden case nano: losses off by .*e-\d, gradients by at most/);
  }, 60_000);
});
