import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ATTENTION_STEPS, LINEAR_STEPS } from "../../bench/ladder/ladder.js";
import { pipelineOfStep } from "../../bench/ladder/problem.js";
import type { Gpu } from "../../src/gpu/gpu.js";
import { nullGpu } from "../support/gpu.js";

// Compiled by Dawn's null backend and never run: matrix steps for matrix units and for their emulation.
const gpus = {} as Record<"units" | "emulation", Gpu>;
beforeAll(async () => {
  gpus.units = await nullGpu("matrix");
  gpus.emulation = await nullGpu("f32");
});
afterAll(() => {
  for (const gpu of Object.values(gpus)) gpu.dispose();
});

const root = fileURLToPath(new URL("../../", import.meta.url));
const OWN = /^bench\/ladder\//;

const LADDERS = [
  ["linear", LINEAR_STEPS, { rows: 591, depth: 192, cols: 576 }],
  ["attention", ATTENTION_STEPS, { sequences: 3, tokens: 197, heads: 3 }],
] as const;

describe.each(LADDERS)("ladder of %s", (op, steps, size) => {
  it.each(steps.map((step) => [step.name, step] as const))("%s compiles", async (_, step) => {
    expect(gpus.units.profile.matrix).toBe("units");
    for (const gpu of Object.values(gpus)) {
      // Subgroups of this backend have up to 128 lanes, and Dawn wants a workgroup with matrix units to fill one. The library's
      // tests compile its own kernels of fewer as modules.
      if (step.library && step.needs.includes("matrix") && gpu.profile.matrix === "units") continue;
      const { pipeline } = await pipelineOfStep(gpu, root, step as never, size as never);
      expect(pipeline).toBeDefined();
    }
  });

  it("has a step for every file of its folder, numbered in order", () => {
    const files = readdirSync(join(root, "bench", "ladder", op)).filter((file) => file.endsWith(".wgsl"));
    const own = steps.filter(({ file }) => OWN.test(file));
    expect(own.map(({ file }) => file)).toEqual(files.sort().map((file) => `bench/ladder/${op}/${file}`));
    expect(steps.map(({ name }) => Number.parseInt(name, 10))).toEqual(steps.map((_, index) => index + 1));
    for (const { name, file } of own) expect(file).toContain(`/${name.slice(0, 2)}_`);
  });

  it.each(steps.filter(({ file }) => OWN.test(file)).map(({ file, lesson }) => [file, lesson] as const))(
    "%s says what changed, what was predicted, its workgroup memory and its lesson",
    (file, lesson) => {
      const comment = /^(\/\/.*\n)+/.exec(readFileSync(join(root, file), "utf8"))?.[0] ?? "";
      expect(comment).toMatch(/^\/\/ Changed: {3}/m);
      expect(comment).toMatch(/^\/\/ Predicted: /m);
      expect(comment).toMatch(/^\/\/ Workgroup memory: /m);
      expect(comment).toContain(`// Lesson:    ${lesson}\n`);
    },
  );
});

it("a step that does not compile is an error that names its file", async () => {
  const step = { ...LINEAR_STEPS[0]!, entryPoint: "missing" };
  await expect(pipelineOfStep(gpus.units, root, step, { rows: 1, depth: 4, cols: 4 })).rejects.toThrow(/01_naive\.wgsl/);
});
