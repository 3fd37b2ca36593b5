import { describe, it } from "vitest";
import { gpuOfThisFile } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check } from "../support/run-op.js";
import { type MapsCase, NARROW } from "./maps.js";
import { normalizePixelsCases, normalizePixelsOp } from "./normalize-pixels.case.js";

const gpu = gpuOfThisFile();

describe("normalize pixels", () => {
  const run = (one: MapsCase, profile = gpu().profile) =>
    check(gpu(), normalizePixelsOp.setup(one, profile), `normalize pixels, ${one.name}`);

  it.each(tested(normalizePixelsCases))("%s", (_, one) => run(one));

  it("spreads over both sides of the grid, with four channels", () =>
    run({ name: "a narrow grid", images: 2, side: 35, channels: 4 }, narrow(gpu().profile, NARROW)));
});
