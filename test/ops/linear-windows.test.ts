import { describe, expect, it } from "vitest";
import { pick } from "../../src/gpu/call.js";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check, checkParts } from "../support/run-op.js";
import { SLOW } from "../support/slow.js";
import { linearWindowsOp, type WindowsCase, windowsCases } from "./linear-windows.case.js";

const gpu = gpuOfThisFile();

async function run(on: Gpu, profile: Profile, one: WindowsCase, choice?: string): Promise<string> {
  const setup = linearWindowsOp.setup(one, profile);
  const plan = pick(setup.call.candidates, choice);
  await check(on, setup, `${plan.variant.kernel}, ${one.name}`, plan);
  return plan.variant.kernel;
}

describe.each(FAMILIES)("3 × 3 convolutions as implicit GEMMs, kernels for %s", (_family, of) => {
  it.each(tested(windowsCases))("%s", async (_, one) => {
    await run(gpu(), of(gpu().profile), one);
    const float16 = inTier(gpu(), "f16");
    await run(float16, of(float16.profile), one);
  });
});

describe("3 × 3 convolutions on matrix units", () => {
  it.each(tested(windowsCases))("%s", async (_, one) => {
    const matrix = inTier(gpu(), "matrix");
    const kernel = await run(matrix, matrix.profile, one);
    // A panel of depth must lie in one tap.
    expect(kernel).toBe(one.inputs % 16 === 0 && one.outputs % 8 === 0 ? "linear_matrix" : "linear_quad");
  });

  it("every tile gives the same", async () => {
    const matrix = inTier(gpu(), "matrix");
    const one = windowsCases.find(({ name }) => name.startsWith("as many"))!;
    const { candidates } = linearWindowsOp.setup(one, matrix.profile).call;
    expect(candidates.length).toBeGreaterThan(1);
    for (const { name } of SLOW ? candidates : candidates.slice(0, 2)) await run(matrix, matrix.profile, one, name);
  });
});

it.each(tested(windowsCases).filter(([, { images, band }]) => images > 1 && !band))(
  "in bands of pixels: %s",
  async (name, one) => {
    const setup = linearWindowsOp.setup(one, gpu().profile);
    const { count, of } = setup.call.bands!;
    expect(count).toBe(one.images * one.side ** 2);
    await checkParts(gpu(), setup, `${name}, in bands`, [of(0, 3), of(3, count - 3)]);
  },
);
