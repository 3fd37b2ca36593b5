import { describe, expect, it } from "vitest";
import type { Profile } from "../../src/gpu/profile.js";
import { planQuantize, quantizeParameters } from "../../src/ops/images.js";
import { assertClose } from "../support/compare.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { asFloats, runOp, sentinels } from "../support/run-op.js";
import { convolutionCases, patchifyCases, patchProductCases, quantizeCases, tested } from "./cases.js";
import { type Setup, setUpConvolution, setUpPatchify, setUpPatchProduct, setUpQuantize } from "./setups.js";

const gpu = gpuOfThisFile();

async function check(what: string, op: Setup) {
  assertClose(asFloats(await runOp(gpu(), op)), op.reference(), what, op);
}

/** A profile whose grid is so narrow that small cases spread over both of its sides. */
const narrow = (profile: Profile): Profile => ({
  ...profile,
  limits: { ...profile.limits, maxComputeWorkgroupsPerDimension: 3 },
});

describe("patchify", () => {
  it.each(tested(patchifyCases))("%s", async (name, one) => {
    await check(`patchify, ${name}`, setUpPatchify(one, gpu().profile));
  });

  it("spreads over both sides of the grid", async () => {
    const one = patchifyCases.find(({ name }) => name === "bytes, patches of 7")!;
    await check("patchify in a narrow grid", setUpPatchify(one, narrow(gpu().profile)));
  });
});

describe("patch product", () => {
  it.each(tested(patchProductCases))("%s", async (name, one) => {
    await check(`patch product, ${name}`, setUpPatchProduct(one, gpu().profile));
  });

  it("spreads over both sides of the grid", async () => {
    const one = patchProductCases.find(({ name }) => name === "three channels, patches of 7")!;
    await check("patch product in a narrow grid", setUpPatchProduct(one, narrow(gpu().profile)));
  });
});

describe("convolution", () => {
  it.each(tested(convolutionCases))("%s", async (name, one) => {
    await check(`convolution, ${name}`, setUpConvolution(one, gpu().profile));
  });

  it("spreads over both sides of the grid", async () => {
    const one = convolutionCases.find(({ name }) => name === "three channels")!;
    await check("convolution in a narrow grid", setUpConvolution(one, narrow(gpu().profile)));
  });
});

describe("quantize", () => {
  it.each(tested(quantizeCases))("%s", async (name, one) => {
    const op = setUpQuantize(one, gpu().profile);
    const words = await runOp(gpu(), op);
    if (one.format === "floats") assertClose(asFloats(words), op.reference(), `quantize, ${name}`, op);
    else expect(new Uint8Array(words.buffer, 0, op.levels.length)).toEqual(op.levels);
  });

  it("spreads over both sides of the grid", async () => {
    const one = quantizeCases.find(({ name }) => name === "bytes, three channels")!;
    const op = setUpQuantize(one, narrow(gpu().profile));
    expect(new Uint8Array((await runOp(gpu(), op)).buffer)).toEqual(op.levels);
  });

  /** Bytes of one row of an image that is not normalised. */
  async function bytesOf(values: number[]): Promise<number[]> {
    const side = Math.ceil(Math.sqrt(values.length));
    const planes = new Float32Array(side * side);
    planes.set(values);
    const shape = { images: 1, channels: 1, imageSize: side, format: "bytes" as const };
    const words = Math.ceil(planes.length / 4);
    const region = { offset: 0, stride: words, rows: 1, cols: words };
    const op = {
      plan: planQuantize(shape, gpu().profile),
      parameters: quantizeParameters(shape, { mean: [0], std: [1] }),
      inputs: [planes],
      before: sentinels(region),
      region,
    };
    return [...new Uint8Array((await runOp(gpu(), op)).buffer, 0, values.length)];
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

  it("keeps all 256 levels of a picture", async () => {
    const levels = Array.from({ length: 256 }, (_, level) => level);
    expect(await bytesOf(levels.map((level) => level / 255))).toEqual(levels);
  });
});
