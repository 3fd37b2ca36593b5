import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { layerNormBackwardParameters, planLayerNormBackward } from "../../src/ops/layer-norm-backward.js";
import { assertClose } from "../support/compare.js";
import { FAMILIES, gpuOfThisFile, inTier } from "../support/gpu.js";
import { Random } from "../support/random.js";
import { asFloats, runOp, sentinels, surrounded } from "../support/run-op.js";
import { declaredWorkgroupBytes, parameterWords, wholeText } from "../support/wgsl.js";
import { type LayerNormBackwardCase, layerNormBackwardCases } from "./backward-cases.js";
import { layerNormBackward } from "./backward-oracles.js";
import { fill, kept, packed } from "./backward-support.js";

const gpu = gpuOfThisFile();

/** Half the distance between 1 and the next f32: the relative error of one rounding. */
const UNIT = 2 ** -24;

/**
 * What rounding the sums alone costs: a row's sum of v takes at most width / 16 + 6 additions one after another, so a mean is
 * off by steps · u · mean|v|. With e that error of mean(x), every x - mean(x) shifts by e and mean(d · x̂) by e / s · mean(d);
 * 1 / s is off by (e² / 2s² + steps · u) / s. Rows of ordinary numbers stay far below the house bound.
 */
function slackOf({ rows, width }: LayerNormBackwardCase, x: Float32Array, d: Float32Array, stride: number) {
  const steps = Math.ceil(width / 16) + 6;
  const statistics = Array.from({ length: rows }, (_, row) => {
    const average = (of: (x: number, d: number) => number) => {
      let sum = 0;
      for (let i = row * width; i < (row + 1) * width; i++) sum += of(x[i]!, d[i]!) / width;
      return sum;
    };
    const mean = average((x) => x);
    const s = Math.sqrt(average((x) => (x - mean) ** 2) + 1e-6);
    const slope = average((x, d) => (d * (x - mean)) / s);
    return {
      mean,
      s,
      shift: (steps * UNIT * average(Math.abs)) / s,
      dMean: average((_, d) => d),
      dError: steps * UNIT * average((_, d) => Math.abs(d)),
      slope,
      slopeError: steps * UNIT * average((x, d) => Math.abs((d * (x - mean)) / s)),
    };
  });
  return (at: number) => {
    const row = Math.floor(at / stride);
    const col = at % stride;
    if (col >= width) return 0;
    const { mean, s, shift, dMean, dError, slope, slopeError } = statistics[row]!;
    const normal = Math.abs(x[row * width + col]! - mean) / s;
    const scaleError = (shift * shift) / 2 + steps * UNIT;
    return (
      (dError +
        (normal + shift) * (slopeError + shift * Math.abs(dMean)) +
        shift * Math.abs(slope) +
        scaleError * (Math.abs(d[row * width + col]! - dMean) + 3 * normal * Math.abs(slope))) /
      s
    );
  };
}

async function check(one: LayerNormBackwardCase, on: Gpu, profile: Profile) {
  const { rows, width, accumulate = false, mean = 0, deviation = 1 } = one;
  const random = new Random(one.name);
  let x = random.normals(rows * width, deviation, mean);
  let d = kept(profile, random.normals(rows * width, 1, one.upstreamMean ?? 0));
  if (one.equal) {
    x = x.map((_, at) => x[at % width]!);
    d = d.map((_, at) => d[at % width]!);
  }
  const old = random.normals(rows * width);
  const padded = Math.ceil(width / 4) * 4;
  const withPadding = (values: Float32Array, rest: number, stride = padded) =>
    Float32Array.from({ length: rows * stride }, (_, at) =>
      at % stride < width ? values[Math.floor(at / stride) * width + (at % stride)]! : rest,
    );
  const { inputOffset = 0, upstreamOffset = 0, gradientOffset = 0 } = one;
  const inputStride = padded + (one.inputGap ?? 0);
  const upstreamStride = padded + (one.upstreamGap ?? 0);
  const gradientStride = padded + (one.gradientGap ?? 0);
  const placement = {
    inputOffset,
    inputStride,
    upstreamOffset,
    upstreamStride,
    gradientOffset,
    gradientStride,
    accumulate,
  };
  const plan = planLayerNormBackward(one, profile);
  const parameters = layerNormBackwardParameters(one, placement);
  expect(parameters.length).toBe(parameterWords(wholeText(plan.variant)));
  expect(plan.workgroupBytes).toBe(declaredWorkgroupBytes(wholeText(plan.variant), plan.variant.overrides, 4));

  const region = { offset: gradientOffset, stride: gradientStride, rows, cols: gradientStride };
  const before = sentinels(region);
  if (accumulate) fill(before, region, withPadding(old, 0, gradientStride));
  const words = await runOp(on, {
    plan,
    parameters,
    inputs: [
      surrounded(withPadding(x, 0), { offset: inputOffset, stride: inputStride, rows, cols: padded }),
      packed(profile, surrounded(withPadding(d, 999), { offset: upstreamOffset, stride: upstreamStride, rows, cols: padded })),
    ],
    before,
    region,
  });
  const gradient = layerNormBackward(rows, width, x, d);
  const reference = Float64Array.from({ length: rows * gradientStride }, (_, at) => {
    const col = at % gradientStride;
    const from = Math.floor(at / gradientStride) * width + col;
    return col < width ? gradient[from]! + (accumulate ? old[from]! : 0) : 0;
  });
  const result = asFloats(words);
  for (let at = 0; at < result.length; at++) if (at % gradientStride >= width) expect(result[at]).toBe(0);
  assertClose(result, reference, `gradient of layer norm, ${one.name}`, {
    slack: slackOf(one, x, d, gradientStride),
    place: (at) => `row ${Math.floor(at / gradientStride)}, column ${at % gradientStride}`,
  });
}

const titled = layerNormBackwardCases.map((one): [string, LayerNormBackwardCase] => [one.name, one]);

describe.each(FAMILIES)("gradient of layer norm, workgroups for %s", (_, of) => {
  it.each(titled)("%s", (_, one) => check(one, gpu(), of(gpu().profile)));

  it.each(titled)("from halves: %s", async (_, one) => {
    const half = inTier(gpu(), "f16");
    await check(one, half, of(half.profile));
  });

  it("spreads more rows than one side of the grid holds", async () => {
    const profile = of(gpu().profile);
    const narrow = { ...profile, limits: { ...profile.limits, maxComputeWorkgroupsPerDimension: 5 } };
    await check({ name: "a narrow grid", rows: 16 * 17 + 1, width: 20 }, gpu(), narrow);
  });
});
