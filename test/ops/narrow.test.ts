import { it } from "vitest";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { narrowCases, narrowOp } from "./narrow.case.js";

const gpu = gpuOfThisFile();

it.each(tested(narrowCases).flatMap(([name, one]) => (["f32", "f16"] as const).map((tier) => [name, tier, one] as const)))(
  "%s become elements of the tier: %s",
  async (name, tier, one) => {
    const on = inTier(gpu(), tier);
    await check(on, narrowOp.setup(one, on.profile), `${name}, ${tier}`);
  },
);
