import { afterAll, beforeAll, beforeEach } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { createInstance } from "../../src/gpu/dawn.js";
import { type AdapterChoice, Gpu, openGpu } from "../../src/gpu/gpu.js";
import { TRIAL_VARIABLE } from "../../src/gpu/matrix-trial.js";
import { LIMITS, MATRIX_SHAPE, makeProfile, type Precision, type Profile, type Tier } from "../../src/gpu/profile.js";

/**
 * One device for a test file, opened before its tests and disposed of after them. Tests are skipped, with the reason
 * shown, where there is no adapter at all. `STYLIZING_VIT_ADAPTER=hardware` runs the same tests on a real GPU.
 */
export function gpuOfThisFile(): () => Gpu {
  let gpu: Gpu | undefined;
  let missing = "";
  beforeAll(async () => {
    try {
      const adapter = (process.env.STYLIZING_VIT_ADAPTER as AdapterChoice | undefined) ?? "software";
      // A device with everything that any tier needs, of which each test takes its own. These tests are the trial of its
      // matrix units, and more of one than the program that makes it otherwise.
      if (adapter === "hardware") process.env[TRIAL_VARIABLE] = "1";
      const widest = await openGpu({ adapter, precision: adapter === "hardware" ? "auto" : "f32" });
      gpu = new Gpu(widest.device, widest.facts, makeProfile(widest.facts, "f32"), true);
    } catch (error) {
      if (!(error instanceof StylizingError) || error.code !== "NO_ADAPTER") throw error;
      missing = error.message;
    }
  });
  beforeEach((context) => context.skip(!gpu, missing));
  afterAll(() => gpu?.dispose());
  return () => gpu!;
}

/** A profile that takes the kernels of GPUs, which a software adapter runs as well, if slowly. */
export const hardwareProfile = (profile: Profile): Profile => ({ ...profile, software: false });

/** The two families of kernels; on a GPU both are the same. */
export const FAMILIES: readonly (readonly [name: string, (profile: Profile) => Profile])[] = [
  ["software", (profile) => profile],
  ["hardware", hardwareProfile],
];

/** The same device with the kernels of another tier; on a software adapter matrix units are emulated in plain WGSL. */
export const inTier = (gpu: Gpu, tier: Tier): Gpu =>
  new Gpu(gpu.device, gpu.facts, makeProfile(gpu.facts, tier, { ok: true, reason: "tests" }, true), false);

/** Kept for good: where the instance is garbage-collected before its device, Dawn brings the process down. */
let nullInstance: Promise<GPU> | undefined;

/** A device that validates everything, 16-bit shaders included, and executes nothing. Not to be mixed with others in one process. */
export const nullGpu = (precision: Precision): Promise<Gpu> => nullGpuAs(precision, false);

/** The same as a GPU or as a software adapter, which plans take other kernels for; `emulated`: without matrix units. */
export async function nullGpuAs(precision: Precision, software: boolean, emulated = false): Promise<Gpu> {
  nullInstance ??= createInstance({ backend: "null" });
  const adapter = await (await nullInstance).requestAdapter();
  if (!adapter) throw new Error("Dawn's null backend gave no adapter");
  const facts = {
    vendor: adapter.info.vendor,
    architecture: adapter.info.architecture,
    device: adapter.info.device,
    description: adapter.info.description,
    isFallbackAdapter: software,
    subgroupSize: { min: 32, max: 32 },
    matrixShapes: emulated ? [] : [MATRIX_SHAPE],
    features: new Set<string>(adapter.features),
    limits: Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]])) as Profile["limits"],
  };
  const profile = makeProfile(facts, precision, { ok: true, reason: "nothing is executed" }, emulated);
  const device = await adapter.requestDevice({
    requiredFeatures: [...profile.features] as GPUFeatureName[],
    requiredLimits: profile.limits,
  });
  return new Gpu(device, facts, profile, true);
}
