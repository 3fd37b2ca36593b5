import { describe, it } from "vitest";
import { gpuOfThisFile } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { patchifyCases, patchifyOp } from "./patchify.case.js";

const gpu = gpuOfThisFile();

describe("patchify", () => {
  it.each(tested(patchifyCases))("%s", (name, one) => check(gpu(), patchifyOp.setup(one, gpu().profile), `patchify, ${name}`));

  it("spreads over both sides of the grid", async () => {
    const one = patchifyCases.find(({ name }) => name === "bytes, patches of 7")!;
    await check(gpu(), patchifyOp.setup(one, narrow(gpu().profile, 3)), "patchify in a narrow grid");
  });
});
