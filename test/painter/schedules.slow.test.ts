import { describe, it } from "vitest";
import { gpuOfThisFile, inTier } from "../support/gpu.js";
import { changesNoBitInBands } from "./bands.js";

const gpu = gpuOfThisFile();

describe("no dispatch runs for long", () => {
  it("GEMMs and attention are cut into bands of sequences, which changes no bit: kernels with matrix units", () =>
    changesNoBitInBands(gpu(), inTier(gpu(), "matrix").profile));
});
