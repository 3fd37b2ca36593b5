import { describe, it } from "vitest";
import { ATTENTION_STEPS, LINEAR_STEPS } from "../../bench/ladder/ladder.js";
import { attentionProblem, linearProblem } from "../../bench/ladder/problem.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { ATTENTION_SIZES, compare, LINEAR_SIZES, root } from "./ladder.js";

const gpu = gpuOfThisFile();

describe("every step gives the right numbers", () => {
  it.each(LINEAR_SIZES.slice(2))("linear, $rows × $depth × $cols", async (size) => {
    await compare(LINEAR_STEPS, linearProblem(gpu(), root, size));
  });

  it.each(ATTENTION_SIZES.slice(1))("attention, $sequences × $tokens × $heads", async (size) => {
    await compare(ATTENTION_STEPS, attentionProblem(gpu(), root, size));
  });
});
