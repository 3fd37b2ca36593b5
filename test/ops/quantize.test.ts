import { describe, expect, it } from "vitest";
import { gpuOfThisFile } from "../support/gpu.js";
import { narrow, tested } from "../support/op.js";
import { check, runOp } from "../support/run-op.js";
import { type QuantizeCase, quantizeCases, quantizeOp } from "./quantize.case.js";

const gpu = gpuOfThisFile();

describe("quantize", () => {
  it.each(tested(quantizeCases))("%s", (name, one) => check(gpu(), quantizeOp.setup(one, gpu().profile), `quantize, ${name}`));

  it("spreads over both sides of the grid", async () => {
    const one = quantizeCases.find(({ name }) => name === "bytes, three channels")!;
    await check(gpu(), quantizeOp.setup(one, narrow(gpu().profile, 3)), "quantize in a narrow grid");
  });

  /** Bytes of one row of an image that is not normalised. */
  async function bytesOf(values: number[]): Promise<number[]> {
    const side = Math.ceil(Math.sqrt(values.length));
    const planes = new Float32Array(side * side);
    planes.set(values);
    const one: QuantizeCase = { name: "values", images: 1, channels: 1, imageSize: side, format: "bytes", planes };
    const [pixels] = await runOp(gpu(), quantizeOp.setup(one, gpu().profile));
    return Array.from(pixels!.numbers).slice(0, values.length);
  }

  it("clamps at both ends, and what is just inside rounds", async () => {
    const values = [
      -1e30,
      Number.NEGATIVE_INFINITY,
      -1e-6,
      -0,
      0,
      0.4 / 255,
      0.6 / 255,
      254.4 / 255,
      254.6 / 255,
      1,
      1.0001,
      256 / 255,
      1e30,
      Number.POSITIVE_INFINITY,
    ];
    expect(await bytesOf(values)).toEqual([0, 0, 0, 0, 0, 0, 1, 254, 255, 255, 255, 255, 255, 255]);
  });

  it("rounds a half up: 0.5 is the one value of f32 that is exactly between two levels", async () => {
    expect(await bytesOf([0.5, 0.5 - 2 ** -24, 0.5 + 2 ** -23])).toEqual([128, 127, 128]);
  });

  it("keeps all 256 levels of an image", async () => {
    const levels = Array.from({ length: 256 }, (_, level) => level);
    expect(await bytesOf(levels.map((level) => level / 255))).toEqual(levels);
  });
});
