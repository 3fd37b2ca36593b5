import { expect, it } from "vitest";
import { luma, lumaLevel } from "../../src/image/luma.js";

it("grey stays what it is", () => {
  for (let level = 0; level < 256; level++) {
    expect(lumaLevel(level, level, level)).toBe(level);
    expect(Math.round(luma(level, level, level))).toBe(level);
  }
});

// Pillow 12: Image.new("RGB", (1, 1), colour).convert("L")
it.each([
  [[255, 0, 0], 76],
  [[0, 255, 0], 150],
  [[0, 0, 255], 29],
  [[200, 100, 50], 124],
  [[0, 0, 250], 28],
  [[0, 4, 168], 21],
  [[0, 14, 213], 32],
] as const)("levels are Pillow's: %j is %i", ([r, g, b], level) => expect(lumaLevel(r, g, b)).toBe(level));

it("levels and unrounded values have the same weights, to 16 bits", () => {
  let worst = 0;
  for (let r = 0; r < 256; r += 5)
    for (let g = 0; g < 256; g += 5)
      for (let b = 0; b < 256; b += 5) worst = Math.max(worst, Math.abs(lumaLevel(r, g, b) - luma(r, g, b)));
  // Half a level, and a half of 2⁻¹⁶ for each weight.
  expect(worst).toBeLessThanOrEqual(0.5 + (1.5 * 255) / 2 ** 16);
});
