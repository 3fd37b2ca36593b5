import { afterAll, beforeAll, it } from "vitest";
import { goldenFolder } from "../support/fixtures.js";
import { meetsIn16Bits } from "./tiers.js";

beforeAll(() => {
  process.env.STYLIZING_VIT_MATRIX = "emulation";
});
afterAll(() => {
  delete process.env.STYLIZING_VIT_MATRIX;
});

it.skipIf(!goldenFolder("mini"))("mini meets PyTorch in f16 and on matrix units, within twice the naive error", () =>
  meetsIn16Bits("mini"),
);
