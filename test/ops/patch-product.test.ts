import { describe, it } from "vitest";
import { gpuOfThisFile } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { patchProductCases, patchProductOp } from "./patch-product.case.js";

const gpu = gpuOfThisFile();

describe("patch product", () => {
  it.each(tested(patchProductCases))("%s", (name, one) =>
    check(gpu(), patchProductOp.setup(one, gpu().profile), `patch product, ${name}`),
  );

  it("spreads over both sides of the grid", async () => {
    const one = patchProductCases.find(({ name }) => name === "three channels, patches of 7")!;
    await check(gpu(), patchProductOp.setup(one, narrow(gpu().profile, 3)), "patch product in a narrow grid");
  });
});
