import { expect, it } from "vitest";
import { styleError } from "../../bench/quality.js";
import { root } from "../support/fixtures.js";
import { gpuOfThisFile } from "../support/gpu.js";

const gpu = gpuOfThisFile();

it("the style distance makes PyTorch's style loss of the golden case", async () => {
  expect(await styleError(gpu(), root)).toBeLessThan(1e-4);
}, 60_000);
