/**
 * What an adapter can do, decided once and frozen: every `plan()` is a pure function of this and of a shape, so that
 * plans can be tested where there is no GPU.
 */

/** Arithmetic tier: `f32` stores everything in 32 bits, `f16` stores activations and matrices in 16 and accumulates in 32. */
export type Tier = "f32" | "f16";
export type Precision = "auto" | Tier;

/** The facts of an adapter that plans depend on. */
export interface AdapterFacts {
  vendor: string;
  architecture: string;
  device: string;
  description: string;
  isFallbackAdapter: boolean;
  features: ReadonlySet<string>;
  limits: Readonly<Record<LimitName, number>>;
}

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

/**
 * The profile of an adapter.
 * @param verdict whether 16-bit arithmetic passed its trial on this driver; undefined where it was not tried.
 */
export function makeProfile(facts: AdapterFacts, precision: Precision, verdict?: { ok: boolean; reason: string }): Profile {
  const notes: string[] = [];
  let tier: Tier = "f32";
  if (precision === "f32") notes.push("f32 was asked for");
  else if (!facts.features.has("shader-f16")) notes.push("the adapter has no shader-f16");
  else if (!verdict?.ok) notes.push(`16-bit arithmetic failed its trial on this driver: ${verdict?.reason ?? "not tried"}`);
  else tier = "f16";

  const wanted = ["subgroups", "timestamp-query", ...(tier === "f16" ? ["shader-f16"] : [])];
  return Object.freeze({
    tier,
    elementBytes: tier === "f16" ? 2 : 4,
    software: isSoftware(facts),
    subgroups: facts.features.has("subgroups"),
    timestamps: facts.features.has("timestamp-query"),
    limits: Object.freeze({ ...facts.limits }),
    features: wanted.filter((name) => facts.features.has(name)),
    notes,
  });
}
