import { afterAll, beforeAll, expect, it } from "vitest";
import { openGpu } from "../../src/gpu/gpu.js";
import { meetsIn16Bits } from "./tiers.js";

beforeAll(() => {
  process.env.STYLIZING_VIT_MATRIX = "emulation";
});
afterAll(() => {
  delete process.env.STYLIZING_VIT_MATRIX;
});

it("nano meets PyTorch in f16 and on matrix units, within twice the naive error", () => meetsIn16Bits("nano"));

it("takes the former name of the emulation of matrix units too", async () => {
  process.env.STYLIZING_VIT_MATRIX = "stand-in";
  try {
    const gpu = await openGpu({ adapter: "software", precision: "matrix" });
    expect(gpu.profile.tier).toBe("matrix");
    gpu.dispose();
  } finally {
    process.env.STYLIZING_VIT_MATRIX = "emulation";
  }
});
