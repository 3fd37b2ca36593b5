import { checkName } from "../errors.js";

/**
 * What an adapter can do, decided once and frozen: every `plan()` is a pure function of this and of a shape, so that
 * plans can be tested where there is no GPU.
 */

/**
 * Arithmetic tier: `f32` stores everything in 32 bits; `f16` stores activations and matrices in 16 and computes in 32; `matrix`
 * stores as `f16` does and has matrix units multiply float16 numbers and add in 32.
 */
export type Tier = "f32" | "f16" | "matrix";
export type Precision = "auto" | Tier;
export const PRECISIONS: readonly Precision[] = ["auto", "f32", "f16", "matrix"];

export type AdapterChoice = "auto" | "hardware" | "software";
export const ADAPTERS: readonly AdapterChoice[] = ["auto", "hardware", "software"];

/** The facts of an adapter that plans depend on. */
export interface AdapterFacts {
  vendor: string;
  architecture: string;
  device: string;
  description: string;
  isFallbackAdapter: boolean;
  features: ReadonlySet<string>;
  limits: Readonly<Record<LimitName, number>>;
  /** Lanes of a subgroup, where they are known. */
  subgroupSize: { min: number; max: number } | undefined;
  /** Matrix multiplications that the matrix units take, as `f16×f16→f32 16×16×16`. */
  matrixShapes: readonly string[];
}

/** The one matrix multiplication that the matrix kernels are written for. */
export const MATRIX_SHAPE = "f16×f16→f32 16×16×16";
export const MATRIX_FEATURE = "chromium-experimental-subgroup-matrix";

/** Limits that are asked for as high as the adapter has them. */
export const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupsPerDimension",
] as const;
export type LimitName = (typeof LIMITS)[number];

export interface Profile {
  readonly tier: Tier;
  /** Bytes of an activation or matrix element: 4 or 2. */
  readonly elementBytes: 2 | 4;
  /** Runs on the CPU: kernels then use register tiles and quads instead of workgroup memory. */
  readonly software: boolean;
  readonly subgroups: boolean;
  /** How the kernels of the matrix tier multiply: on matrix units, or on their emulation in plain WGSL. */
  readonly matrix: "units" | "emulation" | undefined;
  readonly timestamps: boolean;
  readonly limits: Readonly<Record<LimitName, number>>;
  /** Features to ask the adapter for. */
  readonly features: readonly string[];
  /** Why the tier is not a higher one; empty where it is the highest. */
  readonly notes: readonly string[];
}

const SOFTWARE_NAMES = /swiftshader|llvmpipe|lavapipe|softpipe|microsoft basic render/i;

/** Whether an adapter is a CPU in disguise. Vulkan's own flag is missing on some, so names count too. */
export function isSoftware(facts: Pick<AdapterFacts, "description" | "device" | "architecture" | "isFallbackAdapter">): boolean {
  return facts.isFallbackAdapter || SOFTWARE_NAMES.test(`${facts.architecture} ${facts.device} ${facts.description}`);
}

/** Why the matrix kernels cannot run on an adapter; undefined where they can. */
export function matrixObstacle(facts: AdapterFacts): string | undefined {
  for (const feature of [MATRIX_FEATURE, "shader-f16", "subgroups"]) {
    if (!facts.features.has(feature)) return `the adapter has no ${feature}`;
  }
  if (!facts.matrixShapes.includes(MATRIX_SHAPE)) {
    return `its matrix units do not take ${MATRIX_SHAPE} (they list ${facts.matrixShapes.join(", ") || "nothing"})`;
  }
  const { min, max } = facts.subgroupSize ?? { min: 0, max: 0 };
  if (min !== 32 || max !== 32) return `its subgroups have ${min} to ${max} lanes, and the kernels need 32`;
  return undefined;
}

/**
 * The profile of an adapter. `auto` takes matrix units where there are some, else float16 on a GPU and f32 on a CPU.
 * @param verdict whether the matrix tier passed its trial on this driver; undefined where it was not tried.
 * @param emulate whether matrix units that were asked for and are missing may be emulated in plain WGSL: for tests.
 * @throws StylizingError `ARGUMENT` for an unknown precision.
 */
export function makeProfile(
  facts: AdapterFacts,
  precision: Precision,
  verdict?: { ok: boolean; reason: string },
  emulate = false,
): Profile {
  checkName("precision", precision, PRECISIONS);
  const notes: string[] = [];
  const software = isSoftware(facts);
  let tier: Tier = "f32";
  let matrix: Profile["matrix"];
  if (precision === "f32" || precision === "f16") {
    tier = precision;
    notes.push(`${precision} was asked for`);
  } else if (precision === "matrix" && emulate && (software || matrixObstacle(facts) !== undefined)) {
    [tier, matrix] = ["matrix", "emulation"];
    notes.push("matrix units are emulated in plain WGSL: for tests, not for speed");
  } else if (software) {
    notes.push("a CPU has no matrix units, and 16-bit storage saves it nothing");
  } else {
    const obstacle =
      matrixObstacle(facts) ?? (verdict?.ok ? undefined : `their trial failed on this driver: ${verdict?.reason ?? "not tried"}`);
    if (obstacle === undefined) [tier, matrix] = ["matrix", "units"];
    else {
      tier = "f16";
      notes.push(`no matrix units: ${obstacle}`);
    }
  }

  const wanted = ["subgroups", "timestamp-query", ...(matrix === "units" ? ["shader-f16", MATRIX_FEATURE] : [])];
  return Object.freeze({
    tier,
    elementBytes: tier === "f32" ? 4 : 2,
    software,
    subgroups: facts.features.has("subgroups"),
    matrix,
    timestamps: facts.features.has("timestamp-query"),
    limits: Object.freeze({ ...facts.limits }),
    features: wanted.filter((name) => facts.features.has(name)),
    notes,
  });
}

/** A name for people. SwiftShader's own, `swiftshader-device-subzero-`, names its compiler and ends in a dash. */
export function adapterName(facts: AdapterFacts): string {
  if (/swiftshader/i.test(facts.architecture)) return "SwiftShader";
  return facts.device || facts.architecture || facts.vendor || "unnamed adapter";
}
