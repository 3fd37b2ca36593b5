import { type AdapterFacts, MATRIX_FEATURE, MATRIX_SHAPE } from "../../src/gpu/profile.js";

/** An adapter that never was: a GPU with everything, changed as asked. */
export function someFacts(changes: Partial<AdapterFacts> = {}): AdapterFacts {
  return {
    vendor: "nvidia",
    architecture: "ampere",
    device: "NVIDIA A100",
    description: "NVIDIA driver 550.1",
    isFallbackAdapter: false,
    features: new Set(["shader-f16", "subgroups", "timestamp-query", "depth-clip-control", MATRIX_FEATURE]),
    subgroupSize: { min: 32, max: 32 },
    matrixShapes: ["f16×f16→f16 16×16×16", MATRIX_SHAPE],
    limits: {
      maxBufferSize: 2 ** 32,
      maxStorageBufferBindingSize: 2 ** 31,
      maxComputeWorkgroupStorageSize: 49_152,
      maxComputeInvocationsPerWorkgroup: 1024,
      maxComputeWorkgroupSizeX: 1024,
      maxComputeWorkgroupSizeY: 1024,
      maxComputeWorkgroupsPerDimension: 65_535,
    },
    ...changes,
  };
}
