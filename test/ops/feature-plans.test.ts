import { describe, expect, it } from "vitest";
import type { Plan, Word } from "../../src/gpu/dispatch.js";
import { makeProfile } from "../../src/gpu/profile.js";
import {
  convolutionGradientParameters,
  convolutionGradientSlices,
  convolutionGradientStride,
  patchProductBackwardParameters,
} from "../../src/ops/decoder-backward.js";
import * as features from "../../src/ops/features.js";
import * as losses from "../../src/ops/losses.js";
import { declaredWorkgroupBytes, parameterWords, wholeText } from "../support/wgsl.js";
import { featurePlans } from "./feature-plans.js";

const limits = {
  maxBufferSize: 2 ** 28,
  maxStorageBufferBindingSize: 2 ** 27,
  maxComputeWorkgroupStorageSize: 16_384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupsPerDimension: 65_535,
};
const facts = { vendor: "", architecture: "", device: "", description: "", isFallbackAdapter: false, matrixShapes: [] };
const profile = makeProfile({ ...facts, features: new Set<string>(), limits, subgroupSize: undefined }, "f32");

/** Invocations of a workgroup. */
function size({ variant: { kernel, overrides } }: Plan): number {
  if (kernel === "pixel_loss") return overrides.LANES!;
  return overrides.COLS4 ? overrides.COLS4 * overrides.LANES! : 64;
}

describe.each([true, false])("plans of feature maps and losses, on a CPU: %s", (software) => {
  const plans = featurePlans({ ...profile, software });

  it("fit WebGPU's smallest limits and say the truth about their memory", () => {
    for (const plan of plans) {
      const settings = { ...plan.variant.constants, ...plan.variant.overrides };
      expect(size(plan)).toBeLessThanOrEqual(limits.maxComputeInvocationsPerWorkgroup);
      expect(Math.max(...plan.workgroups)).toBeLessThanOrEqual(limits.maxComputeWorkgroupsPerDimension);
      expect(plan.workgroupBytes).toBeLessThanOrEqual(limits.maxComputeWorkgroupStorageSize);
      expect(plan.workgroupBytes).toBe(declaredWorkgroupBytes(wholeText(plan.variant), settings, 4));
    }
  });

  it("sum in trees: their lanes are powers of two", () => {
    const reducing = plans.filter(({ variant }) => variant.overrides.LANES);
    expect(new Set(reducing.map(({ variant }) => variant.kernel)).size).toBe(4);
    for (const plan of reducing) expect(Number.isInteger(Math.log2(size(plan)))).toBe(true);
  });
});

const maps = { images: 2, side: 5, channels: 6 };
const image = { images: 2, channels: 3, imageSize: 32 };

it.each<[string, Word[]]>([
  ["normalize_pixels", features.normalizePixelsParameters(image, { mean: [0], std: [1] })],
  ["planes_to_maps", features.planesToMapsParameters(maps)],
  ["maps_to_planes", features.mapsToPlanesParameters(maps)],
  ["max_pool", features.maxPoolParameters(maps)],
  ["feature_statistics", features.featureStatisticsParameters(maps)],
  ["consistency_loss", losses.consistencyLossParameters(maps, { batch: 2, weight: 1 })],
  ["stylized_loss", losses.stylizedLossParameters(maps, { batch: 2, anatomicalWeight: 1, styleWeight: 1 })],
  ["feature_backward", losses.featureBackwardParameters(maps)],
  ["pixel_loss", losses.pixelLossParameters(image, { batch: 2, weight: 1 })],
  ["convolution_gradient", convolutionGradientParameters({ ...image, kernelSize: 5 })],
  ["patch_product_backward", patchProductBackwardParameters({ ...image, patchSize: 8, rank: 2, stride: 96 })],
])("the parameter block of %s fills the structure that its kernel reads", (kernel, words) => {
  expect(words.length).toBe(parameterWords(wholeText({ kernel })));
});

it("sizes of buffers count padding and borders", () => {
  expect(features.mapsElements(maps)).toBe(2 * 7 * 7 * 8);
  expect(features.statisticsElements(maps)).toBe(2 * 2 * 8);
  expect(losses.coefficientsElements(maps)).toBe(2 * 5 * 8);
  expect(losses.featurePartials(maps)).toBe(2 * 8);
  expect(convolutionGradientSlices(image)).toBe(2 * 4);
  expect(convolutionGradientSlices({ images: 3, imageSize: 9 })).toBe(3 * 2);
  expect(convolutionGradientStride({ channels: 3, kernelSize: 5 })).toBe(228);
});
